"""Sums over all texts: no code pays less than a probability does.

exp(-figure) of an unbiased estimate of p(x) sums to 1 in expectation over all texts of a length,
and that of a bound to less. A density that does not fit its draws, a constant left out, noise seen
twice or a term dropped shows here, whatever prior and guide.
"""

import functools
import itertools
import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro import guides
from ltm_pyro.config import Architecture, Config, Fast, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.models import LatentThoughtModel, priors
from ltm_pyro.models.priors import Prior

from ..conftest import strong

slow = pytest.mark.slow
VOCABULARY, LENGTH = 3, 3
THOUGHTS = Thoughts(layers=2, slots=1, dim=1)


class Positive(Prior):
    def distribution(self):
        return dist.Gamma(self.anchor + 2, self.anchor + 1).expand(self.shape).to_event(3)


PRIORS = {
    "standard-normal": priors.StandardNormal,
    "layerwise": functools.partial(priors.Layerwise, hidden=6),
    "energy-tilt": functools.partial(priors.EnergyTilt, hidden=5, draws=20_000),
    "gamma": Positive,
    "learned-normal": priors.LearnedNormal,
    "mixture": functools.partial(priors.Mixture, components=3),
    "vamp-prior": functools.partial(priors.VampPrior, components=4),
    "flow": functools.partial(priors.Flow, transforms=2, hidden=8),
    "student-t": functools.partial(priors.StudentT, degrees=5.0, learned=True),
    "laplace": functools.partial(priors.Laplace, scale=0.7, learned=True),
    "horseshoe": functools.partial(priors.Horseshoe, nodes=24, learned=True),
}
HEAVY = {"student-t", "laplace", "horseshoe"}  # beyond a normal guide's tails
OFTEN = {"layerwise", "energy-tilt", "gamma"}
QUICK = Fast(steps=6, lr=0.05)
GUIDES = {
    "mean-field": (guides.MeanField, QUICK),
    "layerwise": (guides.Layerwise, QUICK),
    "mixture": (guides.Mixture, QUICK),
    "covariance": (guides.Covariance, QUICK),
    "flow": (guides.Flow, QUICK),
    "laplace-approximation": (guides.LaplaceApproximation, QUICK),
    "auto": (functools.partial(guides.Auto, guide="AutoIAFNormal"), Fast(steps=3, lr=0.02)),
    "hamiltonian": (guides.Hamiltonian, Fast(steps=6, lr=0.2)),
    "stein": (guides.Stein, Fast(steps=10, lr=0.1)),
}


def all_texts():
    x = torch.tensor(list(itertools.product(range(VOCABULARY), repeat=LENGTH)))
    n = len(x)
    return Rows(x, torch.full((n,), LENGTH), torch.arange(n), torch.full((n,), LENGTH))


def model_of(prior="standard-normal", seed=0):
    architecture = Architecture(vocabulary=VOCABULARY, begin=0, length=LENGTH, window=2, layers=2,
                                width=8, heads=2, feedforward=8)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = PRIORS[prior](THOUGHTS)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        model = strong(LatentThoughtModel(Config(architecture, THOUGHTS), made))
        with torch.no_grad():
            for layer in model.decoder.layers:
                layer.thought.out.weight *= 0.5
    return model


def sums(model, figures, guide=guides.MeanField, fast=QUICK, seed=0):
    """Of exp(-nats) over all texts, and its Monte Carlo error, for each figure."""
    report = ltm.evaluate(model, all_texts(), figures, guide=guide, fast=fast, seed=seed, repeat=0,
                          progress=False)  # fmt: skip
    return {
        name: (np.exp(-f.nats).sum(), math.sqrt(np.exp(-2 * f.nats) @ f.monte_carlo_variance))
        for name, f in report.figures.items()
    }


def check(found):
    for name, (total, error) in found.items():
        if name in ("elbo", "prior"):
            assert total < 1 + 4 * error, (name, total, error)
        else:
            assert abs(total - 1) < 4.5 * error + 2e-3, (name, total, error)
            assert error < 0.3


@pytest.mark.parametrize(
    "prior", [p if p in OFTEN else pytest.param(p, marks=slow) for p in PRIORS]
)
def test_every_prior(prior):
    iwae = [] if prior in HEAVY else ["iwae:64"]
    check(sums(model_of(prior), ["elbo:8", *iwae, "ais_prior:16"]))


@pytest.mark.parametrize("guide", GUIDES)
def test_every_guide(guide):
    make, fast = GUIDES[guide]
    check(sums(model_of(), ["elbo:8", "iwae:64"], make, fast))


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("prior", sorted(set(PRIORS) - HEAVY))
def test_every_pair(prior, guide):
    make, fast = GUIDES[guide]
    for name, (total, error) in sums(model_of(prior), ["elbo:8", "iwae:64"], make, fast).items():
        assert total < 1 + 4.5 * error + 2e-3, (name, total, error)


def test_every_figure():
    check(sums(model_of(), ["ais:8", "ais_prior:10", "predictive:1", "prior:16"]))


def test_the_released_protocol_pays_less_than_any_code():
    model, fast = model_of(), Fast(steps=60, lr=0.2)
    report = ltm.evaluate(model, all_texts(), ["same_noise"], fast=fast, progress=False)
    assert np.exp(-report["same_noise"].nats).sum() > 1.05


def test_a_density_that_does_not_fit_its_draws_would_be_seen():
    class Narrow(guides.MeanField):
        """Scores its draws under a law of twice the width: every weight is too large."""

        def distribution(self):
            scale = (0.5 * self.log_variance).exp()

            class Law(dist.Normal):
                def log_prob(self, value):
                    return dist.Normal(self.loc, 2 * self.scale).log_prob(value)

            return Law(self.loc, scale).to_event(3)

    total, error = sums(model_of(), ["iwae:64"], Narrow)["iwae"]
    assert abs(total - 1) > 5 * error
