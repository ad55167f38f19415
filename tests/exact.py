"""Cases whose answers are known: linear-Gaussian, and a tiny decoder with z on a grid."""

import dataclasses
import math

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from ltm_pyro.bounds.estimate import Task
from ltm_pyro.config import Architecture, Config, Fast, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import Guide
from ltm_pyro.models import LatentThoughtModel, LinearGaussianModel
from ltm_pyro.programs.densities import simulate
from ltm_pyro.seeds import generator

from .conftest import strong

FAST = Fast(steps=150, lr=0.1, particles=4)


def linear_gaussian(seed: int = 0, documents: int = 48) -> tuple[LinearGaussianModel, Rows]:
    """Six latent dimensions, documents of 3 to 8 real "tokens" drawn from the model."""
    weight = 0.7 * torch.randn(8, 6, generator=generator(seed))
    model = LinearGaussianModel(Thoughts(2, 1, 3), weight, scale=0.8)
    lengths = torch.randint(3, 9, (documents,), generator=generator(seed, 1))
    return model, simulate(model, lengths, seed)[0]


def exact_guide(model: LinearGaussianModel, widen: float = 1.0, shift: float = 0.0) -> type[Guide]:
    """The exact posterior as a guide; or one that is too wide (or narrow), or off."""

    class Exact(Guide):
        def forward(self, batch):
            with torch.no_grad():
                mean, covariance = model.posterior(batch)
            factor = widen * torch.linalg.cholesky(covariance)
            normal = dist.MultivariateNormal(mean + shift, scale_tril=factor)
            shape = torch.Size(self.thoughts.shape)
            unflatten = dist.transforms.ReshapeTransform(torch.Size([shape.numel()]), shape)
            with pyro.plate("documents", len(batch), dim=-1):
                return pyro.sample("z", dist.TransformedDistribution(normal, [unflatten]))

    return Exact


def tiny_decoder(seed: int = 0, documents: int = 32) -> tuple[LatentThoughtModel, Rows]:
    """A Transformer over five letters with two latent dimensions, and documents it wrote."""
    config = Config(
        Architecture(
            vocabulary=5, begin=0, length=10, window=3, layers=1, width=8, heads=2, feedforward=8
        ),
        Thoughts(layers=1, slots=1, dim=2),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = strong(LatentThoughtModel(config))
        with torch.no_grad():
            model.decoder.layers[0].thought.out.weight *= 2.0
    lengths = torch.randint(4, 11, (documents,), generator=generator(seed, 1))
    return model, simulate(model, lengths, seed)[0]


def task(model, rows, guide, fast: Fast = FAST, seed: int = 0) -> Task:
    """What an estimator is given; `steps=0` for guides with nothing to fit."""
    return Task(model, rows, guide, fast, seed)


def no_fit(fast: Fast = FAST) -> Fast:
    return dataclasses.replace(fast, steps=0)


def z_score(values: list[float] | np.ndarray, truth: float = 0.0) -> float:
    """How many standard errors the mean of independent values lies above the truth."""
    values = np.asarray(values, float)
    return float((values.mean() - truth) / (values.std(ddof=1) / math.sqrt(len(values))))
