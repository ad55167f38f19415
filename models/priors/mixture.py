"""Mixtures of normals over a document's thoughts."""

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ltm_pyro.config import Thoughts
from ltm_pyro.models.priors.base import Prior
from ltm_pyro.options import Count, Share, checked


class NormalMixture(TorchDistribution):
    """sum_k w_k N(loc_k, diag scale_k^2) over an event of any shape, normalised exactly.

    Unlike torch's `MixtureSameFamily` it draws from the chosen component only, and its support is
    the reals by name, which NUTS asks for.

    Args:
        logits: shape (components,); w = softmax(logits).
        loc, scale: shape (components, *event).
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(
        self, logits: Tensor, loc: Tensor, scale: Tensor, batch_shape: tuple[int, ...] = ()
    ):
        self.logits, self.loc, self.scale = logits, loc, scale
        super().__init__(torch.Size(batch_shape), loc.shape[1:], validate_args=False)

    @constraints.dependent_property
    def support(self) -> Any:
        """All real arrays of the event's shape."""
        dims = len(self.event_shape)
        return constraints.independent(constraints.real, dims) if dims else constraints.real

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> "NormalMixture":
        """The same mixture, drawn independently for each element of `batch_shape`."""
        return NormalMixture(self.logits, self.loc, self.scale, batch_shape)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Exact draws, (*sample_shape, *batch, *event)."""
        shape = self._extended_shape(sample_shape)
        plates = shape[: len(shape) - len(self.event_shape)]
        like: Any = {"dtype": self.loc.dtype, "device": self.loc.device}
        with torch.no_grad():
            # Element by element, so that each document can have a stream of its own.
            steps = self.logits.softmax(0).cumsum(0)[:-1]
            chosen = torch.bucketize(torch.rand(plates, **like), steps, right=True)
            return self.loc[chosen] + self.scale[chosen] * torch.randn(shape, **like)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, nats, shape (*sample, *batch)."""
        dims = len(self.event_shape)
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape + (1,) * dims))
        scaled = (value.unsqueeze(-dims - 1) - self.loc) / self.scale
        each = -0.5 * scaled.square() - self.scale.log() - 0.5 * math.log(2 * math.pi)
        summed = each.flatten(-dims).sum(-1) if dims else each
        return (summed + self.logits.log_softmax(0)).logsumexp(-1)


def spread_out(components: int, shape: tuple[int, ...], spread: float) -> tuple[Tensor, float]:
    """Locations from N(0, spread^2 I), and the scale that gives the mixture unit variance."""
    return spread * torch.randn(components, *shape), math.sqrt(1 - spread**2)


class Mixture(Prior):
    """A mixture of diagonal normals over the whole of a document's z; everything is learned.

    Its parameters are `logits` (components,), `loc` and `log_scale` (components, layers, slots,
    dim). Locations start apart (drawn from torch's global generator, as weights are), for
    components that start alike stay alike.

    Args:
        thoughts: shape of z.
        components: number of normals.
        spread: standard deviation of the locations at the start. Scales start at
            sqrt(1 - spread^2), so that each dimension has unit variance over the mixture.
    """

    @checked
    def __init__(self, thoughts: Thoughts, components: Count = 8, spread: Share = 0.5):
        super().__init__(thoughts)
        self.components, self.spread = components, spread
        loc, scale = spread_out(components, self.shape, spread)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(loc)
        self.log_scale = nn.Parameter(torch.full_like(loc, math.log(scale)))

    def distribution(self) -> TorchDistribution:
        """The mixture, of event shape (layers, slots, dim)."""
        return NormalMixture(self.logits, self.loc, self.log_scale.exp())
