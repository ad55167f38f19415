"""Normal guides with dependence between the dimensions of a document."""

import math
from typing import Literal

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.guides.base import Guide
from ltm_pyro.guides.blocks import Blocks
from ltm_pyro.options import Count, checked
from ltm_pyro.seeds import generator

LARGEST = 2048
"""Dimensions of a block for which a full covariance is held; 16 MB a document, four times with
Adam's state and the gradient."""


class Covariance(Guide):
    """q(z_d) = N(loc_d, Sigma_d), with a full or a low-rank-plus-diagonal Sigma_d.

    It starts at N(0, I) (with a rank: very near it, for at no dependence at all its gradient is
    zero). Off-diagonal parameters are in units that grow with the root of the block's size, so that
    a step of the fast loop moves a draw by about as much as in `MeanField`, whatever the size.

    Args:
        thoughts: layers, slots and size of the thoughts.
        batch_size: number of documents.
        scope: what depends on what: all dimensions of a `document`, or those of a `layer`.
        rank: Sigma = W W' + diagonal, with W of this many columns; None for a full Sigma.

    Raises:
        InputError: for a full covariance of more than 2048 dimensions, or a rank out of range.
    """

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        batch_size: int,
        scope: Literal["document", "layer"] = "document",
        rank: Count | None = None,
    ):
        super().__init__(thoughts, batch_size)
        blocks = thoughts.layers if scope == "layer" else 1
        size = math.prod(thoughts.shape) // blocks
        if rank is None and size > LARGEST:
            raise InputError(
                f"a full covariance of {size} dimensions: expected at most {LARGEST}; "
                "choose scope='layer', a rank (such as rank=8), or MeanField"
            )
        if rank is not None and rank > size:
            raise InputError(f"rank is {rank}: expected 1 to {size}, the dimensions of a {scope}")
        self.scope, self.rank = scope, rank
        self.loc = nn.Parameter(torch.zeros(batch_size, blocks, size))
        if rank is None:
            self.factor = nn.Parameter(torch.zeros(batch_size, blocks, size, size))
        else:
            # The same start for every document, and for every batch.
            start = 0.3 * torch.randn(blocks, size, rank, generator=generator(0))
            self.factor = nn.Parameter(start.repeat(batch_size, 1, 1, 1))
            left = (1 - start.square().mean(-1) / size).log()
            self.log_variance = nn.Parameter(left.repeat(batch_size, 1, 1))

    def distribution(self) -> TorchDistribution:
        """Batch shape (documents,), event shape (layers, slots, dim)."""
        if self.rank is None:
            normal = dist.MultivariateNormal(
                self.loc, scale_tril=self.scale_tril(), validate_args=False
            )
        else:
            columns = self.factor * (self.rank * self.factor.shape[-2]) ** -0.5
            normal = dist.LowRankMultivariateNormal(
                self.loc, columns, self.log_variance.exp(), validate_args=False
            )
        return Blocks(normal, self.thoughts.shape)

    def scale_tril(self) -> Tensor:
        """Lower Cholesky factors of a full Sigma, (documents, blocks, size, size).

        Of `factor`, the diagonal holds logarithms of squares and the rest is in units of 1 / size.
        """
        diagonal = (0.5 * self.factor.diagonal(0, -2, -1)).exp()
        size = self.factor.shape[-1]
        return self.factor.tril(-1) * size**-1 + torch.diag_embed(diagonal)

    @torch.no_grad()
    def natural_gradient(self) -> None:
        """Multiply the gradients by the inverse Fisher matrix of q, in place; for a full Sigma.

        With dL = L A for lower-triangular A, KL(q || q + dq) is |A off the diagonal|^2 / 2 plus
        |A on the diagonal|^2, so Fisher's matrix is diagonal in A (cf. Tan 2021,
        arXiv:2109.00375); the rest is the chain rule from A to `factor` and back. No matrix is
        inverted.
        """
        if self.rank is not None:
            raise InputError(
                "Covariance with a rank does not know its Fisher information: choose rank=None, "
                "MeanField, or Adam"
            )
        if self.loc.grad is None or self.factor.grad is None:
            return
        scale = self.scale_tril()
        half = self.loc.grad[..., None, :] @ scale
        self.loc.grad.copy_((scale @ half.mT)[..., 0])
        units = torch.full_like(scale, 1 / scale.shape[-1])  # d scale / d factor
        units.diagonal(0, -2, -1).copy_(0.5 * scale.diagonal(0, -2, -1))
        along = (scale.mT @ (self.factor.grad / units)).tril()
        along.diagonal(0, -2, -1).mul_(0.5)
        self.factor.grad.copy_((scale @ along) / units)
