"""The fully factorised normal guide of the paper."""

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import nn

from ltm_pyro.config import Thoughts
from ltm_pyro.guides.base import Guide
from ltm_pyro.options import checked


class MeanField(Guide):
    """q(z_d) = N(loc_d, diag exp(log_variance_d)), independent over all dimensions.

    It starts at the standard normal, where the KL is zero and a document that says nothing about
    its thoughts can stay. A narrow start (the released code's is log variance -5) leaves a KL
    that a short loop cannot undo, whatever the text says.

    Args:
        thoughts: layers, slots and size of the thoughts.
        batch_size: number of documents.
        log_variance: where every log variance starts.
    """

    @checked
    def __init__(self, thoughts: Thoughts, batch_size: int, log_variance: float = 0.0):
        super().__init__(thoughts, batch_size)
        shape = (batch_size, *thoughts.shape)
        self.loc = nn.Parameter(torch.zeros(shape))
        self.log_variance = nn.Parameter(torch.full(shape, float(log_variance)))

    def distribution(self) -> TorchDistribution:
        """Batch shape (documents,), event shape (layers, slots, dim)."""
        scale = (0.5 * self.log_variance).exp()
        return dist.Normal(self.loc, scale, validate_args=False).to_event(3)

    def natural_gradient(self) -> None:
        """Multiply the gradients by the inverse Fisher matrix of q, in place."""
        to_natural(self.loc, self.log_variance)


@torch.no_grad()
def to_natural(loc: nn.Parameter, log_variance: nn.Parameter) -> None:
    """Turn the gradients of independent normals' parameters into natural ones, in place.

    Fisher's information is 1 / sigma^2 for a location and 1 / 2 for a log variance.
    """
    if loc.grad is not None:
        loc.grad.mul_(log_variance.exp())
    if log_variance.grad is not None:
        log_variance.grad.mul_(2)
