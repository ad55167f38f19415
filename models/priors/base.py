"""What a prior is."""

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ltm_pyro.config import Thoughts


class Prior(nn.Module):
    """p(z) of one document; the plate of documents is the model's.

    A subclass defines `distribution`, or samples one site a layer in a `forward` of its own.
    Constructor arguments beyond `thoughts` are kept as attributes of the same name, so that a
    saved model can be built again.
    """

    anchor: Tensor

    def __init__(self, thoughts: Thoughts):
        super().__init__()
        self.thoughts = thoughts
        # Follows the module to its device and dtype; holds no state of its own.
        self.register_buffer("anchor", torch.zeros(()), persistent=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a draw: (layers, slots, dim)."""
        return self.thoughts.shape

    def distribution(self) -> TorchDistribution:
        """p(z), with event shape (layers, slots, dim) and no batch shape."""
        raise TypeError(f"{type(self).__name__} does not define distribution()")

    def slow_loss(self) -> Tensor | None:
        """What the prior is also to descend in the slow step, nats a row: () or (documents,)."""
        return None

    def forward(self) -> Tensor:
        """Sample the site `z` inside the model's plate: (*plates, layers, slots, dim)."""
        return pyro.sample("z", self.distribution())
