"""Errors over windows of one stream, whose neighbours share a document."""

import math

import numpy as np
import pytest

import ltm_pyro as ltm
from ltm_pyro.bounds.report import Report, differences, paired_difference
from ltm_pyro.bounds.sampling import ratio_error, sampling_error
from ltm_pyro.config import Fast
from ltm_pyro.data.laying import rows_of_documents
from ltm_pyro.data.rows import Rows
from ltm_pyro.diagnostics import thought_use
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.posterior import infer

from .windows import ENOUGH, KINDS, LENGTHS, TOKENS, WINDOWS, covered, figure, stream

CASES = [(n, length, kind) for n in WINDOWS for length in LENGTHS for kind in KINDS
         if n / length >= ENOUGH]  # fmt: skip
LEAST, MOST = 0.92, 0.98


def reach(streams):
    """3.5 standard errors of a share that is to be 95 %."""
    return 3.5 * math.sqrt(0.95 * 0.05 / streams)


def test_the_interval_covers_the_truth():
    some = [(n, length, kind) for n, length in ((24, 0.3), (60, 2), (150, 6), (600, 20), (2000, 20))
            for kind in KINDS]  # fmt: skip
    shares = [covered(*case, 60)[0] for case in some]
    assert LEAST - reach(60 * len(some)) < np.mean(shares) < MOST
    alone = [covered(*case, 20, known=False)[0] for case in some]
    assert np.mean(alone) < 0.8  # were each window a document


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_it_covers_at_any_length(case):
    share, _ = covered(*case, 1000)
    assert LEAST - reach(1000) < share < MOST + reach(1000)


def test_it_is_no_wider_than_needed_where_documents_are_many():
    assert covered(2000, 2, "exponential", 60)[1] < 1 + 3 / math.sqrt(2 * 60)


def test_it_is_wide_where_windows_are_few():
    few, _ = sampling_error(np.array([1.0, 2.0]), np.ones(2), stream=True)
    assert few == pytest.approx(0.5)
    assert figure(np.array([1.0, 2.0, 1.0])).freedom == 1
    low, high = figure(np.array([40.0, 50.0])).interval
    assert high - low == pytest.approx(2 * 12.706 * 5 / TOKENS, rel=1e-4)
    one = figure(np.array([40.0]))
    assert all(math.isnan(value) for value in (one.standard_error, *one.interval))


def test_pairs_are_compared_by_waves_along_the_stream():
    source, n = np.random.default_rng(1), 600
    a, b = (figure(stream(source, n, 2, "alike")) for _ in range(2))
    gap = a.nats - b.nats
    found, error = paired_difference(a, b)
    assert found == pytest.approx(gap.mean() / TOKENS)
    _, waves = sampling_error(gap, a.tokens, stream=True)
    places = np.pi * (np.arange(n) + 0.5) / n
    each = [math.sqrt(2 / n) * (gap * np.cos(j * places)).sum() for j in range(1, int(waves) + 1)]
    assert error == pytest.approx(math.sqrt(np.mean(np.square(each)) / n) / TOKENS, rel=1e-9)
    (told,) = differences(Report({"elbo": b}), Report({"elbo": a})).values()
    assert waves == 28  # what is alike ends before waves of 600 windows are as short
    low, high = told["interval"]
    assert high - low == pytest.approx(2 * 2.0484 * error, rel=1e-4)  # Student's t, 28
    longer = figure(stream(source, n, 20, "alike"))
    assert longer.freedom < 20 < figure(stream(source, n, 0.3, "alike")).freedom
    assert longer.units == longer.to_dict()["units_of_error"] == longer.freedom + 1
    said = f"(windows of a stream: errors of {longer.freedom:.0f} degrees of freedom)"
    assert said in str(Report({"elbo": longer}))
    assert said in Report({"elbo": longer})._repr_html_()


def test_windows_are_known_wherever_they_went(config, model):
    source, length = np.random.default_rng(0), config.architecture.length
    documents = [((source.integers(1, 5, 40)).tolist(), [1] * 40) for _ in range(6)]
    packed, apart = (rows_of_documents(documents, length, packed=p) for p in (True, False))
    for rows in (packed, packed[::2], packed.first(3), Rows.end_to_end([packed, packed])):
        report = ltm.evaluate(model, rows, ["prior:1"], repeat=0, progress=False)
        assert report["prior"].stream
    report = ltm.evaluate(model, apart, ["prior:1"], repeat=0, progress=False)
    assert not report["prior"].stream
    assert report["prior"].freedom == report["prior"].units - 1 == 5
    assert "degrees of freedom" not in str(report)


def test_what_thoughts_earn_has_the_error_of_documents(config, model):
    """Rows of one document are alike, and so are windows of a stream."""
    source, length = np.random.default_rng(0), config.architecture.length
    documents = [((source.integers(1, 5, 40)).tolist(), [1] * 40) for _ in range(6)]
    for packed in (True, False):
        rows = rows_of_documents(documents, length, packed)
        posterior = infer(model, rows, MeanField, Fast(steps=2))
        kl = posterior.elbo(16, 0).kl.mean(0).double().numpy()
        mean, error = thought_use(posterior).total_kl
        assert mean == pytest.approx(kl.mean(), rel=1e-5)
        place = np.arange(len(rows)) if packed else rows.document.numpy()
        expected, _ = sampling_error(np.bincount(place, kl), np.bincount(place), packed)
        assert error == pytest.approx(expected, rel=1e-5)


def test_waves_are_as_slow_as_what_is_alike_asks():
    """Their number from the correlations, each summed up by itself."""
    asked = set()
    for seed, (n, length) in enumerate([(600, 6), (600, 20), (601, 20), (150, 6), (2000, 20)]):
        nats = stream(np.random.default_rng(seed), n, length, "alike")
        about = nats - nats.mean()
        alike = [float((about[k:] * about[: n - k]).sum()) for k in range(n)]
        ended = next(k for k in range(0, n - 1, 2) if alike[k] + alike[k + 1] <= 0)
        waves = max(1, min(round(0.4 * n ** (2 / 3)), n // (2 * ended)))
        assert sampling_error(nats, np.ones(n), stream=True)[1] == waves
        asked.add(waves < round(0.4 * n ** (2 / 3)))
    assert True in asked


def test_documents_are_independent_unless_said_otherwise():
    values = stream(np.random.default_rng(0), 60, 6, "alike")
    assert sampling_error(values, np.ones(60)) == sampling_error(values, np.ones(60), False)
    assert sampling_error(values, np.ones(60))[1] == 59
    assert ratio_error(values, np.ones(60)) == sampling_error(values, np.ones(60))[0]
    assert ratio_error(values, np.ones(60), True) == sampling_error(values, np.ones(60), True)[0]
