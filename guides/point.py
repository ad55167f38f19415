"""The most probable thoughts, and the normal around them."""

import functools
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ltm_pyro.config import Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.guides.base import Guide
from ltm_pyro.guides.blocks import Blocks
from ltm_pyro.options import Positive, checked
from ltm_pyro.programs.densities import log_joint

LARGEST = 1024
"""Dimensions of a document for which a Hessian is computed: a backward pass each."""


class Point(Guide):
    """A single point for each document: the fast loop then ascends log p(x, z), which is MAP.

    It has no density, so nothing that is reported of it is a bound. It starts at zero.
    """

    has_density = False

    def __init__(self, thoughts: Thoughts, batch_size: int):
        super().__init__(thoughts, batch_size)
        self.loc = nn.Parameter(torch.zeros(batch_size, *thoughts.shape))

    def distribution(self) -> TorchDistribution:
        """The point; batch shape (documents,), event shape (layers, slots, dim)."""
        return dist.Delta(self.loc, event_dim=3, validate_args=False)


class LaplaceApproximation(Guide):
    """q(z_d) = N(mode_d, H_d^-1), H_d the Hessian of -log p(x_d, z) at the mode.

    The fast loop fits the mode as `Point` does; the normal is made when it has ended. Where the
    loop ends short of the mode, or on a ridge, H_d may have small or negative eigenvalues: those
    below `floor` are raised to it, so no direction is wider than 1 / sqrt(floor).

    Args:
        thoughts: layers, slots and size of the thoughts.
        batch_size: number of documents.
        floor: least eigenvalue of H; the prior N(0, I) by itself has 1 in every direction.

    Raises:
        InputError: for more than 1024 dimensions, or a floor that is not above 0.
    """

    scale_tril: Tensor | None

    @checked
    def __init__(self, thoughts: Thoughts, batch_size: int, floor: Positive = 0.1):
        super().__init__(thoughts, batch_size)
        size = thoughts.count * thoughts.dim
        if size > LARGEST:
            raise InputError(
                f"a Hessian of {size} dimensions: expected at most {LARGEST}; choose MeanField, or "
                "Covariance with a rank"
            )
        self.floor = floor
        self.loc = nn.Parameter(torch.zeros(batch_size, *thoughts.shape))
        self.register_buffer("scale_tril", None)

    def distribution(self) -> TorchDistribution:
        """A point until the loop has ended, then the normal."""
        if self.scale_tril is None:
            return dist.Delta(self.loc, event_dim=3, validate_args=False)
        loc = self.loc.flatten(1)[:, None]
        normal = dist.MultivariateNormal(loc, scale_tril=self.scale_tril, validate_args=False)
        return Blocks(normal, self.thoughts.shape)

    def finish(self, model: Any, batch: Rows) -> None:
        """Set `scale_tril`, (documents, 1, size, size), from the Hessians at the mode."""
        hessian = -log_joint_hessian(model, self.loc.detach(), batch).double()
        values, vectors = torch.linalg.eigh(hessian)
        root = vectors * values.clamp(min=self.floor).rsqrt()[:, None]
        # With covariance R R', the triangular factor of the QR decomposition of R' is its
        # Cholesky factor but for signs.
        upper = torch.linalg.qr(root.mT).R
        lower = (upper * upper.diagonal(0, -2, -1).sign()[..., None]).mT
        self.scale_tril = lower[:, None].to(self.loc.dtype)


def log_joint_hessian(model: Any, z: Tensor, batch: Rows) -> Tensor:
    """Second derivatives of log p(x_d, z_d) in z_d: (documents, layers, ...) -> (documents, D, D).

    Documents are independent, so a backward pass gives one row of all documents' matrices.
    """
    fixed = functools.partial(model, prelude=model.read(batch))
    # Of torch's attentions, the one made of plain products can be differentiated twice.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        z = z.clone().requires_grad_()
        value = sum(log_joint(fixed, {"z": z[None]}, batch))
        (gradient,) = torch.autograd.grad(value.sum(), z, create_graph=True)  # type: ignore[union-attr]
        rows = [
            torch.autograd.grad(entry.sum(), z, retain_graph=True)[0].flatten(1)
            for entry in gradient.flatten(1).unbind(1)
        ]
    found = torch.stack(rows, 1)
    return (found + found.mT) / 2
