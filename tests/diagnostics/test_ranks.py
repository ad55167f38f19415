"""The shape of ranks, and its errors, beside closed forms and beside many sets of ranks."""

import math

import numpy as np
import pytest
from scipy import stats

from ltm_pyro.diagnostics.ranks import SIMULATIONS, Shape, UniformRanks, rank_shape


def test_normal_scores_are_of_the_middles_of_ranks():
    ranks = np.array([0, 3, 3, 5, 9])
    scores = stats.norm.ppf((np.arange(10) + 0.5) / 10)
    shape = rank_shape(ranks, 9)
    sd = np.std(scores[ranks], ddof=1)
    assert shape.bias == pytest.approx(-scores[ranks].mean())
    assert shape.bias_error == pytest.approx(sd / math.sqrt(5))
    assert shape.spread == pytest.approx(sd / np.sqrt(np.mean(scores**2)))
    assert shape.freedom == 4
    assert rank_shape(ranks[:2], 9).bias_error == pytest.approx((scores[3] - scores[0]) / 2)
    assert math.isnan(rank_shape(ranks[:1], 9).spread)
    pile = rank_shape(np.zeros(25, int), 9)  # which must not look certain to the last digit
    assert (pile.spread, pile.bias_error) == pytest.approx((0, 1e-3 / 5))


@pytest.mark.parametrize("draws", [3, 99])
def test_the_errors_of_a_shape_are_what_uniform_ranks_show(draws):
    """Of 2,000 sets: an error of a standard deviation is one part in sqrt(2 x 2,000)."""
    sets = np.random.default_rng(0).integers(0, draws + 1, (2000, 200))
    shapes = [rank_shape(ranks, draws) for ranks in sets]
    for value, error in (("bias", "bias_error"), ("spread", "spread_error")):
        seen = np.std([getattr(shape, value) for shape in shapes], ddof=1)
        claimed = np.mean([getattr(shape, error) for shape in shapes])
        assert seen == pytest.approx(claimed, rel=4 / math.sqrt(2 * 2000) + 0.01)


def test_one_draw_tells_nothing_of_a_spread():
    """Twenty-five ranks at either end are even, and no U."""
    shape = rank_shape(np.arange(50) % 2, 1)
    assert math.isnan(shape.spread_error)
    assert str(shape) == "neither bias nor spread stands out"


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (Shape(0.0, 0.1, 1.31, 0.1), "guide too narrow"),
        (Shape(0.0, 0.1, 1.29, 0.1), "neither bias nor spread stands out"),
        (Shape(0.0, 0.1, 0.69, 0.1), "guide too wide"),
        (Shape(0.31, 0.1, 1.0, 0.1), "guide too high by 0.31 ± 0.10"),
        (Shape(-0.31, 0.1, 1.0, 0.1), "guide too low by 0.31"),
        (Shape(0.29, 0.1, 1.0, 0.1), "neither"),
        # Piled up at one end they are narrow, whatever the guide's width.
        (Shape(0.99, 0.1, 0.5, 0.1), "guide too high by 0.99 ± 0.10 of its sd, guide too wide"),
        (Shape(1.01, 0.1, 0.5, 0.1), "guide too high by 1.01 ± 0.10 of its sd"),
    ],
)
def test_three_errors_stand_out(shape, words):
    assert str(shape).startswith(words)
    assert ("wide" in str(shape)) == ("wide" in words)


def test_the_ends_of_p_values():
    """Nothing strays less than ranks that are even, and nothing more than ranks that are equal."""
    uniform = UniformRanks(50, 9)
    assert uniform.p_value(np.zeros(50, int)) == 1 / (1 + SIMULATIONS)
    assert uniform.p_value(np.arange(50) % 10) == 1
    assert UniformRanks(1, 1).p_value(np.zeros(1, int)) == 1  # a tie with every set counts


def test_mirrored_ranks_stray_exactly_as_far():
    """However rounding falls: the tails are those of binomial counts, and each other's mirror."""
    uniform, source = UniformRanks(30, 7), np.random.default_rng(1)
    exact = stats.binom.cdf(np.arange(31), 30, np.arange(1, 8)[:, None] / 8)
    np.testing.assert_allclose(uniform._at_most, exact, rtol=1e-10)
    above = stats.binom.sf(np.arange(31) - 1, 30, np.arange(1, 8)[:, None] / 8)
    np.testing.assert_allclose(uniform._at_least, above, rtol=1e-10)
    for _ in range(50):
        ranks = source.integers(0, 8, 30)
        assert uniform.p_value(ranks) == uniform.p_value(7 - ranks)
        assert uniform.outside(ranks, 0.3) == uniform.outside(7 - ranks, 0.3)
    lower, upper = uniform.envelope(0.05)
    np.testing.assert_allclose(lower, -upper[::-1], atol=1e-12)


def test_a_set_of_one_draw_is_a_binomial_count():
    """Of rank 0 or 1: the distance is the smaller tail, its law that of a fair coin's throws."""
    uniform = UniformRanks(20, 1, seed=3)
    lower, upper = uniform.envelope(0.05)
    for heads in range(21):
        ranks = np.array([0] * heads + [1] * (20 - heads))
        inside = lower[0] - 1e-9 < heads / 20 - 0.5 < upper[0] + 1e-9
        assert uniform.outside(ranks, 0.05) != inside  # on its edge too
        exact = stats.binomtest(heads, 20).pvalue
        error = math.sqrt(exact * (1 - exact) / SIMULATIONS)
        assert uniform.p_value(ranks) == pytest.approx(exact, abs=4 * error + 1.01 / SIMULATIONS)
