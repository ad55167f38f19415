"""How far a natural-gradient step goes (`tests/guides` has its direction)."""

import math

import pytest
import torch

from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.guides import Covariance, MeanField
from ltm_pyro.inference.optimizers import NaturalGradient, local_optimizer
from ltm_pyro.inference.posterior import infer
from ltm_pyro.inference.schedule import cosine, set_lr

INFORMATION, PULL = 3.0, 2.0
"""A Gaussian log-likelihood of each dimension: PULL z - INFORMATION z^2 / 2."""
STIFF, SEEN = 6.0, 3.0
"""Precision of an observation of one direction, and what is seen there."""


def step(weight, **options):
    """Where one step of rate 1 takes q, of the right variance, and where it ought to go."""
    guide = MeanField(Thoughts(1, 2, 3), 4)
    precision = 1 + INFORMATION / weight
    with torch.no_grad():
        guide.loc += torch.randn(guide.loc.shape)
        guide.log_variance -= math.log(precision)
    optimizer = NaturalGradient(guide.parameters(), 1.0, guide, reach=1e4, **options)
    mean, variance = guide.loc, guide.log_variance.exp()
    likelihood = PULL * mean - INFORMATION * (mean**2 + variance) / 2
    kl = (mean**2 + variance - 1 - guide.log_variance) / 2
    (weight * kl - likelihood).sum().backward()
    optimizer.step()
    return guide.loc.detach(), PULL / weight / precision


@pytest.mark.parametrize("weight", [1.0, 0.5, 0.1])
def test_a_step_of_rate_1_lands_on_the_posterior_whatever_the_kl_weighs(weight):
    found, right = step(weight, kl_weight=weight)
    torch.testing.assert_close(found, torch.full_like(found, right))
    found, right = step(weight)
    assert weight == 1 or (found - right).abs().mean() > 0.1  # the weight is not known to it


@pytest.mark.parametrize("thoughts", [Thoughts(1, 1, 2), Thoughts(2, 4, 16)])
@pytest.mark.parametrize("kind", [MeanField, Covariance])
def test_the_longest_step_is_as_many_nats_whatever_the_size(kind, thoughts):
    guide = kind(thoughts, 3)
    before = guide.loc.detach().clone()
    optimizer = NaturalGradient(guide.parameters(), 1.0, guide, reach=0.5, kl_weight=0.2)
    for parameter in guide.parameters():
        parameter.grad = torch.zeros_like(parameter)
    guide.loc.grad = torch.randn_like(guide.loc)
    guide.loc.grad[0] *= 1e-3
    guide.loc.grad[1:] *= 1e3
    small = guide.loc.grad[0].clone()
    optimizer.step()
    moved = (guide.loc.detach() - before).flatten(1)
    torch.testing.assert_close(moved[0], -small.flatten() / 0.2)
    nats = moved.square().sum(1) / 2  # the KL of two normals of variance 1
    torch.testing.assert_close(nats[1:], torch.full((2,), 0.5))


@pytest.mark.parametrize("dimensions", [16, 4096])
def test_a_stiff_direction_across_all_dimensions_is_no_trap(dimensions):
    """One observation of the mean of all: q knows each variance, not that they move together."""

    def behind(reach):
        """Nats that four steps, as `Fast.quick` takes them, leave to the best q."""
        guide = MeanField(Thoughts(1, 1, dimensions), 1)
        direction = torch.full((dimensions,), dimensions**-0.5)
        optimizer = NaturalGradient(guide.parameters(), 1.0, guide, reach=reach)
        for lr in [cosine(i, 4, 1.0, Fast().final) for i in range(4)]:
            set_lr(optimizer, lr)
            optimizer.zero_grad()
            loss(guide.loc.flatten(), guide.log_variance.flatten(), direction).backward()
            optimizer.step()
        found = loss(guide.loc.flatten(), guide.log_variance.flatten(), direction)
        best = STIFF * SEEN / (1 + STIFF) * direction
        variance = torch.full((dimensions,), 1 / (1 + STIFF / dimensions))
        return (found - loss(best, variance.log(), direction)).item()

    def loss(mean, log_variance, direction):
        variance = log_variance.exp()
        missed = (SEEN - direction @ mean) ** 2 + direction**2 @ variance
        return STIFF * missed / 2 + (mean**2 + variance - 1 - log_variance).sum() / 2

    start = float(STIFF * SEEN**2 / 2 / (1 + STIFF))  # nats that the prior leaves
    assert behind(2.0) < 0.15 * start
    assert behind(1e4) > start  # as far as Newton's step in each variance would go


def test_the_fast_loop_tells_it_the_weight():
    guide = MeanField(Thoughts(1, 1, 2), 3)
    fast = Fast(optimizer="NaturalGradient")
    assert local_optimizer(fast, guide, list(guide.parameters()), 0.3).kl_weight == 0.3
    assert local_optimizer(fast, guide, list(guide.parameters())).kl_weight == 1.0
    assert local_optimizer(fast, guide, list(guide.parameters()), 0.0).kl_weight == 0.01
    adam = local_optimizer(Fast(), guide, list(guide.parameters()), 0.3)
    assert isinstance(adam, torch.optim.Adam)


class Drawing(MeanField):
    """A guide whose Fisher information is found by draws."""

    def natural_gradient(self):
        super().natural_gradient()
        for p in self.parameters():
            p.grad += 0.01 * torch.randn_like(p)


def test_what_a_guide_draws_for_its_gradient_is_the_documents_own(model, rows):
    ones, fours = (infer(model, rows, Drawing, Fast.quick(2), chunk=k) for k in (1, 4))
    one, four = (torch.cat([g.loc.detach() for g, _ in p.chunks]) for p in (ones, fours))
    torch.testing.assert_close(one, four, atol=1e-5, rtol=1e-4)
