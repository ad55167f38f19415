"""What the tests of every guide need."""

import functools
import math

import pyro
import pyro.distributions as dist
import torch

from ltm_pyro import guides
from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import Guide
from ltm_pyro.inference.local import fit_guide
from ltm_pyro.models import LinearGaussianModel
from ltm_pyro.programs import densities
from ltm_pyro.programs.densities import draw_latents, log_density, log_joint
from ltm_pyro.seeds import Noise, seeded

FITTED = {
    "MeanField": guides.MeanField,
    "Covariance": guides.Covariance,
    "Covariance, layer": functools.partial(guides.Covariance, scope="layer"),
    "Covariance, rank": functools.partial(guides.Covariance, rank=2),
    "Layerwise": guides.Layerwise,
    "Mixture": guides.Mixture,
    "Flow": guides.Flow,
    "AutoNormal": guides.Auto,
    "AutoDiagonalNormal": functools.partial(guides.Auto, guide="AutoDiagonalNormal"),
    "AutoMultivariateNormal": functools.partial(guides.Auto, guide="AutoMultivariateNormal"),
    "AutoLowRank": functools.partial(guides.Auto, guide="AutoLowRankMultivariateNormal", rank=1),
    "AutoIAFNormal": functools.partial(guides.Auto, guide="AutoIAFNormal", num_transforms=2),
}
"""Guides with a density and local parameters."""
SAMPLERS = {
    "Langevin": guides.Langevin,
    "Hamiltonian": guides.Hamiltonian,
    "Stein": guides.Stein,
}
POINTS = {"Point": guides.Point, "LaplaceApproximation": guides.LaplaceApproximation}


def fit(
    model, make, rows, steps: int = 300, lr: float = 0.1, particles: int = 4,
    optimizer: str = "Adam", final: float = 0.01, seed: int = 0,
) -> Guide:  # fmt: skip
    """A guide fitted to rows by the fast loop."""
    fast = Fast(steps=steps, lr=lr, final=final, particles=particles, optimizer=optimizer)
    guide = make(model.thoughts, len(rows)).to(next(model.parameters()))
    fit_guide(model, guide, rows, fast, Noise(seed, rows.key))
    return guide


def shaken(guide: Guide, scale: float, seed: int = 0) -> Guide:
    """The guide with noise added to every parameter: q is then nothing special."""
    with seeded(seed), torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return guide


@torch.no_grad()
def bound(model, guide, rows, draws: int = 1000, seed: int = 1):
    """ELBO, its standard error, and the importance-weighted bound: (documents,) each, nats."""
    with seeded(seed):
        latents = draw_latents(guide, rows, draws)
    weights = sum(log_joint(model, latents, rows)) - log_density(guide, latents, rows)
    iwae = weights.logsumexp(0) - math.log(draws)
    return weights.mean(0), weights.std(0) / draws**0.5, iwae


@torch.no_grad()
def draws_of(model, guide, rows, draws: int, seed: int = 2):
    """z from a guide, flat: (draws, documents, D)."""
    with seeded(seed):
        latents = draw_latents(guide, rows, draws)
    return densities.joined(model, latents, rows, Noise(0, rows.key)).flatten(2)


def fixed_rows(tokens: torch.Tensor) -> Rows:
    """Rows in which every value counts."""
    documents = torch.arange(len(tokens))
    return Rows(tokens, torch.full_like(documents, tokens.shape[1]), documents, documents)


class Curved(LinearGaussianModel):
    """x = f(z) + noise, z of few enough dimensions for a grid."""

    def __init__(self, thoughts: Thoughts, f, values: int, scale: float):
        super().__init__(thoughts, torch.zeros(values, thoughts.count * thoughts.dim), scale)
        self.f = f

    def forward(self, batch, prelude=None):
        with pyro.plate("documents", len(batch), dim=-1):
            z = self.prior(batch)
            x = dist.Normal(self.f(z.flatten(-3)), self.scale).to_event(1)
            pyro.sample("tokens", x, obs=batch.tokens)
        return z

    def log_marginal(self, batch):
        """log p(x), by a sum over a grid."""
        z, volume = grid(self.thoughts, 6.0, 1201 if self.weight.shape[1] == 1 else 301)
        with torch.no_grad():
            both = sum(log_joint(self, {"z": z.expand(-1, len(batch), -1, -1, -1)}, batch))
        return both.logsumexp(0) + math.log(volume)


def grid(thoughts: Thoughts, reach: float, points: int):
    """All z of one or two dimensions on a grid, (n, 1, *shape), and the volume of a cell."""
    size = thoughts.count * thoughts.dim
    axis = torch.linspace(-reach, reach, points)
    z = torch.cartesian_prod(*[axis] * size).reshape(-1, 1, *thoughts.shape)
    return z, float(axis[1] - axis[0]) ** size
