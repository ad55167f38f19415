"""Mixtures against torch's own, and pseudo-posteriors placed at posteriors."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

import ltm_pyro as ltm
from ltm_pyro.models.priors import Mixture, StandardNormal, VampPrior
from ltm_pyro.models.priors.mixture import NormalMixture

from .common import LINE, PLANE, THOUGHTS, grid, made, z_scores


def reference(p):
    components = Independent(Normal(p.loc, p.scale), len(p.event_shape))
    return MixtureSameFamily(Categorical(logits=p.logits), components)


@pytest.mark.parametrize("name", ["mixture", "vamp-prior"])
def test_density_and_its_gradient_are_those_of_torchs_mixture(name):
    prior = made(name).double()
    z = 2 * torch.randn(7, 3, *THOUGHTS.shape, dtype=torch.float64)
    p = prior.distribution()
    assert torch.allclose(p.log_prob(z), reference(p).log_prob(z))
    assert p.log_prob(z).shape == (7, 3)
    found = torch.autograd.grad(prior.distribution().log_prob(z).sum(), prior.loc)
    expected = torch.autograd.grad(reference(prior.distribution()).log_prob(z).sum(), prior.loc)
    assert torch.allclose(found[0], expected[0])


def test_far_from_every_component_the_density_is_finite():
    p = made("mixture").distribution()
    assert torch.isfinite(p.log_prob(torch.full(THOUGHTS.shape, 1e4)))


def test_weights_that_do_not_add_to_one_would_be_seen():
    """The same sum over a grid, of a mixture whose weights are exp(logits)."""
    prior = made("mixture", LINE, seed=3).double()
    z, weights = grid(1)
    with torch.no_grad():
        p = prior.distribution()
        total = (p.log_prob(z).exp() * weights).sum()
        wrong = total * p.logits.exp().sum()
    assert total == pytest.approx(1.0, abs=1e-6)
    assert abs(wrong - 1) > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_components_are_drawn_by_their_weights(seed):
    torch.manual_seed(seed)
    logits = torch.tensor([0.0, -1.0, 1.0, -6.0])
    loc = torch.tensor([-30.0, -10.0, 10.0, 30.0])
    p = NormalMixture(logits, loc, torch.ones(4))
    drawn = p.expand(torch.Size([4000])).sample()
    counts = (drawn[:, None] - loc).abs() < 8
    assert counts.sum() == 4000
    assert (abs(z_scores(counts.double(), logits.softmax(0)))[:3] < 4.5).all()


def clusters(each=30, seed=0):
    """Draws around three points far apart, (3 * each, *shape), and which they belong to."""
    source = torch.Generator().manual_seed(seed)
    centres = 6 * torch.randn(3, *THOUGHTS.shape, generator=source)
    which = torch.arange(3).repeat_interleave(each)
    noise = torch.randn(3 * each, *THOUGHTS.shape, generator=source)
    return centres[which] + 0.5 * noise, which


@pytest.mark.parametrize("seed", range(5))
def test_pseudo_posteriors_start_at_draws_far_apart(seed):
    draws, which = clusters()
    prior = VampPrior(THOUGHTS, components=6)
    prior.start_from(draws, seed=seed)
    distances = (prior.loc.detach()[:, None] - draws).flatten(2).norm(dim=2)
    assert (distances.min(1).values < 1e-5).all(), "each is a draw"
    assert set(which[distances.argmin(1)].tolist()) == {0, 1, 2}
    variance = prior.log_variance.exp()
    assert torch.equal(variance[0], variance[-1])
    assert 0.25 < variance.mean() < 0.55, "a draw's distance from another is twice its variance"
    with torch.no_grad():
        unseen, _ = clusters(seed=0)
        score = prior.distribution().log_prob(unseen).mean()
        assert score > StandardNormal(THOUGHTS).distribution().log_prob(unseen).mean() + 50


def test_pseudo_posteriors_start_at_posteriors_as_they_are():
    loc, _ = clusters(each=2)
    log_variance = torch.randn_like(loc)
    prior = VampPrior(THOUGHTS, components=6)
    prior.start_from(loc, log_variance)
    order = (prior.loc.detach()[:, None] - loc).flatten(2).norm(dim=2).argmin(1)
    assert sorted(order.tolist()) == list(range(6))
    assert torch.equal(prior.loc.detach(), loc[order])
    assert torch.equal(prior.log_variance.detach(), log_variance[order])


def test_draws_that_coincide_are_no_trouble():
    prior = VampPrior(PLANE, components=3)
    prior.start_from(torch.ones(4, *PLANE.shape))
    assert torch.isfinite(prior.distribution().log_prob(torch.ones(PLANE.shape)))


def test_wrong_starts_are_told():
    prior = VampPrior(PLANE, components=3)
    few = torch.zeros(3, *PLANE.shape)
    with pytest.raises(ltm.InputError, match=r"loc has shape \(3, 1, 1, 2\): expected \(4 or more"):
        prior.start_from(few)
    with pytest.raises(ltm.InputError, match=r"loc has shape \(5, 2\)"):
        prior.start_from(torch.zeros(5, 2))
    with pytest.raises(ltm.InputError, match="log_variance has shape"):
        prior.start_from(few, few[:2])
    with pytest.raises(ltm.InputError, match="loc holds NaN"):
        prior.start_from(few.log() * 0, few)


def test_one_component_is_one_normal():
    prior = made("mixture", components=1)
    z = torch.randn(5, *THOUGHTS.shape)
    normal = Independent(Normal(prior.loc[0], prior.log_scale[0].exp()), 3)
    assert torch.allclose(prior.distribution().log_prob(z), normal.log_prob(z), atol=1e-5)
    assert Mixture(THOUGHTS).components == 8
