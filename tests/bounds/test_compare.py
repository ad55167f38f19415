"""Models are ranked by held-out evidence, with the error of the difference."""

import math

import numpy as np
import pytest
from scipy import stats

import ltm_pyro as ltm
from ltm_pyro.bounds import compare, paired_difference
from ltm_pyro.bounds.figures import Figure
from ltm_pyro.bounds.report import Report
from ltm_pyro.errors import InputError
from ltm_pyro.models import LatentThoughtModel

from ..conftest import some_rows


def report(nats, tokens=None, name="elbo", **rest):
    nats = np.asarray(nats, float)
    tokens = np.full(len(nats), 50.0) if tokens is None else np.asarray(tokens, float)
    return Report({name: Figure(name, "bound", nats, tokens, tokens * 4, **rest)})


def test_the_best_comes_first_and_differences_are_paired():
    source = np.random.default_rng(0)
    hard = source.normal(150, 40, 100)
    reports = {
        "worse": report(hard + 5 + source.normal(0, 1, 100)),
        "best": report(hard),
        "as good": report(hard + source.normal(0, 3, 100) + 0.5),
    }
    table = compare(reports)
    assert list(table.index) == ["best", "as good", "worse"]
    assert table.difference["best"] == table.difference_error["best"] == 0
    gap, error = paired_difference(reports["worse"]["elbo"], reports["best"]["elbo"])
    assert (table.difference["worse"], table.difference_error["worse"]) == (gap, error)
    assert table.low["worse"] < gap < table.high["worse"]
    assert table.low["worse"] > 0
    assert table.low["as good"] < 0 < table.high["as good"]
    assert table.standard_error["worse"] > 20 * error  # what is hard for both cancels


def test_the_interval_of_few_documents_is_students():
    table = compare({"a": report([10.0, 20.0, 30.0]), "b": report([11.0, 23.0, 30.0])})
    half = stats.t.ppf(0.975, 2) * table.difference_error["b"]
    assert (table.low["b"], table.high["b"]) == pytest.approx((4 / 150 - half, 4 / 150 + half))


def test_the_interval_covers_the_true_difference():
    source, covered, trials = np.random.default_rng(1), 0, 300
    for _ in range(trials):
        hard = source.normal(150, 40, 60)
        table = compare({"a": report(hard), "b": report(hard + source.normal(2, 3, 60))})
        covered += table.low["b"] < 2 / 50 < table.high["b"]
    assert covered / trials == pytest.approx(0.95, abs=3.5 * (0.95 * 0.05 / trials) ** 0.5)


def test_of_models_of_text(config):
    rows = some_rows(6)
    reports = {
        name: ltm.evaluate(LatentThoughtModel(config), rows, ["elbo:2", "iwae:4"], progress=False)
        for name in ("one", "other")
    }
    table = compare(reports, by="iwae")
    best, other = table.index
    assert {best, other} == set(reports)
    for name in reports:
        assert table.nats_per_token[name] == reports[name]["iwae"].nats_per_token
        assert table.protocol[name] == reports[name]["iwae"].protocol
    gap = paired_difference(reports[other]["iwae"], reports[best]["iwae"])
    assert (table.difference[other], table.difference_error[other]) == gap
    assert gap[0] > 0


def test_equal_models_are_rarely_told_apart_though_the_best_is_chosen():
    """Of eight that are the same, intervals of one pair each tell some apart half of the time."""
    source, told, trials = np.random.default_rng(2), 0, 300
    for _ in range(trials):
        hard = source.normal(150, 40, 60)
        models = {str(i): report(hard + source.normal(0, 3, 60)) for i in range(8)}
        table = compare(models)
        told += bool((table.low.iloc[1:] > 0).any())
    assert told / trials < 0.05 + 3.5 * (0.05 * 0.95 / trials) ** 0.5


@pytest.mark.parametrize(
    ("reports", "by", "message"),
    [
        ({}, "elbo", "reports is empty"),
        ({"a": report([1.0, 2.0])}, "iwae", "unknown figure of the report of 'a' 'iwae'"),
        ({"a": report([1.0, 2.0], is_bound=False)}, "elbo", "elbo is no bound"),
        ({"a": report([1.0, 2.0]), "b": report([1.0])}, "elbo", "not scored on the same documents"),
        ({"a": 3}, "elbo", "reports"),
        (
            {"a": report([1.0]), "b": report([math.nan])},
            "elbo",
            "elbo of 'b' does not tell its tokens",
        ),
    ],
)
def test_what_cannot_be_compared_is_told(reports, by, message):
    with pytest.raises(InputError, match=message):
        compare(reports, by)


def test_a_fit_that_ends_above_the_prior_is_called_loose():
    """Where the document's differences tell it from none; not for a gap of their own size."""
    source = np.random.default_rng(1)
    prior = source.normal(150, 40, 60)
    for gap, words in ((1.2, "elbo lies 1."), (0.0, ""), (-1.0, "")):
        figures = dict(report(prior + gap + source.normal(0, 0.5, 60)).figures)
        figures |= report(prior, name="prior").figures
        one = Report(figures)
        table = compare({"one": one})
        assert table.loose["one"].startswith(words)
        assert bool(table.loose["one"]) == bool(words)
        assert ("worse than none" in str(one)) == bool(words)


def test_noise_alone_is_rarely_called_loose():
    """Above twice its error lie 2.3 in 100 of differences whose mean is zero."""
    source, told = np.random.default_rng(2), 0
    for _ in range(200):
        prior = source.normal(150, 40, 60)
        figures = dict(report(prior + source.normal(0, 0.5, 60)).figures)
        figures |= report(prior, name="prior").figures
        told += bool(compare({"one": Report(figures)}).loose["one"])
    assert told < 200 * 0.025 + 4 * (200 * 0.025) ** 0.5


def test_bad_importance_weights_are_called_loose():
    weights = {"ess": np.full(20, 1.1), "khat": np.full(20, 1.2), "draws": 64}
    one = report(np.full(20, 100.0), name="iwae", **weights)
    table = compare({"one": one, "two": report(np.full(20, 101.0), name="iwae")}, by="iwae")
    assert "likely loose" in table.loose["one"]
    assert table.loose["two"] == ""


def test_intervals_hold_at_once_over_all_pairs():
    source = np.random.default_rng(0)
    hard = source.normal(150, 40, 20)
    table = compare({name: report(hard + source.normal(k, 3, 20)) for k, name in enumerate("abcd")})
    for name in table.index[1:]:
        half = stats.t.ppf(1 - 0.025 / 6, 19) * table.difference_error[name]
        assert table.high[name] - table.low[name] == pytest.approx(2 * half)
    best = table.iloc[0]
    assert (best.low, best.high) == (0, 0)


def test_the_best_is_no_worse_than_itself_whatever_all_documents_share():
    shared = report([10.0, 20.0, 30.0], constant_error=3.0, shared_error=2.0)
    table = compare({"a": shared, "b": report([11.0, 23.0, 30.0])})
    assert table.difference_error["a"] == table.low["a"] == table.high["a"] == 0
    assert table.difference_error["b"] > 13**0.5 / 150
