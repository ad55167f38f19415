import types

import numpy as np
import pandas as pd
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Objective, Slow
from ltm_pyro.diagnostics import Plateau, smoothed
from ltm_pyro.programs.elbo import ElboTerms

from ..conftest import some_rows
from .curves import TRAINING, alarms, correlated


def watch(plateau, values, weights=None):
    for i, value in enumerate(values):
        weight = 1.0 if weights is None else weights[i]
        plateau(None, types.SimpleNamespace(nats_per_token=value, step=i + 1, kl_weight=weight))
    return plateau


def test_a_plateau_is_seen_and_a_slope_is_not():
    noise = np.random.default_rng(0).normal(0, 0.1, 1000)
    steps = np.arange(1000)
    falling = watch(Plateau(window=50), 6 - 0.01 * steps + noise)
    assert falling.stalled_at is None
    assert falling.verdict.startswith("Still learning")
    settled = watch(Plateau(window=50, least=0.02), 4 + 2 * np.exp(-steps / 30) + noise)
    assert 300 < settled.stalled_at < 900
    assert settled.verdict.startswith("On a plateau, first seen at step")
    again = watch(settled, 3.9 - 0.01 * steps)
    assert again.verdict.startswith("Falling again after a plateau")
    assert "Too early" in watch(Plateau(window=50), noise[:60]).verdict
    assert "Too noisy yet" in watch(Plateau(window=50), 9 * noise[:300]).verdict


@pytest.mark.parametrize("curves", [12, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", TRAINING)
def test_a_plateau_is_called_where_there_is_one(name, curves):
    found = alarms(name, curves)
    called = sum(at is not None for at in found)
    moves = TRAINING[name][-1]
    if moves is False:
        assert called == curves
    elif moves:  # 5 %, however long one waits
        assert called <= 0.05 * curves + 3.5 * (0.05 * 0.95 * curves) ** 0.5


def test_a_trend_of_waves_is_no_plateau():
    """A wave that is longer than what was seen of it has a trend, down and then up."""
    for period in (150, 250, 400):
        for phase in range(8):
            wave = 0.2 * np.sin(2 * np.pi * (np.arange(400) / period + phase / 8))
            noise = np.random.default_rng(phase).normal(0, 0.05, 400)
            assert watch(Plateau(), 5 + wave + noise).stalled_at is None


def test_what_rises_is_no_plateau_and_is_said_to_rise():
    noise = np.random.default_rng(0).normal(0, 0.1, 1000)
    rising = watch(Plateau(), 5 + 0.001 * np.arange(1000) + noise)
    assert rising.stalled_at is None
    assert rising.verdict.startswith("The bound rises: ")


def test_a_fall_has_the_error_of_iterations_that_are_alike():
    """Over many curves of correlated noise: unbiased, and as far off as its error says."""
    source, t = np.random.default_rng(0), np.arange(800)
    found = []
    for _ in range(200):
        curve = 5 - 0.0004 * t + 0.1 * correlated(source, 800, 0.5)
        found.append(watch(Plateau(window=50, least=1e-6), curve).fall)
    falls, errors = np.array(found).T
    assert np.mean(falls) == pytest.approx(0.02, abs=3.5 * np.std(falls) / 200**0.5)
    # a mean of squares, of 200 values and of errors of some 14 degrees of freedom
    assert np.mean((falls - 0.02) ** 2) / np.mean(errors**2) == pytest.approx(1, abs=0.4)


def test_the_error_is_that_of_waves_about_the_trend():
    """Exactly: the fall and the mean square of cosines from the second, the first being the trend.

    Over many curves of independent noise that is the error which is known.
    """
    source, n = np.random.default_rng(0), 200
    places, cosines = np.arange(n) - (n - 1) / 2, np.pi * (np.arange(n) + 0.5) / n
    curve = 5 + 0.1 * source.normal(size=2 * n)
    slope, level = np.polyfit(places, curve[n:], 1)
    about = curve[n:] - level - slope * places
    each = [np.sqrt(2 / n) * (about * np.cos(j * cosines)).sum() for j in range(2, 2 + 14)]
    fall, error = watch(Plateau(window=50), curve).fall
    assert fall == pytest.approx(-50 * slope)
    assert error == pytest.approx(50 * np.sqrt(np.mean(np.square(each)) / (places**2).sum()))
    curves = 5 + 0.1 * source.normal(size=(300, 2 * n))
    errors = np.array([watch(Plateau(window=50, least=1e-6), one).fall[1] for one in curves])
    truth = 50 * 0.1 / np.sqrt((places**2).sum())
    assert np.mean(errors[np.isfinite(errors)] ** 2) / truth**2 == pytest.approx(1, abs=0.1)


def test_iterations_that_are_too_much_alike_do_not_tell_a_trend():
    smooth = watch(Plateau(window=10), 5 + 0.1 * np.cos(np.arange(60) / 20))
    assert np.isinf(smooth.fall[1])
    assert smooth.stalled_at is None
    assert smooth.verdict.startswith("Too noisy yet")


def test_a_failure_to_see_a_fall_is_no_plateau():
    """Noise that hides a fall of five times the least in the first windows."""
    steps = np.arange(200)
    fall = 5 * 0.01 / 50 * steps
    calls = [
        watch(Plateau(), 5 - fall + np.random.default_rng(seed).normal(0, 0.5, 200)).stalled_at
        for seed in range(40)
    ]
    assert calls == [None] * 40


def test_a_moving_objective_is_not_judged():
    flat = np.full(300, 4.0) + np.random.default_rng(0).normal(0, 0.001, 300)
    weights = np.minimum(1.0, np.arange(300) / 250)
    assert watch(Plateau(window=30), flat).stalled_at is not None
    assert watch(Plateau(window=30), flat, weights).stalled_at is None


def test_the_smoothed_bound_has_the_error_of_its_window():
    source = np.random.default_rng(0)
    frame = pd.DataFrame({"step": range(2000), "nats_per_token": source.normal(3, 0.5, 2000)})
    smooth = smoothed(frame, 25)
    z = (smooth.nats_per_token[24::25] - 3) / smooth.standard_error[24::25]
    assert np.mean(np.abs(z) < 2) == pytest.approx(0.943, abs=4 * 0.026)


def test_training_ends_at_a_plateau_if_asked(model):
    rows = some_rows(8)
    slow = Slow(lr=0.0, warmup=0)
    svi = ltm.DualRateSVI(model, fast=Fast(steps=1), slow=slow)
    plateau = Plateau(window=10, least=3.0, stop=True)
    fit = svi.fit(rows, 60, 4, callbacks=[plateau], progress=False)
    assert 40 <= len(fit.history) < 60
    assert plateau.stalled_at == fit.history.step.iloc[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 9}, "window is 9"),
        ({"least": 0.0}, "least is 0.0"),
        ({"error": 1}, "error is 1"),
    ],
)
def test_a_plateau_needs_an_effect_that_matters(options, message):
    with pytest.raises(ltm.InputError, match=message):
        Plateau(**options)


def test_free_bits_are_not_charged_and_not_hidden(model):
    likelihood, kl = torch.tensor([[-10.0, -10.0]]), torch.tensor([[1.0, 5.0]], requires_grad=True)
    terms = ElboTerms(likelihood, {"z": kl}, None)
    objective = terms.objective(0.5, free_bits=2.0)
    assert objective.tolist() == [[-11.0, -12.5]]
    assert terms.elbo.tolist() == [[-11.0, -15.0]]
    (gradient,) = torch.autograd.grad(objective.sum(), kl)
    assert gradient.tolist() == [[0.0, -0.5]]

    rows = some_rows(8, full=True)
    kls = [
        ltm.DualRateSVI(
            model, fast=Fast(steps=60, lr=0.1), slow=Slow(lr=0.0), objective=Objective(free_bits=f)
        ).step(rows).kl.mean()
        for f in (0.0, 12.0)
    ]  # fmt: skip
    assert kls[1] > kls[0] + 1
