"""Annealing with a site for each layer, in both directions, and the sandwich made of it."""

import math

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds import annealed
from ltm_pyro.bounds.annealed import Path
from ltm_pyro.bounds.elbo import elbo
from ltm_pyro.bounds.figures import Figure
from ltm_pyro.bounds.importance import iwae
from ltm_pyro.bounds.report import Report
from ltm_pyro.bounds.sandwich import Sandwich
from ltm_pyro.config import Fast
from ltm_pyro.guides import Layerwise
from ltm_pyro.models import priors
from ltm_pyro.programs.densities import log_joint, prior_of, simulate
from ltm_pyro.seeds import Noise

from ..exact import linear_gaussian, task, z_score


def layered(documents=4):
    """The linear-Gaussian model with a site for each layer: a layerwise prior that starts at
    N(0, I), so that log p(x) is known."""
    model, rows = linear_gaussian(0, documents)
    model.prior = priors.Layerwise(model.thoughts)
    return model, rows


def test_the_prior_of_every_layer_counts():
    model, rows = layered()
    _, latents = simulate(model, rows.lengths, 3)
    plain, _ = linear_gaussian(0, 4)
    z = torch.stack([latents["z_0"], latents["z_1"]], -3)
    for found, known in zip(
        log_joint(model, latents, rows), log_joint(plain, {"z": z}, rows), strict=True
    ):
        torch.testing.assert_close(found, known)


@pytest.mark.parametrize("case", [linear_gaussian, layered])
def test_forward_weights_are_unbiased(case):
    model, rows = case(0, 4) if case is linear_gaussian else case()
    with torch.no_grad():
        exact = model.log_marginal(rows)
    path = Path(model, prior_of(model), rows, 12, 0)
    ratio = (path.forward(4000) - exact).exp().detach().numpy()
    for document in range(4):
        assert abs(z_score(ratio[:, document], 1.0)) < 4.5


def test_reverse_chains_start_at_the_exact_draws(monkeypatch):
    """Where they start anywhere else, even nearby, their weights bound nothing from above."""
    model, _ = linear_gaussian(0)
    rows, latents = simulate(model, torch.full((5,), 4), 1)
    path, seen = Path(model, prior_of(model), rows, 3, 0), []

    def spy(model, latents, rows):
        seen.append({site: z.detach().clone() for site, z in latents.items()})
        return log_joint(model, latents, rows)

    monkeypatch.setattr(annealed, "log_joint", spy)
    path.reverse(latents, 2)
    for site, z in latents.items():
        assert torch.equal(seen[0][site], z.expand_as(seen[0][site]))


def test_reverse_weights_enclose_from_above():
    """From exact draws minus the log of the mean of 1 / weight lies above log p(x)."""
    model, _ = linear_gaussian(0)
    rows, latents = simulate(model, torch.full((400,), 4), 1)
    with torch.no_grad():
        exact = model.log_marginal(rows)
        log_w = Path(model, prior_of(model), rows, 6, 0).reverse(latents, 2)
    upper = -(torch.logsumexp(-log_w, 0) - math.log(2))
    assert z_score((upper - exact).numpy()) > 4
    assert float((upper - exact).mean()) < 2


def test_chains_that_count_do_not_adapt():
    """What one chain meets changes no other chain, and no step of its own."""
    model, rows = linear_gaussian(0, 4)
    path = Path(model, prior_of(model), rows, 8, 0)
    move, seen = path._move, []

    def spy(state, beta, step, noise):
        seen.append(step.clone())
        return move(state, beta, step, noise)

    path._move = spy
    path.forward(2)
    first, seen[:] = [*seen], []
    path.forward(50)
    for few, many in zip(first, seen, strict=True):
        assert torch.equal(few, many)


@pytest.mark.parametrize("estimator", [elbo, iwae])
def test_bounds_with_a_site_for_each_layer(estimator):
    model, rows = layered(48)
    estimate = estimator(task(model, rows, Layerwise, Fast(60, 0.1, particles=4)), 32)
    gap = (estimate.nats + model.log_marginal(rows)).detach().numpy()
    assert z_score(gap) > -4
    assert gap.mean() < 0.6


def test_slack_is_measured_from_the_upper_end():
    tokens, nats = np.full(3, 8.0), np.array([12.0, 13.0, 15.0])
    report = Report({"elbo": Figure("elbo", "bound", nats, tokens, tokens)})
    found = Sandwich(np.array([-11.0, -12.0, -13.0]), np.array([-10.0, -11.5, -12.0]), report,
                     tokens, "")  # fmt: skip
    assert found.gap[0] == pytest.approx(2.5 / 3)
    # Whatever is printed is -log p(x), as figures are.
    assert found.nats_per_token == pytest.approx((33.5 / 24, 36 / 24))
    assert found.to_dict()["nats_per_token"] == pytest.approx([33.5 / 24, 36 / 24])
    assert f"{33.5 / 24:.4f}" in str(found).splitlines()[2]
    assert f"{40 / 24:.4f}" in str(found).splitlines()[-1]
    assert found.slack("elbo")[0] == pytest.approx((2.0 + 1.5 + 3.0) / 3)
    assert found.slack("elbo")[1] == pytest.approx(np.std([2, 1.5, 3], ddof=1) / np.sqrt(3))


@pytest.mark.parametrize("figure", ["elbo:1", "iwae:1"])
def test_no_chunk_is_scored_with_the_noise_of_its_fit(model, monkeypatch, figure):
    """Three chunks of a document each, the guide standing still: a draw made twice is seen."""
    from ltm_pyro.models.likelihood import TokenSequence

    from ..conftest import some_rows

    seen, inner = [], TokenSequence.log_prob

    def spy(self, value):
        seen.append(self.z.detach().clone())
        return inner(self, value)

    monkeypatch.setattr(TokenSequence, "log_prob", spy)
    ltm.evaluate(model, some_rows(3), [figure], fast=Fast(steps=4, lr=0.0), chunk=1, repeat=0,
                 progress=False)  # fmt: skip
    rows = torch.cat([z.flatten(0, 1).flatten(1) for z in seen])
    assert len(rows) == 3 * (4 + 1)  # as many particles, or the numbers would differ anyway
    assert len(rows.unique(dim=0)) == len(rows)


def test_ends_that_cross_say_so():
    tokens, nats = np.full(3, 8.0), np.full(3, 12.0)
    report = Report({"elbo": Figure("elbo", "bound", nats, tokens, tokens)})
    ends = np.array([-11.0, -12.0, -13.0])
    right, crossed = (Sandwich(ends, ends + gap, report, tokens, "") for gap in (0.5, -0.5))
    assert "the ends cross" not in str(right)
    assert "the ends cross" in str(crossed)
    assert [one.to_dict()["ends_cross"] for one in (right, crossed)] == [False, True]


@pytest.mark.parametrize("far", [1e20, 1e25, 1e30])  # a density, or a place, that is no number
def test_a_trajectory_that_leaves_the_numbers_is_rejected(far):
    model, rows = linear_gaussian(0, documents=3)
    path = Path(model, prior_of(model), rows, 3, 0)
    path.steps = path.steps.clone()
    path.steps[:, 1] = far
    z = path._draw(Noise(0, rows.key), 5)
    moved, accepted = path._move(path._state(z), 0.5, path.steps[1], Noise(1, rows.key))
    assert (accepted[:, 1] == 0).all()
    assert torch.equal(moved.z["z"][:, 1], z["z"][:, 1])
    assert (accepted[:, [0, 2]] > 0).any()
    assert torch.isfinite(path.forward(5)).all()
