"""Student's t, Laplace, the finite horseshoe and the learned normal, against scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from ltm_pyro.models.priors import Horseshoe, Laplace, LearnedNormal, StandardNormal, StudentT

from .common import LINE, THOUGHTS, made, z_scores

Z = torch.linspace(-8, 8, 12, dtype=torch.float64).reshape(THOUGHTS.shape)


def density(prior):
    return prior.double().distribution().log_prob(Z).item()


@pytest.mark.parametrize("degrees", [1.0, 4, 30.0])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("learned", [False, True])
def test_student_t(degrees, scale, learned):
    expected = stats.t(degrees, scale=scale).logpdf(Z.numpy()).sum()
    assert density(StudentT(THOUGHTS, degrees, scale, learned)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("learned", [False, True])
def test_laplace(scale, learned):
    expected = stats.laplace(scale=scale).logpdf(Z.numpy()).sum()
    assert density(Laplace(THOUGHTS, scale, learned)) == pytest.approx(expected, rel=1e-6)


def test_learned_normal():
    prior = made("learned-normal").double()
    loc, scale = prior.loc.detach().numpy(), prior.log_scale.detach().exp().numpy()
    expected = stats.norm(loc, scale).logpdf(Z.numpy()).sum()
    assert density(prior) == pytest.approx(expected)
    assert density(LearnedNormal(THOUGHTS)) == pytest.approx(density(StandardNormal(THOUGHTS)))


@pytest.mark.parametrize("scale", [1.0, 0.1])
@pytest.mark.parametrize("learned", [False, True])
def test_the_horseshoe_is_exactly_its_finite_mixture(scale, learned):
    prior = Horseshoe(THOUGHTS, scale, nodes=9, learned=learned)
    places, weights = special.roots_legendre(9)
    scales = scale * np.tan(np.pi * (places + 1) / 4)
    pdf = (weights / 2 * stats.norm(0, scales).pdf(Z.numpy()[..., None])).sum(-1)
    assert density(prior) == pytest.approx(np.log(pdf).sum(), rel=1e-6)
    assert prior.widest == pytest.approx(scales.max(), rel=1e-5)


def horseshoe_log_density(z):
    """The horseshoe itself with tau = 1: (2 pi^3)^-1/2 exp(z^2 / 2) E1(z^2 / 2)."""
    half = z**2 / 2
    return -0.5 * math.log(2 * math.pi**3) + np.log(special.exp1(half)) + half


def test_the_finite_mixture_is_near_the_horseshoe_between_its_ends():
    z = np.geomspace(1e-3, 30, 60)
    found = {}
    for nodes in (8, 24, 64):
        p = Horseshoe(LINE, nodes=nodes).double().distribution()
        log_p = p.log_prob(torch.tensor(z).reshape(-1, 1, 1, 1)).numpy()
        found[nodes] = abs(log_p - horseshoe_log_density(z)).max()
    assert found[24] < 0.09
    assert found[64] < 0.04
    assert found[8] > 0.3
    p = Horseshoe(LINE).double().distribution()
    assert torch.isfinite(p.log_prob(torch.zeros(LINE.shape, dtype=torch.float64)))
    beyond = p.log_prob(torch.full(LINE.shape, 1e4, dtype=torch.float64))
    assert beyond < -2 * math.log(1e4) - 50, "the tails end, as the docstring says"


@pytest.mark.parametrize("seed", range(3))
def test_horseshoe_draws_have_its_quantiles(seed):
    """Between its ends also those of the horseshoe: tan(pi u / 2) times a normal."""
    torch.manual_seed(seed)
    drawn = Horseshoe(LINE).distribution().expand([8000]).sample().flatten().abs().numpy()
    source = np.random.default_rng(seed)
    local = np.tan(np.pi * source.random(400_000) / 2)
    genuine = abs(local * source.standard_normal(400_000))
    for level in (0.2, 0.5, 0.8, 0.95):
        within = drawn < np.quantile(genuine, level)
        assert abs(z_scores(within, level)) < 4.5


def test_a_learned_horseshoe_scale_is_one_number():
    prior = Horseshoe(THOUGHTS, scale=0.3, learned=True)
    assert [tuple(p.shape) for p in prior.parameters()] == [()]
    assert prior.log_scale.exp().item() == pytest.approx(0.3)
    assert list(Horseshoe(THOUGHTS).state_dict()) == []
