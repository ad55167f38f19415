import math

import numpy as np
import pytest

from ltm_pyro.bounds.figures import Figure
from ltm_pyro.bounds.report import Report, paired_difference
from ltm_pyro.bounds.sampling import ratio_error


def figure(nats, tokens, name="elbo", **rest):
    nats, tokens = np.asarray(nats, float), np.asarray(tokens, float)
    return Figure(name, "bound", nats, tokens, tokens * 4, **rest)


def test_units():
    one = figure([10.0, 30.0], [5, 10])
    assert one.nats_per_token == pytest.approx(40 / 15)
    assert one.perplexity == pytest.approx(math.exp(40 / 15))
    assert one.bits_per_byte == pytest.approx(40 / math.log(2) / 60)
    wrong = np.mean(np.exp(one.nats / one.tokens))  # the released code's mean of exponentials
    assert abs(wrong - one.perplexity) > 0.5


def test_the_standard_error_covers_the_truth():
    source = np.random.default_rng(0)
    tokens = source.integers(5, 200, size=200_000).astype(float)
    nats = tokens * source.normal(3.0, 0.5, size=len(tokens)) + source.normal(
        0, 5, size=len(tokens)
    )
    truth, covered, trials = nats.sum() / tokens.sum(), 0, 400
    for _ in range(trials):
        chosen = source.integers(len(tokens), size=80)
        one = figure(nats[chosen], tokens[chosen])
        covered += abs(one.nats_per_token - truth) < 1.96 * one.standard_error
    assert covered / trials == pytest.approx(0.95, abs=3.5 * math.sqrt(0.95 * 0.05 / trials))


def test_paired_errors_forget_what_both_find_hard():
    source = np.random.default_rng(0)
    tokens = np.full(100, 50.0)
    hard = source.normal(150, 40, size=100)
    worse, better = figure(hard + 5, tokens), figure(hard + source.normal(0, 1, 100), tokens)
    gap, error = paired_difference(worse, better)
    assert gap == pytest.approx(0.1, abs=4 * error)
    assert error < 0.05 * worse.standard_error
    with pytest.raises(ValueError, match="same documents"):
        paired_difference(worse, figure([1.0], [2]))


def test_what_is_not_known_is_null_in_json():
    assert math.isnan(ratio_error(np.array([1.0]), np.array([2.0])))
    found = Figure("elbo", "bound", np.array([1e4]), np.array([2.0]), np.array([0.0])).to_dict()
    assert found["standard_error"] is found["perplexity"] is found["bits_per_byte"] is None
    assert found["nats_per_token"] == 5e3


def test_printing_shows_the_protocol():
    released = figure([1.0, 2.0], [5, 5], "same_noise", is_bound=False)
    text = str(Report({"elbo": figure([1.0, 2.0], [5, 5]), "same_noise": released}))
    assert "2 documents, 10 tokens, 40 bytes" in text
    assert "<table" in Report({"elbo": released})._repr_html_()
    assert released.to_dict()["is_bound"] is False


def correlated(source, units=600, alike=6):
    """Windows of documents about six windows long: neighbours are as hard as their document."""
    hard = np.repeat(source.normal(0, 1, units // alike), alike)
    return 40.0 + 5 * hard + source.normal(0, 1, units)


@pytest.mark.parametrize("stream", [True, False])
def test_neighbouring_windows_do_not_count_as_independent(stream):
    source, tokens, trials = np.random.default_rng(0), np.full(600, 16.0), 400
    covered = 0
    for _ in range(trials):
        one = figure(correlated(source), tokens, stream=stream)
        low, high = one.interval
        covered += low < 40 / 16 < high
    nominal = abs(covered / trials - 0.95) < 3.5 * math.sqrt(0.95 * 0.05 / trials) + 0.01
    assert nominal == stream  # each window by itself covers about 60 %


def test_the_error_of_a_mean_is_that_of_few_documents():
    """With n in place of n - 1 it would be 1 / sqrt(3) too small here."""
    assert ratio_error(np.array([1.0, 3.0]), np.ones(2)) == pytest.approx(1.0)
    assert ratio_error(np.array([1.0, 2.0, 6.0]), np.ones(3)) == pytest.approx(
        np.std([1, 2, 6], ddof=1) / math.sqrt(3)
    )
