"""The hierarchy: each layer of thoughts given those before it."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ltm_pyro.config import Thoughts
from ltm_pyro.models.priors import Layerwise

from .common import draw, in_plates, log_prob, made, sites, z_scores

DEEP = Thoughts(layers=3, slots=2, dim=2)


def by_hand(prior, z):
    """log p(z), layer by layer, in plain torch."""
    total = Normal(0.0, 1.0).log_prob(z[:, 0]).sum((1, 2))
    for layer in range(1, z.shape[1]):
        first, _, last = prior.networks[layer - 1]
        hidden = (z[:, :layer].flatten(1) @ first.weight.T + first.bias).tanh()
        out = hidden @ last.weight.T + last.bias
        loc, log_scale = out[:, :4].view(-1, 2, 2), out[:, 4:].view(-1, 2, 2)
        total = total + Normal(loc, log_scale.exp()).log_prob(z[:, layer]).sum((1, 2))
    return total


def test_the_joint_density_is_the_product():
    prior = made("layerwise", DEEP)
    z = torch.randn(9, *DEEP.shape)
    assert torch.allclose(log_prob(prior, z), by_hand(prior, z), atol=1e-5)
    assert not torch.allclose(log_prob(prior, z), by_hand(prior, z.flip(1)), atol=0.1)


def test_a_layer_depends_on_those_before_it_only():
    prior = made("layerwise", DEEP)
    trace = in_plates(prior, 1, 1, {f"z_{i}": torch.zeros(1, 1, 2, 2) for i in range(3)})
    before = [s["fn"].base_dist.loc for s in sites(trace).values()]
    for moved in range(3):
        data = {f"z_{i}": torch.full((1, 1, 2, 2), float(i == moved)) for i in range(3)}
        after = [s["fn"].base_dist.loc for s in sites(in_plates(prior, 1, 1, data)).values()]
        same = [torch.equal(a, b) for a, b in zip(after, before, strict=True)]
        assert same == [layer <= moved for layer in range(3)]


def test_the_returned_z_is_the_sites_in_order():
    trace = in_plates(made("layerwise", DEEP), 3, 4)
    z = trace.nodes["_RETURN"]["value"]
    for layer, site in enumerate(sites(trace).values()):
        assert torch.equal(z[:, :, layer], site["value"])


@pytest.mark.parametrize("seed", range(3))
def test_draws_of_a_linear_hierarchy_have_its_covariance(seed):
    """With tiny inputs tanh is linear, so z_1 = A z_0 + noise; its covariance is known."""
    torch.manual_seed(seed)
    thoughts = Thoughts(2, 1, 2)
    prior = Layerwise(thoughts, hidden=2)
    map_ = torch.tensor([[0.8, -0.5], [0.3, 0.6]])
    with torch.no_grad():
        first, _, last = prior.networks[0]
        first.weight.copy_(1e-3 * torch.eye(2))
        first.bias.zero_()
        last.weight[:2] = 1e3 * map_
    z, _ = draw(prior, 4000)
    products = (z[:, 1, 0, :, None] * z[:, 0, 0, None, :]).flatten(1)
    assert (abs(z_scores(products, map_.flatten())) < 4.5).all()
    squares = z[:, 1, 0].square()
    assert (abs(z_scores(squares, map_.square().sum(1) + 1)) < 4.5).all()


def test_the_kl_of_each_layer_given_the_draw_adds_to_the_whole():
    """Analytic KLs site by site at draws from q: their mean is KL(q || p), a triple integral."""
    prior = made("layerwise", DEEP).double()
    torch.manual_seed(0)
    loc, scale = torch.randn(2, *DEEP.shape, dtype=torch.float64)
    q = Normal(loc, scale.exp())
    z = q.sample((4000,))
    with torch.no_grad():
        at_draw = q.log_prob(z).sum((1, 2, 3)) - log_prob(prior, z)
        analytic = torch.zeros(4000, dtype=torch.float64)
        for layer in range(3):
            mean, log_scale = prior.parameters_of(layer, [z[:, i] for i in range(layer)])
            each = kl_divergence(
                Normal(loc[layer], scale[layer].exp()), Normal(mean, log_scale.exp())
            )
            analytic = analytic + each.sum((-1, -2))
    assert abs(z_scores(at_draw - analytic, 0.0)) < 4.5
    assert analytic.var() < at_draw.var()


def test_far_thoughts_keep_bounded_scales():
    prior = made("layerwise", DEEP)
    _, log_scale = prior.parameters_of(2, [torch.full((2, 2), 1e6)] * 2)
    weights = prior.networks[1][2]
    limit = weights.weight.abs().sum(1).max() + weights.bias.abs().max()
    assert log_scale.abs().max() <= limit


def test_one_layer_is_the_standard_normal():
    prior = made("layerwise", Thoughts(1, 2, 3))
    assert list(prior.parameters()) == []
    z, log_p = draw(prior, 5)
    assert torch.allclose(log_p, Normal(0.0, 1.0).log_prob(z).sum((1, 2, 3)), atol=1e-5)
