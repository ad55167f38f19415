"""A normal guide that goes through the layers, as the decoder does."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.guides.base import Guide
from ltm_pyro.guides.covariance import LARGEST


class Layerwise(Guide):
    """q(z) = q(z_0) q(z_1 | z_0) ... q(z_L-1 | z_0, ..., z_L-2), one site a layer.

    Each factor is a normal with independent dimensions, whose mean is linear in all earlier
    layers' thoughts, with coefficients of the document's own. It starts at N(0, I).

    The coefficients are in units of the root of the number of inputs, so that a step of the fast
    loop moves a mean by about as much whatever the size.

    Args:
        thoughts: layers, slots and size of the thoughts.
        batch_size: number of documents.

    Raises:
        InputError: where a document's thoughts have more than 2048 dimensions.
    """

    def __init__(self, thoughts: Thoughts, batch_size: int):
        super().__init__(thoughts, batch_size)
        size = thoughts.slots * thoughts.dim
        if thoughts.layers > 1 and thoughts.layers * size > LARGEST:
            raise InputError(
                f"layers that depend on one another, {thoughts.layers * size} dimensions: expected "
                f"at most {LARGEST}; choose Covariance with a rank, or MeanField"
            )
        shape = (batch_size, *thoughts.shape)
        self.loc = nn.Parameter(torch.zeros(shape))
        self.log_variance = nn.Parameter(torch.zeros(shape))
        self.weights = nn.ParameterList(
            torch.zeros(batch_size, size, layer * size) for layer in range(1, thoughts.layers)
        )

    def forward(self, batch: Rows) -> Tensor:
        """Sample `z_0`, `z_1`, ...: returns z, (*plates, documents, layers, slots, dim)."""
        parts: list[Tensor] = []
        scale = (0.5 * self.log_variance).exp()
        with pyro.plate("documents", self.batch_size, dim=-1):
            for layer in range(self.thoughts.layers):
                mean = self.loc[:, layer]
                if parts:
                    earlier = torch.cat([part.flatten(-2) for part in parts], -1)
                    weight = self.weights[layer - 1]
                    weight = weight * math.prod(weight.shape[-2:]) ** -0.5
                    shift = (weight @ earlier[..., None])[..., 0]
                    mean = mean + shift.unflatten(-1, mean.shape[-2:])
                factor = dist.Normal(mean, scale[:, layer], validate_args=False).to_event(2)
                parts.append(pyro.sample(f"z_{layer}", factor))
        return torch.stack(parts, dim=-3)
