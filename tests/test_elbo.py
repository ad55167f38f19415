import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import nn

from ltm_pyro.elbo import assert_finite, elbo_terms, sample_thoughts
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.guides import Guide, MeanField, NoGuide
from ltm_pyro.likelihood import TokenSequence
from ltm_pyro.models import AutoregressiveModel
from ltm_pyro.seeds import seeded

from .conftest import some_rows


@pytest.fixture
def guide(config):
    guide = MeanField(config.thoughts, 5)
    nn.init.normal_(guide.loc)
    nn.init.normal_(guide.log_variance)
    return guide


def test_it_equals_the_sum_written_by_hand(model, guide, rows):
    with seeded(3):
        terms = elbo_terms(model, guide, rows, particles=4)
    mean, variance = guide.loc, guide.log_variance.exp()
    kl = 0.5 * (variance + mean**2 - 1 - guide.log_variance).flatten(1).sum(1)
    torch.testing.assert_close(terms.kl, kl.expand(4, 5))
    likelihood = TokenSequence(model.decoder, terms.z, rows.lengths, 12).log_prob(rows.tokens)
    torch.testing.assert_close(terms.elbo, likelihood - kl)
    assert terms.z.shape == (4, 5, 2, 2, 3)


def test_it_equals_pyros_own(model, guide, rows):
    with seeded(3):
        ours = elbo_terms(model, guide, rows).elbo.sum()
    with seeded(3):
        theirs = -TraceMeanField_ELBO().differentiable_loss(model, guide, rows)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


class StudentGuide(Guide):
    """A pair of distributions whose KL torch does not know."""

    def distribution(self):
        zero = torch.zeros(self.batch_size, *self.thoughts.shape)
        return dist.StudentT(8.0, zero + 0.3, 0.7).to_event(3)


def test_without_a_closed_form_the_kl_is_estimated(config, model, rows):
    guide = StudentGuide(config.thoughts, 5)
    with torch.no_grad(), seeded(0):
        terms = elbo_terms(model, guide, rows, particles=2000)
    q, p = dist.StudentT(8.0, 0.3, 0.7), dist.Normal(0.0, 1.0)
    x = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
    log_q = q.log_prob(x)
    exact = 12 * torch.trapezoid(log_q.exp() * (log_q - p.log_prob(x)), x).item()
    error = terms.kl.std().item() / math.sqrt(terms.kl.numel())
    assert terms.kl.mean().item() == pytest.approx(exact, abs=4 * error)
    assert error < 0.02 * exact


def test_each_particle_and_document_has_its_own_draw(model, guide, rows):
    z = elbo_terms(model, guide, rows, particles=3).z
    assert len(z.flatten().unique()) == z.numel()


def test_a_model_without_thoughts_has_no_kl(config, rows):
    terms = elbo_terms(AutoregressiveModel(config), NoGuide(), rows)
    assert terms.kl_by_site == {}
    torch.testing.assert_close(terms.elbo, terms.log_likelihood)
    with pytest.raises(InputError, match="no thoughts"):
        sample_thoughts(AutoregressiveModel(config), NoGuide(), rows, 2)


def test_thoughts_sampled_follow_the_guide(model, guide, rows):
    with seeded(0):
        z = sample_thoughts(model, guide, rows, 4000)
    error = guide.log_variance.mul(0.5).exp() / math.sqrt(4000)
    assert ((z.mean(0) - guide.loc) / error).abs().max() < 4.5
    assert len(pyro.get_param_store()) == 0


def test_a_nan_names_its_site_and_rows(model, guide, rows):
    with torch.no_grad():
        guide.loc[2] = math.nan
    with pytest.raises(NotFinite, match=r"site '(tokens|z)' is not finite for rows \[2\]"):
        assert_finite(elbo_terms(model, guide, some_rows()), "a batch")
    terms = elbo_terms(model, MeanField(model.thoughts, 5), rows)
    terms.log_likelihood[0, 3] = math.inf
    with pytest.raises(NotFinite, match=r"site 'tokens' is not finite for rows \[3\] of batch 9"):
        assert_finite(terms, "batch 9")
