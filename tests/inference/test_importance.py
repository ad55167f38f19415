"""The importance-weighted slow step: its gradient is that of the bound that `iwae` reports."""

import dataclasses

import pytest
import torch

from ltm_pyro.config import Fast, Objective, Slow, Thoughts, Warm
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField, NoGuide
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.models.linear_gaussian import LinearGaussianModel
from ltm_pyro.models.priors import LearnedNormal
from ltm_pyro.programs.densities import log_weights
from ltm_pyro.programs.elbo import bound_terms, elbo_terms


@pytest.fixture
def linear():
    """A document of two numbers about one thought: the prior, as a guide, is far from exact."""
    torch.manual_seed(1)
    model = LinearGaussianModel(Thoughts(1, 1, 1), torch.tensor([[1.0], [0.7]]))
    rows = Rows(torch.tensor([[1.0, 1.5]]), torch.tensor([2]), torch.arange(1), torch.tensor([8]))
    return model, rows


def gradient(model, objective):
    return torch.autograd.grad(objective.sum(), model.weight)[0].flatten()


def test_many_draws_give_the_gradient_of_the_likelihood_itself(linear):
    """And the ELBO's does not, by more than ten of its errors."""
    model, rows = linear
    exact = gradient(model, model.log_marginal(rows))
    guide = MeanField(model.thoughts, 1)
    for terms, right in ((lambda: bound_terms(model, guide, rows, 2000), True),
                         (lambda: elbo_terms(model, guide, rows, 2000), False)):  # fmt: skip
        each = torch.stack([gradient(model, terms().objective().mean(0)) for _ in range(30)])
        error = each.std(0) / 30**0.5
        apart = ((each.mean(0) - exact).abs() / error).max()
        assert (apart < 4) == right
        assert right or apart > 10


def test_a_learned_prior_has_its_gradient_too(config, rows):
    """That of the bound of the same draws, computed from its log weights."""
    torch.manual_seed(2)
    model = LatentThoughtModel(config, LearnedNormal(config.thoughts))
    guide, found = MeanField(model.thoughts, len(rows)), []
    learned = list(model.prior.parameters())
    for of in (
        lambda: bound_terms(model, guide, rows, 6).objective()[0],
        lambda: torch.logsumexp(log_weights(model, guide, rows, 6), 0),
    ):
        torch.manual_seed(5)
        found.append(torch.autograd.grad(of().sum(), learned))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    assert max(one.abs().max() for one in found[0]) > 0.1


def test_it_is_the_bound_of_the_same_draws(linear):
    model, rows = linear
    guide = MeanField(model.thoughts, 1)
    torch.manual_seed(5)
    terms = bound_terms(model, guide, rows, 8)
    torch.manual_seed(5)
    log_w = log_weights(model, guide, rows, 8)
    weighted = torch.logsumexp(log_w, 0) - torch.tensor(8.0).log()
    assert terms.objective()[0].tolist() == pytest.approx(weighted.tolist(), rel=1e-6)
    assert terms.elbo.flatten().tolist() == pytest.approx(log_w.flatten().tolist(), rel=1e-5)
    assert (terms.objective()[0] > terms.elbo.mean(0)).all()  # Jensen


def test_a_step_reports_the_elbo_and_ascends_the_other(model, rows):
    svi = DualRateSVI(model, MeanField, Fast.quick(1), Slow(importance=4, warmup=1))
    report = svi.step(rows, 4)
    assert report.objective < report.nats_per_token
    assert report.kl.shape == report.log_likelihood.shape == (len(rows),)


def test_without_latents_it_changes_nothing(config, rows):
    found = []
    for importance in (1, 4):
        torch.manual_seed(0)
        svi = DualRateSVI(AutoregressiveModel(config), NoGuide, slow=Slow(importance=importance))
        found.append([svi.step(rows, 3).nats_per_token for _ in range(3)])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "beside", [{"objective": Objective(free_bits=1.0)}, {"warm": Warm(steps=1, lr=0.1)}]
)
def test_what_it_cannot_stand_beside_is_told(model, beside):
    with pytest.raises(InputError, match=r"slow\.importance is 4"):
        DualRateSVI(model, slow=dataclasses.replace(Slow(), importance=4), **beside)
