"""Distributions over a document's dimensions taken together, or in blocks."""

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import Independent, Normal, register_kl


class Blocks(TorchDistribution):
    """Independent blocks of dimensions, with any dependence within a block, as one event.

    Args:
        base: of batch shape (*batch, blocks) and event shape (size,).
        event_shape: the shape of a draw, blocks x size numbers in all, such as
            (layers, slots, dim).
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, base: Any, event_shape: Any):
        self.base = base
        super().__init__(base.batch_shape[:-1], torch.Size(event_shape), validate_args=False)

    @property
    def support(self) -> Any:
        """Real tensors of the event's shape."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Blocks":
        """The same distribution with its batch broadcast."""
        blocks = self.base.batch_shape[-1:]
        return Blocks(self.base.expand(torch.Size(batch_shape) + blocks), self.event_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """(*sample_shape, *batch, *event)."""
        return self._event(self.base.rsample(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """(*batch, *event) -> (*batch), nats."""
        blocks = (*self.base.batch_shape[-1:], *self.base.event_shape)
        flat = value.reshape(*value.shape[: value.dim() - len(self.event_shape)], *blocks)
        return self.base.log_prob(flat).sum(-1)

    @property
    def mean(self) -> Tensor:
        """(*batch, *event)."""
        return self._event(self.base.mean)

    @property
    def variance(self) -> Tensor:
        """Of each dimension by itself, (*batch, *event)."""
        return self._event(self.base.variance)

    def entropy(self) -> Tensor:
        """(*batch), nats."""
        return self.base.entropy().sum(-1)

    def _event(self, values: Tensor) -> Tensor:
        return values.reshape(*values.shape[:-2], *self.event_shape)


@register_kl(Blocks, Independent)
def _kl_from_independent_normals(q: Blocks, p: Independent) -> Tensor:
    """KL(q || p) for a p of independent normals: it needs q's entropy and two moments alone."""
    single = p.base_dist
    if not isinstance(single, Normal) or p.event_shape != q.event_shape:
        raise NotImplementedError
    apart = (q.variance + (q.mean - single.loc) ** 2) / single.scale**2
    cross = 0.5 * apart + single.scale.log() + 0.5 * math.log(2 * math.pi)
    return cross.sum(tuple(range(-len(q.event_shape), 0))) - q.entropy()
