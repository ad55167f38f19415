"""Guides that are not normal: where they help, and that they cost nothing where they do not."""

import copy
import sys

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Thoughts
from ltm_pyro.guides import Flow, MeanField, Mixture
from ltm_pyro.guides.flow import _Map, units
from ltm_pyro.guides.mixture import EqualNormals
from ltm_pyro.seeds import seeded

from ..exact import linear_gaussian
from .helpers import Curved, bound, fit, fixed_rows, shaken

ONE, TWO = Thoughts(1, 1, 1), Thoughts(1, 1, 2)


def rows(*values, copies=4):
    """Each value in a few rows, which differ enough to have draws of their own."""
    tokens = torch.tensor(values).repeat_interleave(copies)[:, None]
    return fixed_rows(tokens + 1e-4 * torch.arange(len(tokens))[:, None])


FOLDED = Curved(ONE, torch.square, 1, 0.5), rows(2.0)
HALVED = Curved(ONE, lambda z: 6 * torch.relu(z), 1, 0.5), rows(0.0)
BANANA = Curved(TWO, lambda z: z[..., 1:] - z[..., :1] ** 2, 1, 0.3), rows(-1.0, 0.0)


def gap(case, make, steps):
    """log p(x) - ELBO, averaged over documents, and its standard error, nats."""
    model, documents = case
    truth = model.log_marginal(documents).detach()
    guide = fit(model, make, documents, steps, particles=8)
    elbo, error, _ = bound(model, guide, documents, 4000)
    return float((truth - elbo).mean()), float(error.square().mean().sqrt())


def test_two_modes_need_a_mixture():
    """x = z^2 + noise: a single normal finds one mode and loses log 2, and more until it does."""
    single, _ = gap(FOLDED, MeanField, 300)
    found, error = gap(FOLDED, Mixture, 300)
    assert single > 0.6
    assert -3 * error < found < 0.4 < 0.7 * single


@pytest.mark.slow
def test_a_skewed_posterior_needs_a_flow():
    """About half a normal distribution."""
    straight, _ = gap(HALVED, MeanField, 400)
    bent, error = gap(HALVED, Flow, 400)
    assert -3 * error < bent < 0.65 * straight


@pytest.mark.slow
def test_a_curved_posterior_needs_dependence_that_is_not_linear():
    straight, _ = gap(BANANA, MeanField, 600)
    bent, error = gap(BANANA, Flow, 600)
    assert -3 * error < bent < 0.6 * straight


@pytest.mark.parametrize(
    ("make", "share"), [(Mixture, 0.7), pytest.param(Flow, 0.3, marks=pytest.mark.slow)]
)
def test_a_normal_posterior_is_met_at_least_as_well_as_by_mean_field(make, share):
    case = linear_gaussian(documents=8)
    factorised, _ = gap(case, MeanField, 200)
    found, error = gap(case, make, 200)
    assert -3 * error < found < share * factorised


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_flow_is_inverted_where_it_is_steep(dim):
    """Noise to z and back, and the log-determinant against autograd's Jacobian."""
    guide = shaken(Flow(Thoughts(1, 1, dim), 1, transforms=3), 1.0)
    with torch.no_grad():
        for part in (guide.widths, guide.heights, guide.slopes):
            part.mul_(20)
    single = copy.deepcopy(guide).distribution()
    guide.double()
    chain = _Map(*guide.distribution().parameters)
    with seeded(1):
        x = 2 * torch.randn(200, 1, dim, dtype=torch.float64)
    with torch.no_grad():
        z = chain.forward(x)
        back, log_det = chain.inverse(z)
    assert (back - x).abs().max() < 1e-6
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: chain.forward(v[None])[0]))
    dense = torch.linalg.slogdet(jacobian(x[:20, 0]))[1].detach()
    assert log_det[:20, 0].numpy() == pytest.approx(dense.numpy(), abs=1e-6)
    # The same parameters in fp32: a density is computed in fp64 all the same.
    drawn = z.float().reshape(200, 1, 1, 1, dim)
    wide = guide.distribution().log_prob(drawn.double()).detach()
    assert single.log_prob(drawn).detach().numpy() == pytest.approx(wide.numpy(), rel=1e-5)


def test_a_flow_is_in_smaller_units_where_there_are_more_dimensions():
    assert units(4) > units(100) > units(10_000)


def test_a_flow_without_zuko_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko.transforms", None)
    with pytest.raises(ltm.InputError, match=r"pip install 'ltm_pyro\[flows\]'"):
        Flow(TWO, 2)


def test_a_mixture_draws_its_components_equally_often():
    loc = torch.tensor([-30.0, -10.0, 10.0, 30.0]).reshape(1, 4, 1, 1, 1)
    q = EqualNormals(loc, torch.ones_like(loc))
    with seeded(0):
        z = q.sample((8000,)).flatten()
    counts = torch.stack([((z - c).abs() < 6).sum() for c in loc.flatten()])
    assert counts.sum() == 8000
    assert (counts - 2000).abs().max() < 4 * (8000 * 0.25 * 0.75) ** 0.5
    assert q.mean.item() == 0
    assert q.variance.item() == pytest.approx(501)
