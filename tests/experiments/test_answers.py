"""Answers are read as numbers, and what is counted of them is unbiased and has honest intervals."""

import itertools

import numpy as np
import pytest
from scipy import stats

from ltm_pyro.experiments.reasoning.answers import (
    answer_of,
    mean_interval,
    numbers,
    paired_interval,
    pass_at,
    vote,
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("#### 42", "42"),
        ("6 * 7 = <<6*7=42>>42\n#### 42\n\nTom has 3 apples.\n#### 5", "42"),
        ("so it costs $1,250.50.", "1250.5"),
        ("####1,000,000 dollars, of 7", "1000000"),
        ("#### of the 200 there are\nonly 7 left", "7"),
        ("#### none\nI mean 7.", "7"),
        ("####\n42 eggs, so 7.", "7"),
        ("#### -3.50", "-3.5"),
        ("#### -$5", "-5"),
        ("#### $-5", "-5"),
        ("#### \u22125", "-5"),
        ("10-5", "5"),
        ("(3)-5", "5"),
        ("10 - 5 = 5", "5"),
        ("x=-5", "-5"),
        ("+5", "5"),
        ("50%", "50"),
        ("007.00", "7"),
        ("-0.0", "0"),
        (".5", "0.5"),
        ("1,2,34", "34"),
        ("100.", "100"),
        ("no number", None),
        ("", None),
    ],
)
def test_answers_are_numbers(text, answer):
    assert answer_of(text) == answer


def test_numbers_are_equal_if_their_forms_are():
    assert len({*numbers("1,250.50 $1250.5 01250.500 1250.5%")}) == 1
    assert len({*numbers("5 -5 50 0.5 5.05 5.5 500")}) == 7


def test_pass_at_k_is_the_share_of_subsets_that_hold_a_correct_sample():
    for n, correct in itertools.product((1, 2, 5), range(6)):
        if correct > n:
            continue
        right = [i < correct for i in range(n)]
        for k in range(1, n + 1):
            subsets = list(itertools.combinations(right, k))
            assert pass_at(n, correct, k) == pytest.approx(np.mean([any(s) for s in subsets]))
    for wrong in ((4, 5, 1), (4, -1, 1), (4, 1, 0), (4, 1, 5)):
        with pytest.raises(ValueError, match="no subset of"):
            pass_at(*wrong)


def test_pass_at_k_is_unbiased_and_the_plain_estimator_is_not():
    """Over many questions of known probability; the bias of the plug-in is many errors wide."""
    p, n, k, questions = 0.15, 8, 4, 20_000
    truth = 1 - (1 - p) ** k
    correct = np.random.default_rng(0).binomial(n, p, questions)
    found = np.array([pass_at(n, int(c), k) for c in correct])
    plain = 1 - (1 - correct / n) ** k
    error = found.std() / questions**0.5
    assert abs(found.mean() - truth) < 4 * error
    assert abs(plain.mean() - truth) > 8 * plain.std() / questions**0.5


def test_a_majority_votes_and_ties_are_drawn():
    assert vote(["3", "3", "5"], "3") == 1
    assert vote(["3", "5", "5"], "3") == 0
    assert vote(["3", "5", "3", "5", "7"], "3") == 0.5
    assert vote(["3", "5", "7"], "7") == pytest.approx(1 / 3)
    assert vote([None, None, "3"], "3") == 1  # who has no answer does not vote
    assert vote([None, None], "3") == 0


@pytest.mark.parametrize(("right", "n"), [(0, 30), (1, 30), (15, 30), (30, 30)])
def test_the_interval_of_a_share_is_wilsons(right, n):
    known = stats.binomtest(right, n).proportion_ci(method="wilson")
    found = mean_interval([1.0] * right + [0.0] * (n - right))
    assert found == pytest.approx((known.low, known.high), abs=1e-12)
    assert found[1] - found[0] > 0.1  # none or all right is no certainty


def covered(interval, values, truth):
    ends = [interval(one) for one in values]
    return np.mean([low <= truth <= high for low, high in ends])


def test_intervals_hold_the_truth_where_few_are_right():
    """Of 1000 experiments of 60 questions; the normal interval, of which many are empty, does not.

    The least share is 95 % less four standard errors of a share, 2.8 points.
    """
    source = np.random.default_rng(1)
    p = source.beta(0.1, 2, (1000, 60))  # most questions are never solved
    correct = source.binomial(8, p)
    passed = np.vectorize(lambda c: pass_at(8, int(c), 2))(correct)
    truth = 1 - (2 * 3) / (2.1 * 3.1)  # E[(1 - p)^2] of the beta
    assert covered(mean_interval, passed, truth) > 0.922

    first = source.random((1000, 60)) < 0.04
    second = np.where(source.random((1000, 60)) < 0.5, first, source.random((1000, 60)) < 0.04)
    difference = first.astype(float) - second
    assert covered(paired_interval, difference, 0.0) > 0.922
    better = first | (source.random((1000, 60)) < 0.02)
    gain = better.astype(float) - second
    expected = 0.04 + 0.96 * 0.02 - 0.04
    assert covered(paired_interval, gain, expected) > 0.922

    def normal(values):
        reach = 1.96 * values.std() / len(values) ** 0.5
        return values.mean() - reach, values.mean() + reach

    assert covered(normal, gain, expected) < 0.922


def test_where_no_question_differs_the_interval_is_not_empty():
    """As Bonett and Price have it: of two shares, from the four counts."""
    low, high = paired_interval([0.0] * 30)
    assert low == pytest.approx(-high)
    assert high == pytest.approx(1.959964 * (2 / 32 / 32) ** 0.5)
    first, second, n = 5, 2, 30
    a, b = (first + 1) / (n + 2), (second + 1) / (n + 2)
    reach = 1.959964 * ((a + b - (a - b) ** 2) / (n + 2)) ** 0.5
    each = [1.0] * first + [-1.0] * second + [0.0] * (n - first - second)
    assert paired_interval(each) == pytest.approx((a - b - reach, a - b + reach))
