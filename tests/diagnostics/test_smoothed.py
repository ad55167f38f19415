"""The smoothed bound and the looks of a plateau, beside the same by hand."""

import math
import types

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ltm_pyro.diagnostics import Plateau, smoothed


def frame_of(values):
    return pd.DataFrame({"step": np.arange(len(values)) + 5, "nats_per_token": values})


@pytest.mark.parametrize(
    ("window", "n", "width"),
    [(5, 30, 5), (6, 30, 5), (7, 9, 7), (25, 8, 7), (25, 9, 9), (25, 3, 3), (25, 4, 3), (1, 9, 3)],
)
def test_a_smoothed_curve_is_means_and_lines_at_the_ends(window, n, width):
    """The window is odd, three or more, and no more than there are."""
    values = np.random.default_rng(n).normal(size=n)
    half, t = width // 2, np.arange(n)
    curve, share = np.empty(n), np.full(n, 1 / width)
    for i in range(half, n - half):
        curve[i] = values[i - half : i + half + 1].mean()
    first, last = t[:width], t[-2 * width :]
    for seen, here in ((first, t[:half]), (last, t[n - half :])):
        curve[here] = np.polyval(np.polyfit(seen, values[seen], 1), here)
        design = np.stack([np.ones(len(seen)), seen], 1)
        inverse = np.linalg.inv(design.T @ design)
        share[here] = [np.array([1, i]) @ inverse @ np.array([1, i]) for i in here]
    found = smoothed(frame_of(values), window)
    np.testing.assert_allclose(found.nats_per_token, curve)
    np.testing.assert_allclose(found.standard_error / found.spread, np.sqrt(share))
    away = values - curve
    spread = [away[max(0, i - half) : i + half + 1].std(ddof=1) for i in range(n)]
    np.testing.assert_allclose(found.spread, spread)
    assert found.step.tolist() == (t + 5).tolist()


def test_two_iterations_are_no_curve():
    found = smoothed([{"step": 1, "nats_per_token": 3.0}, {"step": 2, "nats_per_token": 2.0}])
    assert found.nats_per_token.tolist() == [3, 2]
    assert found[["standard_error", "spread"]].isna().all(axis=None)


def watch(plateau, values):
    for i, value in enumerate(values):
        plateau(None, types.SimpleNamespace(nats_per_token=value, step=i + 1, kl_weight=1.0))
    return plateau


def waves_and_slope(n, slope):
    """A trend with the last half's residuals given: noise that is orthogonal to it nearly."""
    return slope * np.arange(n) + np.random.default_rng(4).normal(0, 0.1, n)


def test_it_is_looked_at_whenever_a_quarter_more_was_seen():
    """Each look may err with probability error / (k (k + 1)), by Student's t."""
    looks, plateau, values = [], Plateau(10, least=1e-9, error=0.1), waves_and_slope(120, -0.01)
    for i, value in enumerate(values):
        before = plateau._reach
        watch(plateau, [value])
        if plateau._reach != before:
            freedom = plateau._trend()[2]
            looks.append(i + 1)
            chance = 0.1 / (len(looks) * (len(looks) + 1))
            assert plateau._reach == pytest.approx(stats.t.isf(chance, freedom))
    assert looks == [40, 50, 63, 79, 99]  # 40 and each time a quarter more, rounded up


@pytest.mark.parametrize("sign", [1, -1])
def test_a_plateau_is_a_fall_surely_less_than_the_least(sign):
    values = waves_and_slope(40, 0.002 * sign)
    fall, error, freedom = watch(Plateau(10), values)._trend()
    reach = abs(fall) + stats.t.isf(0.05 / 2, freedom) * error
    assert watch(Plateau(10, least=1.001 * reach), values).stalled_at == 40
    assert watch(Plateau(10, least=0.999 * reach), values).stalled_at is None
    assert watch(Plateau(10, least=1.001 * reach), values[:39]).stalled_at is None
    assert math.isnan(watch(Plateau(10), values[:39]).fall[0])


def test_what_no_longer_moves_at_all_is_a_plateau_at_the_first_look():
    assert watch(Plateau(10), [3.0] * 60).stalled_at == 40


def seen(plateau, fall, error, reach, stalled_at=None):
    plateau.stalled_at, plateau._reach = stalled_at, reach
    plateau._trend = lambda: (fall, error, 9.0)
    return plateau.verdict


@pytest.mark.parametrize(
    ("fall", "stalled_at", "words"),
    [
        (0.0201, None, "Still learning"),
        (0.0199, None, "Too noisy yet"),
        (-0.0201, None, "The bound rises"),
        (-0.0199, None, "Too noisy yet"),
        (0.0301, 7, "Falling again after a plateau at step 7"),
        (0.0299, 7, "On a plateau, first seen at step 7"),
    ],
)
def test_a_direction_is_told_beyond_the_reach(fall, stalled_at, words):
    """An error of 0.01 and a reach of two of them; what matters is 0.03."""
    assert seen(Plateau(10, least=0.03), fall, 0.01, 2.0, stalled_at).startswith(words)
    noisy = seen(Plateau(10, least=0.03), fall, 0.02, 2.0, 7)
    assert noisy.startswith("On a plateau")
