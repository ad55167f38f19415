"""A guide of several modes."""

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.guides.base import Guide
from ltm_pyro.options import Count, Positive, checked
from ltm_pyro.seeds import generator


class Mixture(Guide):
    """q(z_d) = 1/K sum_k N(loc_dk, diag exp(log_variance_dk)), with equal weights.

    With weights that are not learned, which component a draw comes from is part of the noise, so
    the gradient through a draw is exact. Components share a location and a log variance, fitted
    with every draw, and differ by shifts of their own; these are in units of 1 / sqrt(dimensions),
    so that a step of the fast loop takes components apart by about as much whatever the size. They
    start near N(0, I), alike in every document.

    Which modes are found depends on where the first steps lead: components that went to the same
    mode stay there.

    Args:
        thoughts: layers, slots and size of the thoughts.
        batch_size: number of documents.
        components: K.
        spread: about how far from their center components start, in standard deviations.
    """

    @checked
    def __init__(
        self, thoughts: Thoughts, batch_size: int, components: Count = 4, spread: Positive = 1.0
    ):
        super().__init__(thoughts, batch_size)
        self.components, self.spread = components, spread
        self.unit = math.prod(thoughts.shape) ** -0.5
        start = spread * torch.randn(components, *thoughts.shape, generator=generator(0))
        start = start - start.mean(0)
        left = 1 - self.unit**2 * start.square().mean(0)  # so that all of q has variance 1
        self.loc = nn.Parameter(torch.zeros(batch_size, 1, *thoughts.shape))
        self.log_variance = nn.Parameter(left.clamp(min=0.3).log().expand_as(self.loc).clone())
        self.shift = nn.Parameter(start.repeat(batch_size, 1, 1, 1, 1))
        self.widen = nn.Parameter(torch.zeros_like(self.shift))

    def distribution(self) -> TorchDistribution:
        """Batch shape (documents,), event shape (layers, slots, dim)."""
        log_variance = self.log_variance + self.unit * self.widen
        return EqualNormals(self.loc + self.unit * self.shift, (0.5 * log_variance).exp())


class EqualNormals(TorchDistribution):
    """A mixture, in equal parts, of normals with independent dimensions.

    Args:
        loc: shape (*batch, components, layers, slots, dim).
        scale: the same.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True
    support = constraints.independent(constraints.real, 3)

    def __init__(self, loc: Tensor, scale: Tensor):
        self.loc, self.scale = loc, scale
        super().__init__(loc.shape[:-4], loc.shape[-3:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "EqualNormals":
        """The same distribution with its batch broadcast."""
        shape = torch.Size(batch_shape) + self.loc.shape[-4:]
        return EqualNormals(self.loc.expand(shape), self.scale.expand(shape))

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """(*sample_shape, *batch, *event)."""
        batch = torch.Size(sample_shape) + self.batch_shape
        components = self.loc.shape[-4]
        uniform = torch.rand(batch, dtype=self.loc.dtype, device=self.loc.device)
        chosen = (uniform * components).long().clamp(max=components - 1)
        index = chosen.reshape(*batch, 1, 1, 1, 1).expand(*batch, 1, *self.event_shape)
        whole = batch + self.loc.shape[-4:]
        loc, scale = (
            x.expand(whole).gather(-4, index)[..., 0, :, :, :] for x in (self.loc, self.scale)
        )
        return loc + scale * torch.randn_like(loc)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*batch, *event) -> (*batch), nats."""
        score = ((value[..., None, :, :, :] - self.loc) / self.scale) ** 2 + 2 * self.scale.log()
        each = -0.5 * (score + math.log(2 * math.pi)).sum((-3, -2, -1))
        return each.logsumexp(-1) - math.log(self.loc.shape[-4])

    @property
    def mean(self) -> Tensor:
        """(*batch, *event)."""
        return self.loc.mean(-4)

    @property
    def variance(self) -> Tensor:
        """(*batch, *event)."""
        return self.scale.square().mean(-4) + self.loc.var(-4, correction=0)
