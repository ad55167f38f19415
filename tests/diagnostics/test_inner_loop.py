"""What is told of a fast loop, beside the same by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import fft, stats

from ltm_pyro.diagnostics import convergence, inner_loop_frame
from ltm_pyro.diagnostics.inner_loop import Convergence, _together
from ltm_pyro.inference import InnerLoop

NAMES = ("log_likelihood", "kl", "gradient_norm", "step_norm")


def loop(elbo, kl=None):
    e = torch.as_tensor(elbo)
    k = 0 * e if kl is None else torch.as_tensor(kl)
    return InnerLoop(e + k, k, 0 * e, 0 * e, torch.ones(len(e)))


def test_the_frame_has_quantiles_over_documents():
    eleven = torch.arange(11.0)
    times = dict(zip(NAMES, (7, 2, 3, 4), strict=True))
    values = {name: some * eleven.expand(3, 11) for name, some in times.items()}
    frame = inner_loop_frame(InnerLoop(**values, lr=torch.tensor([3.0, 2.0, 1.0])))
    assert frame["lr"].tolist() == [3, 2, 1]
    for name, some in (times | {"elbo": 7 - 2}).items():
        for percent in (10, 50, 90):
            expected = [some * percent / 10] * 3
            assert frame[f"{name}_{percent}"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("steps", [8, 9, 11, 40])
def test_a_slope_is_the_last_quarter_less_the_one_before(steps):
    """And its error is over documents, each beside itself."""
    source = np.random.default_rng(steps)
    hard = source.normal(0, 20, 6)
    elbo = hard + np.linspace(0, 9, steps)[:, None] ** 0.1 + source.normal(size=(steps, 6))
    kl = source.normal(size=(steps, 6)) + np.arange(steps)[:, None] ** 2
    found = convergence(loop(elbo, kl))
    n = steps // 4
    change = elbo[-n:].mean(0) - elbo[-2 * n : -n].mean(0)
    gained = elbo[-n:].mean(0) - elbo[0]
    assert found.steps == steps
    assert found.slope == pytest.approx(change.mean())
    assert found.error == pytest.approx(change.std(ddof=1) / math.sqrt(6))
    assert found.freedom == 5
    assert found.swing == 0
    assert found.gained == pytest.approx(gained.mean())
    assert found.gained_error == pytest.approx(gained.std(ddof=1) / math.sqrt(6))
    assert found.kl_change == pytest.approx((kl[-n:] - kl[-2 * n : -n]).mean())


def test_too_few_steps_or_documents_do_not_tell():
    rising = np.arange(20.0)[:, None] + np.zeros((20, 3))
    assert math.isnan(convergence(loop(rising[:7])).slope)
    even = convergence(loop(rising[:8]))
    assert (even.slope, even.error) == (2, pytest.approx(0, abs=1e-9))
    common = 9 * np.random.default_rng(0).normal(size=(8, 1)) + np.eye(8)
    assert convergence(loop(common)).freedom == 7  # four steps have no waves about a parabola
    alone = convergence(loop(rising[:, :1]))
    assert (alone.slope, alone.swing, math.isnan(alone.error)) == (5, 0, True)
    assert not alone.converged
    assert alone.recommendation.startswith("The trace is too noisy to tell")


@pytest.mark.parametrize("documents", [2, 4])
def test_a_swing_is_the_amplitude_of_a_wave(documents):
    """Four periods of sixteen steps, sampled in the last half of the loop, without noise."""
    wave = 5 * np.sin(np.arange(128) * np.pi / 8)[:, None] + np.arange(documents)
    found = convergence(loop(wave))
    assert found.swing == pytest.approx(5 * math.sqrt(64 / 63))
    assert math.isfinite(found.error)


@pytest.mark.parametrize("steps", [5, 32])
def test_noise_in_common_is_more_than_its_variance_once_in_a_thousand_times(steps):
    """Each document's own noise has a known variance, and the curve a little more or less."""
    source, t = np.random.default_rng(6), np.arange(steps)
    own = source.normal(size=(steps, 5))
    own -= own.mean(0) + (own - own.mean(0)).mean(1)[:, None]
    noise = (own**2).sum() / ((steps - 1) * 4) / 5
    line = (t - t.mean()) / np.std(t, ddof=1)
    about = source.normal(size=steps)
    about -= np.polyval(np.polyfit(t, about, 2), t)
    about /= np.sqrt((about**2).sum() / (steps - 3))
    for times in (0.999, 1.001):
        whole = times * noise * stats.chi2.isf(1e-3, steps - 1) / (steps - 1)
        swing = _together(math.sqrt(whole) * line[:, None] + own)[0]
        assert swing == pytest.approx(math.sqrt(2 * (whole - noise)) if times > 1 else 0)
        rest = times * noise * stats.chi2.isf(1e-3, steps - 3) / (steps - 3)
        curve = 100 * line + math.sqrt(rest) * about
        _, error, freedom = _together(curve[:, None] + own)
        assert (error > 0, math.isfinite(freedom)) == (times > 1, times > 1)


def test_a_trend_is_no_noise_in_common():
    """About it documents go their own ways, and the error is over them."""
    source, trend = np.random.default_rng(3), np.arange(64.0)[:, None]
    for _ in range(20):
        found = convergence(loop(trend + source.normal(size=(64, 6))))
        assert found.freedom == 5
        assert found.swing > 0


def test_noise_is_taken_from_the_swing():
    """Over many loops the square of the amplitude is right, whatever each document's noise."""
    source, t = np.random.default_rng(0), np.arange(64)
    wave = 2 * np.sin(t * np.pi / 8)[:, None]
    squares = [convergence(loop(wave + source.normal(0, 3, (64, 20)))).swing ** 2
               for _ in range(200)]  # fmt: skip
    error = np.std(squares, ddof=1) / math.sqrt(200)
    assert np.mean(squares) == pytest.approx(4 * 32 / 31, abs=4 * error)


def test_what_documents_do_together_has_the_error_of_slow_waves():
    """Exactly: of the mean curve about a parabola, in the last half, cosines from the third on."""
    source, steps, documents = np.random.default_rng(1), 64, 8
    common = source.normal(size=(steps, 1))
    elbo = common + 0.1 * source.normal(size=(steps, documents))
    found = convergence(loop(elbo))
    curve, t = elbo[32:].mean(1), np.arange(32)
    about = curve - np.polyval(np.polyfit(t, curve, 2), t)
    square = np.mean(fft.dct(about, norm="ortho")[3 : 3 + int(found.freedom)] ** 2)
    assert found.error == pytest.approx(math.sqrt(4 * square / 32))
    assert found.freedom == 4  # 0.4 x 32^(2/3)


def test_the_error_of_noise_in_common_is_what_loops_show():
    source = np.random.default_rng(2)
    found = [convergence(loop(source.normal(size=(64, 1)) + 0.1 * source.normal(size=(64, 8))))
             for _ in range(400)]  # fmt: skip
    seen, claimed = (np.array([getattr(one, name) for one in found]) ** 2
                     for name in ("slope", "error"))  # fmt: skip
    error = math.hypot(*(np.std(x, ddof=1) / np.mean(x) / 20 for x in (seen, claimed)))
    assert seen.mean() / claimed.mean() == pytest.approx(1, abs=4 * error)


def told(slope=0.0, error=0.0, gained=10.0, freedom=math.inf, **more):
    return Convergence(64, slope, error, gained, 0.0, freedom=freedom, **more)


ONE, TWO = (float(stats.t.isf(chance, 4)) for chance in (0.05, 0.025))


@pytest.mark.parametrize(
    ("judged", "words"),
    [
        (told(error=0.2499 / ONE, freedom=4), "The loop has converged"),
        (told(error=0.2501 / ONE, freedom=4), "The trace is too noisy"),
        (told(0.1, 0.1499 / ONE, freedom=4), "The loop has converged"),
        (told(-0.1, 0.1499 / ONE, freedom=4), "The loop has converged"),
        (told(-0.1, 0.1501 / ONE, freedom=4), "The trace is too noisy"),
        (told(0.0999, gained=1.0), "The loop has converged"),  # a tenth of a nat, or 1 / 40
        (told(0.1001, gained=1.0), "Think longer, say 128 steps"),
        (told(0.2499, gained=-10.0), "The loop has converged"),
        (told(1.0, 0.999 / TWO, freedom=4), "Think longer"),
        (told(1.0, 1.001 / TWO, freedom=4), "The trace is too noisy"),
        (told(-1.0, 0.999 / TWO, freedom=4), "The loop loses"),
        (told(-1.0, 1.001 / TWO, freedom=4), "The trace is too noisy"),
        # What surely moves, but may do so by less than matters, is not told to go on.
        (told(0.1, 0.03), "The loop has converged"),
        (told(swing=0.2499), "The loop has converged"),
        (told(swing=0.2501), "The loop goes up and down by 0.25 nats"),
        (told(-0.1, 0.03, swing=1.0), "The loop goes up and down"),
        (told(0.1, 0.03, swing=1.0), "The loop goes up and down"),
        (told(gained=0.0999), "The loop ends where it began"),
        (told(gained=0.1001), "The loop has converged"),
        (told(gained=-1.99, gained_error=1.0), "The loop ends where it began"),
        (told(gained=2.01, gained_error=1.0), "The loop has converged"),
    ],
)  # fmt: skip
def test_what_decides(judged, words):
    assert judged.recommendation.startswith(words)
    assert judged.converged == words.startswith(("The loop has converged", "The loop ends"))
