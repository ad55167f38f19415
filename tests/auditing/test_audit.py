"""Valid estimators pass the audit, and each wrong one fails the check that is meant for it."""

import json
import math

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.auditing import CHECKS, RECIPES, audit, explained, table
from ltm_pyro.auditing.cases import every_text, linear_model, small_decoder
from ltm_pyro.auditing.checks import _above
from ltm_pyro.auditing.watch import watched
from ltm_pyro.errors import InputError
from ltm_pyro.programs.densities import draw_latents, log_joint, prior_of


def judged(estimator, *checks, documents=32):
    return audit(estimator, documents=documents, checks=checks, progress=False)


def cheap(model, rows):
    """A bound that fits nothing: importance weights of the prior, each with its own draws."""
    with torch.no_grad():
        latents = draw_latents(prior_of(model), rows, 64)
        likelihood = log_joint(model, latents, rows)[1]
    return math.log(64) - torch.logsumexp(likelihood, 0)


def half(model, rows):
    """Charges a half of what it should."""
    return 0.5 * cheap(model, rows)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "ais" else [])
        for name, recipe in RECIPES.items()
        if recipe.valid
    ],
)
def test_valid_recipes_pass(name):
    found = judged(name, "linear", "kl", "noise")
    assert not found.faults, str(found)
    assert found.is_bound


def test_the_tight_ones_are_tight_where_the_guide_can_be_the_posterior():
    found = judged("iwae", "linear").findings["linear"]
    assert -0.1 < found.value < 0.2
    assert found.error < 0.1


@pytest.mark.parametrize(
    ("name", "check", "nats"),
    [
        ("same-noise", "linear", -3.0),
        ("averaged-layers", "linear", -3.0),
        ("free-below-target", "linear", -1.0),
        ("reconstruction", "linear", -6.0),
        ("fitted-thoughts", "linear", -8.0),
        ("averaged-likelihoods", "linear", -0.5),
    ],
)
def test_false_recipes_fall_below_the_truth(name, check, nats):
    found = judged(name, check, documents=96).findings[check]
    assert found.passed is False
    assert found.value < nats
    assert found.value < -4 * found.error


@pytest.mark.parametrize("name", ["reconstruction", "averaged-layers", "fitted-thoughts"])
def test_a_kl_that_is_not_charged_is_missed(name):
    found = judged(name, "kl").findings["kl"]
    assert found.passed is False
    assert found.value == pytest.approx({"averaged-layers": 0.5}.get(name, 0.0), abs=0.2)


def test_noise_of_the_fit_is_recognised():
    assert judged("same-noise", "noise").faults[0].text.endswith("those that the fit has seen")
    told = judged("fitted-thoughts", "noise", "padding").findings["noise"]
    assert told.passed is None  # nor could a valid score that draws nothing after its fit be told
    assert "nothing is drawn after the fit" in told.text
    assert "none of them the fit's" in judged("elbo", "noise").findings["noise"].text
    assert "nothing is fitted" in judged(cheap, "noise").findings["noise"].text


def test_watching_tells_draws_that_come_again():
    x = torch.ones(3, requires_grad=True)
    with watched() as draws:
        torch.manual_seed(0)
        torch.randn(5)
        x.sum().backward()
        torch.randn(5)
        assert draws.reused == 0
        torch.manual_seed(0)
        torch.randn(5)
        assert draws.reused == 1


def test_no_probability_sums_to_more_than_one():
    valid, wrong = judged(cheap, "kraft").findings["kraft"], judged(half, "kraft").findings["kraft"]
    assert valid.passed
    assert valid.value == pytest.approx(1.0, abs=4 * valid.error + 0.05)  # its weights are unbiased
    assert wrong.passed is False
    assert wrong.value > 2


def test_a_noisy_bound_is_not_condemned_by_the_sum():
    """exp is convex: noise of mean zero raises the sum over texts, and jackknifing takes it off."""

    def noisy(model, rows):
        return cheap(model, rows) + 0.7 * torch.randn(len(rows)) + 0.05

    found = judged(noisy, "kraft").findings["kraft"]
    assert found.passed, found


def test_a_fit_by_other_gradients_is_not_taken_for_none():
    def by_grad(model, rows):
        latents = draw_latents(prior_of(model), rows, 1)
        z = latents["z"].detach().requires_grad_()
        likelihood = log_joint(model, {"z": z}, rows)[1]
        (slope,) = torch.autograd.grad(likelihood.sum(), z)
        return -log_joint(model, {"z": z + 0.1 * slope}, rows)[1][0].detach()

    found = judged(by_grad, "noise", "padding")
    assert found.findings["noise"].passed is None
    assert found.is_bound is None


@pytest.mark.parametrize(("scale", "seeds"), [(0.5, 300), (5.0, 300)])
def test_draws_that_documents_share_do_not_condemn_a_bound(scale, seeds):
    """The truth and noise of mean zero, one number for all documents of a call."""
    source = np.random.default_rng(0)
    below = 0
    for _ in range(seeds):
        shared = scale * source.normal(size=(3, 2, 1))
        mean, _, reach = _above(shared + 0.5 * source.normal(size=(3, 2, 64)))
        below += mean < -reach
    assert below <= 0.01 * seeds  # over documents alone it would be about four in ten
    # what is 3 nats too low is seen all the same, and by documents where nothing is shared
    mean, _, reach = _above(
        0.1 * source.normal(size=(3, 2, 1)) - 3 + source.normal(size=(3, 2, 64))
    )
    assert mean < -reach
    mean, error, reach = _above(source.normal(size=(3, 2, 64)) - 0.5)
    assert mean < -reach
    assert reach == 4 * error


def test_padding_and_neighbours_are_noticed():
    def padded(model, rows):
        return cheap(model, rows) + rows.tokens.sum(1)

    def mixed(model, rows):
        nats = cheap(model, rows)
        return nats.mean().expand(len(nats))

    assert judged(padded, "padding").faults
    assert judged(mixed, "neighbours").faults
    assert not judged(cheap, "padding", "neighbours").faults


def test_cases_are_what_they_say():
    model, rows = every_text(3)
    assert len({tuple(row) for row in rows.tokens.tolist()}) == 3**4
    model, rows, _ = linear_model(1, 16)
    _, covariance = model.posterior(rows)
    assert covariance[0].fill_diagonal_(0).abs().max() < 1e-5  # a mean-field guide can be it
    quiet, loud = (linear_model(1, 4000, gain)[2].mean() for gain in (1.0, 4.0))
    by_hand = 6 * 0.5 * math.log((0.64 + 144) / (0.64 + 9))
    assert float(loud - quiet) == pytest.approx(by_hand, abs=0.2)
    assert len(small_decoder(0, 7)[1]) == 7


def test_an_estimator_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from tests.auditing.test_audit import cheap\n"
        "def score(model, rows):\n    return cheap(model, rows).tolist()\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = judged("mine:score", "kraft", "linear")
    assert found.is_bound
    assert "nothing speaks against a bound" in found.verdict
    with pytest.raises(InputError, match="expected a function of model and rows"):
        judged("mine:number")
    with pytest.raises(InputError, match="cannot import 'mine:nothing'"):
        judged("mine:nothing")


def test_what_cannot_be_used_is_named():
    with pytest.raises(InputError, match=r"shape \(\) for 81 documents: expected nats of each"):
        judged(lambda model, rows: 1.0, "kraft")
    with pytest.raises(InputError, match="numbers that are not finite"):
        judged(lambda model, rows: np.full(len(rows), np.nan), "kraft")
    with pytest.raises(InputError, match="unknown estimator 'elbw': did you mean 'elbo'"):
        judged("elbw")
    with pytest.raises(InputError, match="unknown check"):
        judged(cheap, "krafft")
    with pytest.raises(InputError, match="documents is 3: expected 8 or more"):
        judged(cheap, documents=3)

    def tokens_only(model, rows):
        return cheap(model, rows) + 0 * model.decoder.head.sum()

    found = judged(tokens_only, "linear", "padding")
    assert found.findings["linear"].passed is None
    assert found.is_bound is None
    assert "not tried: linear" in found.verdict
    with pytest.raises(InputError, match="could not be run at all"):
        judged(tokens_only, "linear")


def test_the_table_and_what_is_told_of_recipes():
    found = {name: judged(name, "linear", documents=16) for name in ("iwae", "reconstruction")}
    lines = table(found).split("\n")
    assert lines[2].startswith("iwae")
    assert "*" in lines[3]
    told = explained(RECIPES)
    for recipe in RECIPES.values():
        assert recipe.formula in told
        assert recipe.text.count(".") >= 2, recipe.name
    assert json.loads(json.dumps(found["iwae"].to_dict(), allow_nan=False))["is_bound"]
    assert ltm.audit is audit
    assert set(found["iwae"].to_dict()["checks"]) <= set(CHECKS)
