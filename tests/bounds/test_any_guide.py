"""Every figure and diagnostic takes any prior and any guide: they speak to sites and plates."""

import pyro.distributions as dist
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds import sandwich
from ltm_pyro.config import Fast
from ltm_pyro.diagnostics import calibrate, guide_quality, thought_use
from ltm_pyro.guides import Guide
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.models.priors import Prior
from ltm_pyro.programs.densities import log_joint

from ..conftest import some_rows, strong


class Laplace(Prior):
    def distribution(self):
        return dist.Laplace(self.anchor, self.anchor + 1).expand(self.shape).to_event(3)


class FullCovariance(Guide):
    """One normal over all dimensions of a document: no product, no closed-form KL here."""

    def __init__(self, thoughts, batch_size):
        super().__init__(thoughts, batch_size)
        size = thoughts.count * thoughts.dim
        self.loc = torch.nn.Parameter(torch.zeros(batch_size, size))
        self.factor = torch.nn.Parameter(torch.eye(size).expand(batch_size, -1, -1).clone())

    def distribution(self):
        scale = (self.factor.diagonal(0, -2, -1) - 1).exp()
        normal = dist.MultivariateNormal(
            self.loc, scale_tril=self.factor.tril(-1) + torch.diag_embed(scale)
        )
        shape = torch.Size(self.thoughts.shape)
        reshape = dist.transforms.ReshapeTransform(torch.Size([shape.numel()]), shape)
        return dist.TransformedDistribution(normal, [reshape])


@pytest.fixture
def laplace(config):
    return strong(LatentThoughtModel(config, Laplace(config.thoughts)))


def test_all_figures(laplace, config):
    rows, fast = some_rows(6), Fast(steps=20, lr=0.1)
    names = ["elbo:8", "iwae:16", "ais:8", "ais_prior:8", "predictive:4", "prior:8", "same_noise"]
    report = ltm.evaluate(
        laplace, rows, names, guide=FullCovariance, fast=fast, repeat=0, progress=False,
        baseline=AutoregressiveModel(config),
    )  # fmt: skip
    assert len(report.figures) == 8
    assert all(torch.isfinite(torch.tensor(f.nats)).all() for f in report.figures.values())
    assert report["elbo"].nats.sum() < report["prior"].nats.sum()
    assert report["iwae"].nats.sum() < report["elbo"].nats.sum()
    certificate = sandwich(
        laplace, rows.lengths, ["elbo:8"], guide=FullCovariance, fast=fast, temperatures=20,
        start="guide", progress=False,
    )  # fmt: skip
    with pytest.raises(ltm.InputError, match="unknown start 'gide': did you mean 'guide'"):
        sandwich(laplace, rows.lengths, start="gide")
    gap, error = certificate.gap
    assert gap > -4 * error


def test_all_diagnostics(laplace, config):
    rows, fast = some_rows(8), Fast(steps=20, lr=0.1)
    posterior = infer(laplace, rows, FullCovariance, fast, chunk=5)
    use = thought_use(posterior, 8, baseline=AutoregressiveModel(config))
    assert not use.factorised
    assert "ahead of no latents" in use.verdict
    assert guide_quality(posterior, draws=64).khat.shape == (8,)
    assert calibrate(laplace, rows.lengths, FullCovariance, fast, draws=19).verdict
    assert ltm.to_datatree(posterior, draws=4, posterior_predictive=False)["posterior"].sizes


def test_the_prior_score_draws_from_the_models_own_prior(config):
    """A prior far from N(0, I): a standard normal in its place would be another number."""

    class Far(Prior):
        def distribution(self):
            return dist.Normal(self.anchor + 4.0, 0.01).expand(self.shape).to_event(3)

    model, rows = strong(LatentThoughtModel(config, Far(config.thoughts))), some_rows(6)
    found = ltm.evaluate(model, rows, ["prior:16"], progress=False)["prior"].nats
    at_the_prior = {"z": torch.full((1, 6, 2, 2, 3), 4.0)}
    with torch.no_grad():
        _, log_likelihood = log_joint(model, at_the_prior, rows)
    assert found == pytest.approx((-log_likelihood[0]).numpy(), rel=0.02)
