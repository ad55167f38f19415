"""Samplers against posteriors whose moments are known."""

import functools

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Thoughts
from ltm_pyro.errors import NotFinite
from ltm_pyro.guides import Hamiltonian, Langevin, Sampler, Stein
from ltm_pyro.programs.densities import log_joint
from ltm_pyro.seeds import Noise, generator

from ..exact import linear_gaussian
from .helpers import Curved, bound, fit, fixed_rows


def moments(guide, model, rows):
    """Mean square of the particle means' z-scores, and the particles' share of the variance."""
    with torch.no_grad():
        mean, covariance = model.posterior(rows)
    variance = covariance.diagonal(0, -2, -1)
    z = guide.particles.flatten(2)
    scores = (z.mean(0) - mean) / (variance / len(z)).sqrt()
    return float(scores.square().mean()), float((z.var(0) / variance).mean())


def run(make, steps, lr, particles=128, documents=16, seed=0):
    model, rows = linear_gaussian(seed, documents=documents)
    guide = fit(
        model, functools.partial(make, particles=particles), rows, steps, lr, final=1.0, seed=seed
    )
    return guide, model, rows


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_langevin_has_the_moments_of_its_own_law(seed):
    """At step e, in a direction of precision c: the true mean, variance 1 / c(1 - e c / 2)."""
    lr = 0.01
    guide, model, rows = run(Langevin, 400, lr, seed=seed)
    with torch.no_grad():
        _, covariance = model.posterior(rows)
        values, vectors = torch.linalg.eigh(torch.linalg.inv(covariance))
        off = 1 / (values * (1 - lr * values / 2))
        variance = (vectors * off[:, None]) @ vectors.mT
        share = (variance.diagonal(0, -2, -1) / covariance.diagonal(0, -2, -1)).mean()
    square, found = moments(guide, model, rows)
    # 96 means and variances from 128 particles, correlated within a document.
    assert square == pytest.approx(1, abs=0.6)
    assert found == pytest.approx(float(share), abs=0.08)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_hamiltonian_has_the_moments_of_the_posterior(seed):
    guide, model, rows = run(Hamiltonian, 40, 0.1, seed=seed)
    square, share = moments(guide, model, rows)
    assert square == pytest.approx(1, abs=0.6)
    assert share == pytest.approx(1, abs=0.08)
    assert guide.acceptance.mean() == pytest.approx(0.8, abs=0.15)


def test_every_document_gets_a_step_of_its_own():
    """Noise 20 times smaller in one document: a step that suits the others would be refused."""
    thoughts = Thoughts(1, 1, 2)
    model = Curved(thoughts, lambda z: z * torch.tensor([[20.0], [1.0]]), 2, 1.0)
    rows = fixed_rows(torch.tensor([[4.0, -4.0], [0.5, 1.0]]))
    guide = fit(model, functools.partial(Hamiltonian, particles=64), rows, 150, 0.3, final=1.0)
    assert guide.step_size[0] < 0.2 * guide.step_size[1]
    assert guide.acceptance.min() > 0.5
    spread = guide.particles.std(0).flatten(1).mean(1)
    assert spread[0] == pytest.approx(1 / 401**0.5, rel=0.25)
    assert spread[1] == pytest.approx(0.5**0.5, rel=0.25)


def test_hamiltonian_refuses_what_is_not_finite():
    """A step far too large at first: nothing moves until the step has come down."""
    model, rows = linear_gaussian(documents=4)
    guide = fit(model, functools.partial(Hamiltonian, leapfrogs=20), rows, 1, 1e6)
    assert torch.isfinite(guide.particles).all()
    assert (guide.acceptance == 0).all()
    assert (guide.step_size < 1e6).all()


def test_stein_finds_the_mean_and_keeps_its_particles_apart():
    guide, model, rows = run(Stein, 300, 0.1, particles=32)
    with torch.no_grad():
        mean, covariance = model.posterior(rows)
        sd = covariance.diagonal(0, -2, -1).sqrt()
        off = (guide.particles.mean(0).flatten(1) - mean) / sd
    assert off.abs().mean() < 0.1
    _, share = moments(guide, model, rows)
    assert 0.3 < share < 1.1  # too small in many dimensions: Ba et al. 2022


def test_stein_repels_what_stands_close():
    """Without a likelihood to follow: from almost one point towards N(0, 1)."""
    guide = Stein(Thoughts(1, 1, 1), 2, particles=16)
    guide.particles = 1e-2 * torch.randn(16, 2, 1, 1, 1, generator=generator(0))
    for step in range(400):
        rate = 0.1 * (1 - step / 400)
        guide.advance(lambda z: -0.5 * z.square().sum((-3, -2, -1)), rate, Noise(0))
    assert guide.particles.std(0).flatten().numpy() == pytest.approx(0.95, abs=0.15)
    assert guide.particles.mean(0).abs().max() < 0.1


@pytest.mark.parametrize("make", [Langevin, Hamiltonian, Stein])
def test_figures_are_those_of_a_density(make):
    """A bound lies below log p(x), and importance weights close most of the gap."""
    model, rows = linear_gaussian(documents=8)
    lr = 0.01 if make is Langevin else 0.1
    guide = fit(model, functools.partial(make, particles=64), rows, 100, lr, final=1.0)
    truth = model.log_marginal(rows).detach()
    elbo, error, iwae = bound(model, guide, rows, 2000)
    assert (elbo < truth + 4 * error).all()
    assert (truth - iwae).mean() < 0.3 * (truth - elbo).mean()


def test_langevin_that_is_carried_away_says_so():
    model, rows = linear_gaussian(documents=4)
    with pytest.raises(NotFinite, match=r"rows \[.*\]"):
        fit(model, Langevin, rows, 200, 10.0, final=1.0)
    guide = Langevin(model.thoughts, 4)
    with pytest.raises(
        NotFinite, match=r"particles of Langevin are not finite.*a smaller fast rate"
    ):
        guide._move(guide.particles / 0)


def test_a_sampler_of_ones_own(model, rows):
    """One method: here, importance resampling would do; this one climbs."""

    class Climb(Sampler):
        def advance(self, log_joint, rate, noise):
            with torch.enable_grad():
                z = self.particles.requires_grad_()
                (gradient,) = torch.autograd.grad(log_joint(z).sum(), z)
            self.particles = (z + rate * gradient).detach()

    guide = fit(model, Climb, rows, 30, 0.02)
    with torch.no_grad():
        before = sum(log_joint(model, {"z": torch.zeros_like(guide.particles)}, rows))
        after = sum(log_joint(model, {"z": guide.particles}, rows))
    assert (after.mean(0) > before.mean(0)).all()
    with pytest.raises(TypeError, match="abstract"):
        Sampler(model.thoughts, 2)
    with pytest.raises(ltm.InputError, match="particles is 1"):
        Climb(model.thoughts, 2, particles=1)
