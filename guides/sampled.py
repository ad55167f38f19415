"""Guides that sample instead of fitting a density: Langevin, Hamiltonian and Stein particles."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated

import pyro.distributions as dist
import torch
from annotated_types import Ge
from pyro.distributions import TorchDistribution
from torch import Tensor

from ltm_pyro.config import Thoughts
from ltm_pyro.errors import NotFinite
from ltm_pyro.guides.base import Guide
from ltm_pyro.options import Count, Positive, checked
from ltm_pyro.seeds import Noise

Particles = Annotated[int, Ge(2)]
LogJoint = Callable[[Tensor], Tensor]
"""log p(x, z) at (particles, documents, layers, slots, dim): (particles, documents), nats."""
DIVERGED = 1000.0
"""A trajectory whose energy has risen by this much, in nats, cannot be accepted."""


class Sampler(Guide, ABC):
    """K particles for each document, moved by `advance` instead of a gradient step.

    As a distribution it is the normal with the particles' mean and variance in each dimension:
    figures are then of a density, and so are bounds. The particles themselves are in `particles`,
    shape (K, documents, layers, slots, dim). They start as draws from N(0, I).

    Args:
        thoughts: layers, slots and size of the thoughts.
        batch_size: number of documents.
        particles: K.
        floor: least variance of that normal.
    """

    particles: Tensor

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        batch_size: int,
        particles: Particles = 16,
        floor: Positive = 1e-4,
    ):
        super().__init__(thoughts, batch_size)
        self.floor = floor
        self.register_buffer("particles", torch.zeros(particles, batch_size, *thoughts.shape))

    def distribution(self) -> TorchDistribution:
        """Batch shape (documents,), event shape (layers, slots, dim)."""
        scale = self.particles.var(0).clamp(min=self.floor).sqrt()
        return dist.Normal(self.particles.mean(0), scale, validate_args=False).to_event(3)

    def begin(self, noise: Noise) -> None:
        """Draw the particles from N(0, I)."""
        with noise.tensors():
            self.particles = torch.randn_like(self.particles)

    @abstractmethod
    def advance(self, log_joint: LogJoint, rate: float, noise: Noise) -> None:
        """Move the particles once.

        Args:
            log_joint: log p(x, z), differentiable: (K, documents, layers, slots, dim) ->
                (K, documents), nats.
            rate: the fast loop's rate at this step.
            noise: random numbers; draw tensors whose second dimension is the document within
                `noise.tensors()`.
        """

    def _move(self, particles: Tensor) -> None:
        lost = ~torch.isfinite(particles).flatten(2).all(-1).all(0)
        if lost.any():
            rows = lost.nonzero()[:8, 0].tolist()
            raise NotFinite(
                f"particles of {type(self).__name__} are not finite for rows {rows}: "
                "a smaller fast rate would keep them"
            )
        self.particles = particles.detach()


class Langevin(Sampler):
    """Unadjusted Langevin dynamics: z <- z + rate * grad log p(x, z) + sqrt(2 rate) * e.

    The ablation of Kong et al. (2025). The step is not corrected, so the particles' law is off by
    the order of the rate, and a rate above 2 / curvature carries them away; the fast loop's rate
    is to be chosen much smaller than for an optimizer (0.005 rather than 0.3).
    """

    rate = 0.005

    def advance(self, log_joint: LogJoint, rate: float, noise: Noise) -> None:
        """One step of every particle."""
        gradient = score(log_joint, self.particles)[1]
        with noise.tensors():
            kick = torch.randn_like(self.particles)
        self._move(self.particles + rate * gradient + math.sqrt(2 * rate) * kick)


class Hamiltonian(Sampler):
    """Hamiltonian Monte Carlo (Neal 2011), every particle a chain of its own.

    A step draws a momentum, follows the dynamics for `leapfrogs` steps and accepts or refuses
    where it got to, particle by particle. The fast loop's first rate is the leapfrogs' first size;
    from then on each document's own is tuned to an acceptance of 0.8, ever more slowly, and varied
    by a fifth from step to step so that no orbit closes. (The rate's later course is not used.)
    One step costs `leapfrogs` gradients.

    Args:
        thoughts: layers, slots and size of the thoughts.
        batch_size: number of documents.
        particles: chains for each document.
        leapfrogs: steps along the dynamics before a decision.
        floor: least variance of the normal that stands for the particles.
    """

    rate = 0.1
    step_size: Tensor
    acceptance: Tensor

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        batch_size: int,
        particles: Particles = 16,
        leapfrogs: Count = 8,
        floor: Positive = 1e-4,
    ):
        super().__init__(thoughts, batch_size, particles, floor)
        self.leapfrogs, self.taken = leapfrogs, 0
        self.register_buffer("step_size", torch.ones(batch_size))
        self.register_buffer("acceptance", torch.ones(batch_size))

    def advance(self, log_joint: LogJoint, rate: float, noise: Noise) -> None:
        """One trajectory of every particle."""
        if self.taken == 0:
            self.step_size = torch.full_like(self.step_size, rate)
        self.taken += 1
        z = self.particles
        with noise.tensors():
            momentum = torch.randn_like(z)
            uniform, jitter = (torch.rand_like(z[..., 0, 0, 0]) for _ in range(2))
        size = _over_event(self.step_size * (0.8 + 0.4 * jitter))
        value, gradient = score(log_joint, z)
        before = value - 0.5 * momentum.square().sum((-3, -2, -1))
        new, lost = z, torch.zeros_like(before, dtype=torch.bool)
        for _ in range(self.leapfrogs):
            momentum = momentum + 0.5 * size * gradient
            # A trajectory that has diverged goes no further, so that no number overflows.
            new = torch.where(_over_event(lost), z, new + size * momentum)
            value, gradient = score(log_joint, new)
            momentum = momentum + 0.5 * size * gradient
            after = value - 0.5 * momentum.square().sum((-3, -2, -1))
            lost = lost | ~(before - after < DIVERGED)
        chance = torch.where(lost, 0.0, (after - before).exp().clamp(max=1))
        accepted = uniform < chance
        self._move(torch.where(_over_event(accepted), new, z))
        self.acceptance = chance.mean(0)
        self.step_size = self.step_size * (2 * (self.acceptance - 0.8) / self.taken**0.6).exp()


class Stein(Sampler):
    """Stein variational gradient descent (Liu & Wang 2016): particles that repel one another.

    Each particle follows the average of all particles' gradients, weighted by a kernel, plus the
    kernel's own gradient, which keeps them apart. The kernel is exp(-|z - z'|^2 / h) with
    h = median |z - z'|^2 / log K within the document; gradients are scaled by their running root
    mean square, as in the paper. In many dimensions the particles come out too close together.
    """

    rate = 0.1
    squares: Tensor

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        batch_size: int,
        particles: Particles = 16,
        floor: Positive = 1e-4,
    ):
        super().__init__(thoughts, batch_size, particles, floor)
        self.register_buffer("squares", torch.zeros_like(self.particles))
        self.taken = 0

    def advance(self, log_joint: LogJoint, rate: float, noise: Noise) -> None:
        """One step of every particle; nothing is drawn."""
        gradient = score(log_joint, self.particles)[1].flatten(2).transpose(0, 1)
        z = self.particles.flatten(2).transpose(0, 1)  # (documents, K, D)
        count = z.shape[1]
        distance = torch.cdist(z, z).square()
        above = torch.triu_indices(count, count, 1, device=z.device)
        median = distance[:, above[0], above[1]].median(-1).values
        width = (median / math.log(count)).clamp(min=1e-12)[:, None, None]
        kernel = (-distance / width).exp()
        apart = 2 / width * (kernel.sum(-1, keepdim=True) * z - kernel @ z)
        step = ((kernel @ gradient + apart) / count).transpose(0, 1).reshape_as(self.particles)
        keep = 0.9 if self.taken else 0.0
        self.taken += 1
        self.squares = keep * self.squares + (1 - keep) * step.square()
        self._move(self.particles + rate * step / (self.squares.sqrt() + 1e-6))


def score(log_joint: LogJoint, z: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x, z), (particles, documents), and its gradient in z, of z's shape."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = log_joint(z)
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


def _over_event(value: Tensor) -> Tensor:
    """(particles, documents) -> (particles, documents, 1, 1, 1)."""
    return value[..., None, None, None]
