"""The most probable thoughts, and the normal around them."""

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.guides import LaplaceApproximation, Point
from ltm_pyro.guides.point import log_joint_hessian
from ltm_pyro.programs.densities import log_joint

from ..conftest import some_rows
from ..exact import linear_gaussian
from .helpers import Curved, bound, fit, fixed_rows


def test_a_point_is_the_posterior_mode():
    model, rows = linear_gaussian(documents=12)
    guide = fit(model, Point, rows)
    mean, _ = model.posterior(rows)
    assert guide.loc.detach().flatten(1).numpy() == pytest.approx(mean.detach().numpy(), abs=1e-3)
    assert not Point.has_density


def test_laplace_is_exact_for_a_normal_posterior():
    model, rows = linear_gaussian(documents=12)
    guide = fit(model, LaplaceApproximation, rows)
    elbo, _, iwae = bound(model, guide, rows, 64)
    truth = model.log_marginal(rows).detach().numpy()
    assert elbo.numpy() == pytest.approx(truth, abs=1e-3)
    assert iwae.numpy() == pytest.approx(truth, abs=1e-3)
    scale = guide.scale_tril[:, 0]
    _, covariance = model.posterior(rows)
    assert (scale @ scale.mT).numpy() == pytest.approx(covariance.detach().numpy(), abs=1e-5)
    assert scale.triu(1).abs().max() < 1e-6
    assert (scale.diagonal(0, -2, -1) > 0).all()


def test_until_it_ends_the_loop_sees_a_point():
    model, rows = linear_gaussian(documents=3)
    guide = LaplaceApproximation(model.thoughts, 3)
    assert torch.equal(guide(rows), guide(rows))
    assert guide.has_density


def test_second_derivatives_through_a_decoder(model):
    """Both attentions, the windowed one in blocks, against differences of first derivatives."""
    model, rows = model.double(), some_rows(3)
    with torch.random.fork_rng():
        z = torch.randn(3, *model.thoughts.shape, dtype=torch.float64)
    found = log_joint_hessian(model, z, rows)

    def score(z):
        z = z.clone().requires_grad_()
        return torch.autograd.grad(sum(log_joint(model, {"z": z[None]}, rows)).sum(), z)[0]

    for i in range(0, 12, 5):
        step = torch.zeros(12, dtype=torch.float64)
        step[i] = 1e-3
        step = step.view_as(z[0])
        row = (score(z + step) - score(z - step)).flatten(1) / 2e-3
        # Log-probabilities are in fp32, whatever the decoder computes in.
        assert found[:, i].numpy() == pytest.approx(row.numpy(), abs=0.002, rel=0.002)
    assert all(p.grad is None for p in model.parameters())


def test_a_ridge_is_no_wider_than_the_floor_allows():
    """At the top between two modes the curvature is negative."""
    thoughts = Thoughts(1, 1, 1)
    model, rows = Curved(thoughts, torch.square, 1, 0.5), fixed_rows(torch.tensor([[2.0], [3.0]]))
    for floor in (0.1, 2.0):
        guide = LaplaceApproximation(thoughts, 2, floor=floor)
        guide.finish(model, rows)
        assert (log_joint_hessian(model, guide.loc.detach(), rows) > 0).all()
        assert guide.scale_tril.flatten().numpy() == pytest.approx(floor**-0.5, rel=1e-5)


def test_figures_of_a_decoder(model, rows):
    report = ltm.evaluate(
        model, rows, ["elbo:64", "iwae:64"], guide=LaplaceApproximation,
        fast=Fast(steps=40, lr=0.1), repeat=0, progress=False,
    )  # fmt: skip
    assert 0 < report["iwae"].nats.sum() < report["elbo"].nats.sum()


def test_a_point_is_refused_where_a_density_is_needed(model, rows):
    with pytest.raises(ltm.InputError):
        ltm.evaluate(model, rows, ["elbo:2"], guide=Point, fast=Fast(steps=2), progress=False)
