"""Left-to-right scores: every number printed is a code, and its error holds what rows share."""

import math

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds.importance import log_mean_exp
from ltm_pyro.bounds.repetition import shared_error
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.seeds import generator

from ..conftest import some_rows
from .test_kraft import GUIDES, all_texts, model_of

QUICK = Fast(steps=3, lr=0.1)


def predicted(model, rows, block=1, seed=0, repeat=0, **options):
    options = {"fast": QUICK, **options}
    report = ltm.evaluate(
        model, rows, [f"predictive:{block}"], seed=seed, repeat=repeat, progress=False, **options
    )
    return report["predictive"]


@pytest.mark.parametrize(
    ("block", "chunk", "seed"),
    [(1, 64, 0), (2, 9, 1), *(pytest.param(1, 5, s, marks=pytest.mark.slow) for s in range(4))],
)
def test_one_printed_code_is_a_code(block, chunk, seed):
    """Not in expectation over seeds: each seed's lengths are those of a code."""
    nats = predicted(model_of(), all_texts(), block, seed, chunk=chunk).nats
    assert np.exp(-nats).sum() == pytest.approx(1.0, abs=1e-4)


def test_with_a_prior_that_draws_by_rejection():
    nats = predicted(model_of("energy-tilt"), all_texts(), 2).nats
    assert np.exp(-nats).sum() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_with_every_guide(guide):
    make, fast = GUIDES[guide]
    nats = predicted(model_of(), all_texts(), guide=make, fast=fast).nats
    assert np.exp(-nats).sum() == pytest.approx(1.0, abs=1e-3)


def test_draws_that_a_text_has_of_its_own_would_be_seen(monkeypatch):
    monkeypatch.setattr(Rows, "keyed_by_text", lambda self: self)
    nats = predicted(model_of(), all_texts()).nats
    assert abs(np.exp(-nats).sum() - 1) > 1e-3


def test_keys_by_text():
    rows = some_rows(6)
    copies = Rows.end_to_end([rows, rows])
    assert len(copies.key.unique()) == 12
    by_text = copies.keyed_by_text()
    assert len(by_text.key.unique()) == 6
    assert torch.equal(by_text.key[:6], by_text.key[6:])
    assert torch.equal(by_text.tokens, copies.tokens)
    assert len(rows.first(0).keyed_by_text().key.unique()) == 1
    # what stands behind the end does not count
    junk = Rows(torch.where(rows.mask, rows.tokens, 9), rows.lengths, rows.document, rows.bytes)
    assert torch.equal(junk.keyed_by_text().key, rows.keyed_by_text().key)


def test_what_shared_draws_do_to_a_sum():
    """log mean weights of rows that share their draws, over and over."""
    source, sums, printed, alone = generator(0), [], [], []
    for _ in range(400):
        log_w = 0.5 * torch.randn(64, 1, generator=source) + 0.3 * torch.randn(
            64, 20, generator=source
        )
        mean, variance = log_mean_exp(log_w)
        sums.append(float(mean.sum()))
        printed.append(shared_error(log_w) ** 2 + float(variance.sum()))
        alone.append(float(variance.sum()))
    assert np.mean(printed) == pytest.approx(np.var(sums), rel=0.2)
    assert np.mean(alone) < 0.2 * np.var(sums)
    own = torch.randn(512, 20, generator=source)  # each row's by itself
    assert shared_error(own) ** 2 < 0.5 * float(log_mean_exp(own)[1].sum())
    # The jackknife by hand: variance of the sum, less that of each row.
    few = torch.randn(3, 2, generator=source).double()[:, [0, 0, 1]]
    without = torch.stack([log_mean_exp(few[[i for i in range(3) if i != j]])[0] for j in range(3)])
    whole, own = (
        2 / 3 * float((left - left.mean(0)).square().sum()) for left in (without.sum(1), without)
    )
    assert shared_error(few) == pytest.approx(math.sqrt(whole - own))
    assert shared_error(few[:2]) > 0
    assert math.isnan(shared_error(torch.zeros(1, 3)))
    assert shared_error(torch.zeros(8, 3)) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("seeds", [12, pytest.param(100, marks=pytest.mark.slow)])
def test_its_error_is_the_spread_over_repetitions(model, seeds):
    """With the first block's draws taken for independent ones it would be far too small."""
    rows = some_rows(48, length=4)
    found = [predicted(model, rows, 4, seed) for seed in range(seeds)]
    spread = np.std([f.nats_per_token for f in found], ddof=1)
    printed = math.sqrt(np.mean([f.monte_carlo_error**2 for f in found]))
    # a standard deviation of n is known to 1 / sqrt(2 n), and so is the jackknife's
    assert spread / printed == pytest.approx(1.0, abs=4 / math.sqrt(2 * seeds))
    assert all(f.shared_error > 0 for f in found)
    per_token = found[0].shared_error / found[0].tokens.sum()
    assert found[0].to_dict()["shared_error"] == pytest.approx(per_token)


def test_what_is_shared_is_of_all_chunks(model):
    rows, found = some_rows(10, length=4), []
    for chunk in (3, 64):
        found.append(ltm.evaluate(
            model, rows, "predictive:4", fast=QUICK, repeat=0, progress=False, chunk=chunk
        )["predictive"])  # fmt: skip
    assert found[0].nats == pytest.approx(found[1].nats, rel=1e-5)
    assert found[0].shared_error == pytest.approx(found[1].shared_error, rel=1e-4)


def test_what_is_shared_is_in_both_errors_and_in_differences():
    rows = all_texts()
    report = ltm.evaluate(
        model_of(), rows, ["predictive:3", "prior:8"], fast=QUICK, repeat=0, progress=False
    )
    one, other = report["predictive"], report["prior"]
    shared = one.shared_error / one.tokens.sum()
    assert one.standard_error > shared
    assert one.monte_carlo_error > shared
    assert report.difference("prior", "predictive")[1] > shared > 0
    assert other.shared_error == 0
