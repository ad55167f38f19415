"""A guide that bends: a normalizing flow for each document. It needs zuko."""

import importlib
import math
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.guides.base import Guide
from ltm_pyro.options import Count, checked
from ltm_pyro.seeds import generator

Parameters = tuple[tuple[Tensor, ...], ...]
BOUND = 5.0
"""Splines bend the noise between -5 and 5, and leave the rest of the line as it is."""
SLOPE = 1e-2
"""The least slope of a spline; the most is its inverse."""


def units(size: int) -> tuple[float, float]:
    """In what units splines and shears of this many dimensions are parameterised.

    The noise in their many gradients must not outweigh a location and a scale that are fitted at
    the same rate, and it grows with the number of dimensions.
    """
    return min(0.1, 0.5 * size**-0.5), min(1.0, 4.0 * size**-0.5)


class Flow(Guide):
    """q(z_d) is the law of f_d(e), e standard normal, f_d an invertible map of the document's own.

    f_d is a chain of `transforms`, each a monotonic rational-quadratic spline in every dimension
    (Durkan et al. 2019) and two shears that make dimensions depend on one another: one half of
    them is shifted by a function of the other (Dinh et al. 2015), a layer of `hidden` units of
    which half are linear and half a tanh; then the other way round. A location and a scale come
    last. It starts at the identity, so q at N(0, I).

    Args:
        thoughts: layers, slots and size of the thoughts.
        batch_size: number of documents.
        transforms: length of the chain.
        bins: pieces of a spline.
        hidden: units of a shear.

    Raises:
        InputError: if zuko is not installed, or for an option that is not a positive number.
    """

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        batch_size: int,
        transforms: Count = 2,
        bins: Annotated[int, Ge(2)] = 8,
        hidden: Count = 8,
    ):
        super().__init__(thoughts, batch_size)
        _spline()
        size = math.prod(thoughts.shape)
        # Units read with weights that start at random, and add with weights that start at zero: if
        # both did, neither would have a gradient. The same start for every document.
        source = generator(0)
        reads = torch.randn(transforms, 2, (size + 1) // 2, hidden, generator=source)
        offsets = torch.randn(transforms, 2, hidden, generator=source)
        self.reads = nn.Parameter(reads.repeat(batch_size, 1, 1, 1, 1))
        self.offsets = nn.Parameter(offsets.repeat(batch_size, 1, 1, 1))
        self.adds = nn.Parameter(torch.zeros_like(self.reads))
        shape = (batch_size, transforms, size)
        self.widths = nn.Parameter(torch.zeros(*shape, bins))
        self.heights = nn.Parameter(torch.zeros(*shape, bins))
        self.slopes = nn.Parameter(torch.zeros(*shape, bins - 1))
        self.loc = nn.Parameter(torch.zeros(batch_size, size))
        self.log_variance = nn.Parameter(torch.zeros(batch_size, size))

    def distribution(self) -> TorchDistribution:
        """Batch shape (documents,), event shape (layers, slots, dim)."""
        splines = (self.widths, self.heights, self.slopes)
        shears = (self.reads, self.offsets, self.adds)
        return _Bent(
            (splines, shears, (self.loc, self.log_variance)),
            torch.Size([self.batch_size]),
            torch.Size(self.thoughts.shape),
        )


class _Bent(TorchDistribution):
    """The law of f(e).

    Args:
        parameters: of splines, shears, and the last location and log variance; leading dimension
            documents.
        batch: batch shape, documents last.
        event: (layers, slots, dim).
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True
    support = constraints.independent(constraints.real, 3)

    def __init__(self, parameters: Parameters, batch: torch.Size, event: torch.Size):
        self.parameters = parameters
        super().__init__(batch, event, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_Bent":
        """The same distribution with particles before its documents."""
        return _Bent(self.parameters, torch.Size(batch_shape), self.event_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """(*sample_shape, *batch, *event)."""
        loc = self.parameters[-1][0]
        shape = torch.Size(sample_shape) + self.batch_shape + loc.shape[-1:]
        noise = torch.randn(shape, dtype=loc.dtype, device=loc.device)
        return _Map(*self.parameters).forward(noise).unflatten(-1, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*batch, *event) -> (*batch), nats.

        The map is inverted in fp64: where a spline is steep its inverse would lose digits.
        """
        wide = value.dtype if value.device.type == "mps" else torch.float64
        chain = _Map(*(tuple(p.to(wide) for p in part) for part in self.parameters))
        noise, log_det = chain.inverse(value.to(wide).flatten(-3))
        log_normal = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(-1)
        return (log_normal - log_det).to(value.dtype)


class _Map:
    """f, with x and z of shape (..., documents, D)."""

    def __init__(
        self, splines: tuple[Tensor, ...], shears: tuple[Tensor, ...], last: tuple[Tensor, ...]
    ):
        spline, (unit, self.unit) = _spline(), units(last[0].shape[-1])
        self.splines = [
            spline(*(unit * part[:, i] for part in splines), bound=BOUND, slope=SLOPE)
            for i in range(splines[0].shape[1])
        ]
        self.shears = shears
        self.loc, self.log_scale = last[0], 0.5 * last[1]

    def forward(self, x: Tensor) -> Tensor:
        """x -> z."""
        for i, spline in enumerate(self.splines):
            x = spline(x)
            x = self._sheared(x, i, 0, 1)
            x = self._sheared(x, i, 1, 1)
        return self.loc + self.log_scale.exp() * x

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z -> x, and the log-determinant of the way from x to z."""
        log_det = self.log_scale.sum(-1)
        x = (z - self.loc) * (-self.log_scale).exp()
        for i, spline in reversed(list(enumerate(self.splines))):
            x = self._sheared(x, i, 1, -1)
            x = self._sheared(x, i, 0, -1)
            x = spline.inv(x)
            log_det = log_det + spline.call_and_ladj(x)[1].sum(-1)
        return x, log_det

    def _sheared(self, x: Tensor, i: int, half: int, sign: int) -> Tensor:
        """Every other dimension, from `half` on, is read; its shift is added to the rest."""
        given, moved = x[..., half::2], x[..., 1 - half :: 2]
        reads, offsets, adds = (part[:, i, half] for part in self.shears)
        hidden = offsets.shape[-1]
        inner = (given[..., None, :] @ reads[:, : given.shape[-1]])[..., 0, :]
        inner = inner * max(1, given.shape[-1]) ** -0.5
        bent = torch.tanh(inner + offsets)
        inner = torch.where(torch.arange(hidden, device=x.device) % 2 == 0, inner, bent)
        shift = (adds[:, : moved.shape[-1]] @ inner[..., None])[..., 0]
        moved = moved + sign * self.unit * (hidden * max(1, moved.shape[-1])) ** -0.5 * shift
        both = (given, moved) if half == 0 else (moved, given)
        if x.shape[-1] % 2 == 0:
            return torch.stack(both, -1).flatten(-2)
        whole = torch.empty_like(x)
        whole[..., half::2], whole[..., 1 - half :: 2] = given, moved
        return whole


def _spline() -> Any:
    try:
        return importlib.import_module("zuko.transforms").MonotonicRQSTransform
    except ImportError:
        raise InputError("Flow needs zuko: pip install 'ltm_pyro[flows]'") from None
