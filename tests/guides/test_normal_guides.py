"""Mean-field, full, low-rank and layerwise normals against posteriors that are known."""

import functools

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

import ltm_pyro as ltm
from ltm_pyro.config import Thoughts
from ltm_pyro.guides import Covariance, Layerwise, MeanField, SemiAmortized
from ltm_pyro.programs.elbo import elbo_terms
from ltm_pyro.seeds import seeded

from ..exact import linear_gaussian
from .helpers import bound, draws_of, fit, fixed_rows, shaken


@pytest.fixture(scope="module")
def known():
    """A model, documents, and the precision of each posterior, (documents, D, D)."""
    model, rows = linear_gaussian(documents=24)
    with torch.no_grad():
        _, covariance = model.posterior(rows)
        return model, rows, torch.linalg.inv(covariance), model.log_marginal(rows)


def factorised_gap(precision):
    """KL of the best product of normals to N(., precision^-1), (documents,)."""
    diagonal = precision.diagonal(0, -2, -1)
    return 0.5 * (diagonal.log().sum(-1) - precision.logdet())


def test_mean_field_reaches_its_optimum(known):
    model, rows, precision, truth = known
    guide = fit(model, MeanField, rows)
    gap = truth - bound(model, guide, rows)[0]
    assert gap.mean() == pytest.approx(float(factorised_gap(precision).mean()), abs=0.03)
    variance = guide.log_variance.exp().flatten(1)
    assert (variance * precision.diagonal(0, -2, -1)).log().abs().mean() < 0.05


def test_a_full_covariance_is_exact(known):
    model, rows, precision, truth = known
    guide = fit(model, Covariance, rows, steps=400)
    elbo, error, iwae = bound(model, guide, rows)
    assert (elbo - truth).abs().max() < 0.05 + 4 * error.max()
    assert (iwae - truth).abs().max() < 0.05
    with torch.no_grad():
        mean, covariance = model.posterior(rows)
        scale = guide.scale_tril()[:, 0]
        assert ((guide.loc[:, 0] - mean) / scale.diagonal(0, -2, -1)).abs().mean() < 0.1
        assert (scale @ scale.mT - covariance).abs().mean() < 0.01
    # Mean-field misses what the dependence is worth, and the full one does not.
    assert factorised_gap(precision).mean() > 10 * (truth - elbo).mean()


def test_blocks_of_layers_reach_their_optimum(known):
    model, rows, precision, truth = known
    guide = fit(model, functools.partial(Covariance, scope="layer"), rows)
    blocks = precision[:, :3, :3].logdet() + precision[:, 3:, 3:].logdet()
    best = 0.5 * (blocks - precision.logdet())
    gap = truth - bound(model, guide, rows)[0]
    assert gap.mean() == pytest.approx(float(best.mean()), abs=0.04)


@pytest.mark.slow
def test_a_low_rank_lies_between(known):
    model, rows, precision, truth = known
    gaps = {}
    for rank in (1, 5):
        make = functools.partial(Covariance, rank=rank)
        gaps[rank] = (truth - bound(model, fit(model, make, rows), rows)[0]).mean()
    assert 0 < gaps[5] < gaps[1] < factorised_gap(precision).mean()
    assert gaps[5] < 0.3 * factorised_gap(precision).mean()


def test_layerwise_reaches_its_optimum(known):
    """The best q(z_1 | z_0) has the true conditional mean, the best q(z_0) sees p(z_0 | x)."""
    model, rows, precision, truth = known
    guide = fit(model, Layerwise, rows, lr=0.2, particles=16)
    marginal = torch.linalg.inv(torch.linalg.inv(precision)[:, :3, :3])
    best = factorised_gap(marginal) + factorised_gap(precision[:, 3:, 3:])
    gap = truth - bound(model, guide, rows)[0]
    assert gap.mean() == pytest.approx(float(best.mean()), abs=0.04)
    assert best.mean() < 0.6 * factorised_gap(precision).mean()


def test_layers_one_at_a_time_and_together_agree():
    """Moments of q(z_0) q(z_1 | z_0), against the regression written out."""
    guide = shaken(Layerwise(Thoughts(2, 1, 2), 3), 1.0)
    model, rows = linear_gaussian(documents=3)
    z = draws_of(model, guide, rows, 40_000)
    weight = guide.weights[0].detach() / 2
    first, second = guide.log_variance.detach().exp().flatten(2).unbind(1)
    mean = guide.loc[:, 1, 0].detach() + (weight @ guide.loc[:, 0, 0, :, None].detach())[..., 0]
    covariance = weight @ torch.diag_embed(first) @ weight.mT + torch.diag_embed(second)
    assert z[..., 2:].mean(0).numpy() == pytest.approx(mean.numpy(), abs=0.05)
    centered = z[..., 2:] - z[..., 2:].mean(0)
    found = torch.einsum("ndi,ndj->dij", centered, centered) / len(z)
    assert found.numpy() == pytest.approx(covariance.numpy(), rel=0.05, abs=0.05)


@pytest.mark.parametrize("options", [{}, {"scope": "layer"}, {"rank": 2}])
def test_the_kl_to_independent_normals_is_exact(options):
    guide = shaken(Covariance(Thoughts(2, 1, 2), 3, **options), 0.7)
    with seeded(0):
        prior = dist.Normal(torch.randn(2, 1, 2), 0.5 + torch.rand(2, 1, 2)).to_event(3)
    q = guide.distribution()
    with torch.no_grad(), seeded(1):
        z = q.rsample((20_000,))
        found = q.log_prob(z) - prior.log_prob(z)
        error = found.std(0) / len(found) ** 0.5
        assert ((kl_divergence(q, prior) - found.mean(0)) / error).abs().max() < 4
    with pytest.raises(NotImplementedError):
        kl_divergence(q, dist.Laplace(torch.zeros(2, 1, 2), 1.0).to_event(3))
    assert q.entropy().shape == (3,)


@pytest.mark.parametrize("guide", ["mean-field", "document", "layer", "semi-amortized"])
def test_the_natural_gradient_is_the_inverse_fisher_matrix_times_the_gradient(guide):
    """Fisher's matrix is the Hessian of KL(q_0 || q) in q's parameters, at q_0."""
    thoughts = Thoughts(2, 1, 2)
    if guide == "mean-field":
        made = MeanField(thoughts, 1)
    elif guide == "semi-amortized":
        made = SemiAmortized(thoughts, 1, torch.nn.Identity())
    else:
        made = Covariance(thoughts, 1, scope=guide)
    made = shaken(made, 0.6).double()
    names, parameters = zip(*made.named_parameters(), strict=True)
    sizes = [p.numel() for p in parameters]

    def density(flat):
        values = [v.view_as(p) for v, p in zip(flat.split(sizes), parameters, strict=True)]
        given = dict(zip(names, values, strict=True))
        q = torch.func.functional_call(Moments(made), {f"guide.{k}": v for k, v in given.items()})
        return dist.MultivariateNormal(*q)

    here = torch.cat([p.detach().flatten() for p in parameters])
    fixed = density(here)
    fixed = dist.MultivariateNormal(fixed.loc.detach(), fixed.covariance_matrix.detach())
    fisher = torch.autograd.functional.hessian(lambda x: kl_divergence(fixed, density(x)), here)
    with seeded(3):
        gradient = torch.randn_like(here)
    # Entries above the diagonal of a triangular factor do nothing, and have no gradient.
    counted = fisher.diagonal() != 0
    gradient = gradient * counted
    for parameter, part in zip(parameters, gradient.split(sizes), strict=True):
        parameter.grad = part.view_as(parameter).clone()
    made.natural_gradient()
    found = torch.cat([p.grad.flatten() for p in parameters])[counted]
    wanted = torch.linalg.solve(fisher[counted][:, counted], gradient[counted])
    assert found.numpy() == pytest.approx(wanted.numpy(), rel=1e-4, abs=1e-6)


class Moments(torch.nn.Module):
    """Mean and covariance of a guide of one document, from its draws' derivative in the noise."""

    def __init__(self, guide):
        super().__init__()
        self.guide = guide

    def forward(self):
        q = self.guide.distribution()
        if hasattr(q, "base_dist"):
            return q.mean.flatten(), torch.diag_embed(q.variance.flatten())
        scale = torch.block_diag(*q.base.scale_tril[0])
        return q.mean.flatten(), scale @ scale.T


@pytest.mark.parametrize("make", [MeanField, pytest.param(Covariance, marks=pytest.mark.slow)])
def test_natural_gradients_are_fast_and_right(known, make):
    model, rows, precision, truth = known
    guide = fit(model, make, rows, steps=300, lr=0.05, optimizer="NaturalGradient", particles=16)
    best = factorised_gap(precision).mean() if make is MeanField else torch.zeros(())
    gap = (truth - bound(model, guide, rows)[0]).mean()
    assert gap == pytest.approx(float(best), abs=0.03)


def test_a_low_rank_does_not_know_its_fisher_matrix():
    with pytest.raises(ltm.InputError, match="choose rank=None"):
        Covariance(Thoughts(1, 1, 4), 2, rank=2).natural_gradient()


def test_a_step_moves_a_draw_as_far_whatever_the_size():
    """The fast loop's rate is one number: a full covariance must bear the rate of mean-field."""
    moved = []
    for dim in (4, 64):
        guide = Covariance(Thoughts(1, 1, dim), 8)
        optimizer = torch.optim.Adam(guide.parameters(), lr=0.3)
        with seeded(0):
            guide.factor.grad = torch.randn_like(guide.factor).tril(-1)
            optimizer.step()
            noise = torch.randn(8, 1, dim, 1)
        with torch.no_grad():
            shift = guide.scale_tril() @ noise - noise
            moved.append(float(shift.square().sum(-2).sqrt().mean()))
    assert moved[1] < 2 * moved[0]  # with plain units it would be 16 times


def test_elbo_terms_use_the_exact_kl(known):
    model, rows, _, _ = known
    guide = shaken(Covariance(model.thoughts, len(rows)), 0.3)
    kl = elbo_terms(model, guide, rows, 3).kl
    assert torch.equal(kl[0], kl[1])
    assert fixed_rows(rows.tokens).mask.all()
