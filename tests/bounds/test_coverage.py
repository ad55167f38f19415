"""Printed errors against repetitions."""

import math

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds.repetition import over_repetitions, repeated_rows, rounds, shared_error
from ltm_pyro.bounds.weights import effective_sample_size, in_words
from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError

from ..conftest import some_rows
from .coverage import DIMENSIONS, FIGURES, case, repeat

REPETITIONS = 8
# Mean of that many squared t values: outside this about once in a thousand times.
LEAST, MOST = 0.1, 3.5


def squares(figure, **options):
    (found,) = repeat(24, [figure], REPETITIONS, fast=Fast(steps=4), **options).values()
    return found.squares.mean()


slow = pytest.mark.slow


@pytest.mark.parametrize("figure", ["iwae:32", *[pytest.param(f, marks=slow) for f in FIGURES]])
def test_the_printed_error_is_the_spread_over_repetitions(figure):
    assert LEAST < squares(figure) < MOST


def test_an_error_of_the_draws_alone_would_be_too_small():
    assert squares("iwae:32", repeat=0) > MOST


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_the_printed_interval_covers(dimensions):
    seen = repeat(dimensions, FIGURES, 200)
    for name, found in seen.items():
        # 90 to 98 %, and what 200 repetitions of a coverage at the lower end may show.
        assert found.covered > 0.90 - 0.05, (name, found.covered)
    # Of one figure even 98 % may show 200 of 200; of all together it does not.
    assert np.mean([found.covered for found in seen.values()]) < 0.98 + 0.015


def test_spreads_of_repeated_rows_stand_for_all():
    """Rows of known spread: the sum over all, from some of them."""
    source = np.random.default_rng(0)
    sd = np.tile([0.5, 1.0, 2.0, 4.0], 60)
    chosen = repeated_rows(len(sd), 64, 0)
    within = torch.tensor(0.1 * sd**2)  # the right shares, much too small
    totals = []
    for _ in range(300):
        first = torch.tensor(sd * source.standard_normal(len(sd)))
        again = torch.tensor(sd[chosen] * source.standard_normal((1, len(chosen))))
        variance, freedom = over_repetitions(first, again, chosen, within)
        totals.append(float(variance.sum()))
    truth = float((sd**2).sum())
    share = float((sd[chosen] ** 2).sum() / truth)
    assert np.mean(totals) == pytest.approx(truth, rel=0.06)
    # A chi-squared with that many degrees of freedom has this spread.
    fourth = (sd[chosen] ** 4).sum() / (share * truth) ** 2
    assert np.std(totals) / truth == pytest.approx(math.sqrt(2 * fourth), rel=0.15)
    assert freedom == pytest.approx(1 / fourth, rel=0.8)
    alike, _ = over_repetitions(first, again, chosen, None)
    assert len(alike.unique()) == 1
    still, freedom = over_repetitions(first, first[None, chosen], chosen, within)
    assert (float(still.sum()), freedom) == (0.0, math.inf)


def test_few_rows_are_repeated_more_often_and_many_only_in_part():
    assert repeated_rows(5, 64, 0).tolist() == [0, 1, 2, 3, 4]
    some = repeated_rows(1000, 64, 0)
    assert len(set(some.tolist())) == 64
    assert some.tolist() != repeated_rows(1000, 64, 1).tolist()
    assert [rounds(n) for n in (0, 1, 10, 24, 64)] == [0, 6, 3, 1, 1]


def test_repeated_rows_are_counted_and_may_be_few(model):
    rows = some_rows(12)
    figures = [
        ltm.evaluate(model, rows, ["prior:4"], repeat=n, progress=False)["prior"]
        for n in (0, 4, 64)
    ]
    assert [f.repeated for f in figures] == [0, 4, 12]
    assert len({f.nats_per_token for f in figures}) == 1  # no figure depends on its error
    assert len({f.monte_carlo_error for f in figures}) == 3
    with pytest.raises(InputError, match="repeat is -1"):
        ltm.evaluate(model, rows, ["prior:4"], repeat=-1)


def test_intervals_stand_beside_errors():
    model, rows = case(2, 12)
    figure = ltm.evaluate(model, rows, ["prior:8"], progress=False)["prior"]
    found = figure.to_dict()
    low, high = found["monte_carlo_interval"]
    assert low < found["nats_per_token"] < high
    assert high - low > 2 * 1.96 * found["monte_carlo_error"]  # as the error is itself estimated
    low, high = found["interval"]
    assert high - low == pytest.approx(2 * 2.201 * found["standard_error"], rel=1e-3)  # t, 11
    one = ltm.evaluate(model, rows[[0]], ["prior:4"], progress=False)["prior"].to_dict()
    assert one["interval"] == [None, None]


def test_loose_weights_are_called_loose():
    once = {"repeat": 0, "progress": False}
    tight = ltm.evaluate(*case(2), ["iwae:64"], fast=Fast(40, 0.1), **once)["iwae"]
    loose = ltm.evaluate(*case(96), ["iwae:64"], fast=Fast(4, 0.3), **once)
    assert "loose" not in tight.weights
    assert "k-hat" in tight.weights
    assert loose["iwae"].weights.startswith("likely loose: k-hat ")
    assert "likely loose" in str(loose)
    assert loose["iwae"].to_dict()["khat_median"] > 0.7 > tight.to_dict()["khat_median"]
    ais = ltm.evaluate(*case(96), ["ais:2"], fast=Fast(4, 0.3), **once)["ais"]
    assert ais.weights.startswith("likely loose: effective sample size ")  # 4 chains have no tail


def test_effective_sample_sizes():
    log_w = np.log(np.array([[1.0, 1.0, 1e-9], [1.0, 3.0, 1.0]]))
    np.testing.assert_allclose(effective_sample_size(log_w), [2, 16 / 10, 1], rtol=1e-6)
    assert in_words(None, np.array([2.0, 64.0, 64.0]), 64) == (
        "effective sample size 64.0 of 64 draws (medians over rows)"
    )


@pytest.mark.parametrize(
    ("draws", "limit"), [(30, 0.32301), (64, 0.44634), (100, 0.5), (2154, 0.7), (10**6, 0.7)]
)
def test_fewer_draws_allow_a_lighter_tail(draws, limit):
    """min(1 - 1 / log10(draws), 0.7): Vehtari et al. 2024."""
    ess = np.full(3, 0.9 * draws)  # not by these
    for shift, loose in ((-1e-4, False), (1e-4, True)):
        said = in_words(np.array([0.0, limit + shift, 2.0]), ess, draws)
        assert said.startswith("likely loose: k-hat") == loose


def test_spreads_know_no_unit():
    """In thousandths of a nat all is as it is in nats; rows of no known share have the mean."""
    source = np.random.default_rng(0)
    first, again = (torch.tensor(source.normal(size=(n, 8))) for n in (1, 2))
    chosen, within = torch.arange(8), torch.tensor(source.uniform(0.5, 2, 8))
    for known in (within, None, 0 * within):
        variance, freedom = over_repetitions(first[0], again, chosen, known)
        small, same = over_repetitions(
            first[0] / 1e3, again / 1e3, chosen, None if known is None else known / 1e6
        )
        torch.testing.assert_close(small * 1e6, variance)
        assert same == pytest.approx(freedom)
    spread = torch.cat([first, again]).var(0)
    torch.testing.assert_close(variance, spread.mean().expand(8))


def test_what_shared_draws_add_is_the_jackknifes_also_where_one_weighs_all():
    source = np.random.default_rng(0)
    for heavy in (0.0, 9.0):
        log_w = torch.tensor(source.normal(size=(6, 4)))
        log_w[0] += heavy
        sums = torch.stack([log_w[torch.arange(6) != i].logsumexp(0) for i in range(6)])
        whole, own = sums.sum(1).var(correction=0), sums.var(0, correction=0).sum()
        assert shared_error(log_w) == pytest.approx(math.sqrt(5 * float(whole - own)), rel=1e-6)
    alone = torch.tensor([[0.0, 0.0], [-1e4, -1e4]])
    assert math.isfinite(shared_error(alone))
    assert math.isnan(shared_error(alone[:1]))
