"""A hierarchy over the decoder's layers."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.models.priors.base import Prior
from ltm_pyro.options import Count, checked


class Layerwise(Prior):
    """p(z) = p(z_0) prod_l p(z_l | z_<l): a layer's thoughts depend on those of the layers before.

    z_0 ~ N(0, I); mean and log scale of z_l come from a network of z_0 ... z_l-1 with one hidden
    layer of tanh units, so both stay bounded however far the thoughts lie. Its last layer starts
    at zero: the prior starts at N(0, I). A hierarchy as in ladder VAEs (Sonderby et al. 2016),
    over the decoder's layers from the first to the last.

    There is a site for each layer, `z_0 ... z_{L-1}`, of event shape (slots, dim).

    Args:
        thoughts: shape of z.
        hidden: units of each layer's network.
    """

    @checked
    def __init__(self, thoughts: Thoughts, hidden: Count = 64):
        super().__init__(thoughts)
        self.hidden = hidden
        size = thoughts.slots * thoughts.dim
        self.networks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(layer * size, hidden), nn.Tanh(), _zero(nn.Linear(hidden, 2 * size))
            )
            for layer in range(1, thoughts.layers)
        )

    def forward(self, batch: Rows | None = None) -> Tensor:
        """Sample `z_0`, `z_1`, ... in the model's plate: (*plates, layers, slots, dim)."""
        layers: list[Tensor] = []
        for layer in range(self.thoughts.layers):
            loc, log_scale = self.parameters_of(layer, layers)
            normal = dist.Normal(loc, log_scale.exp(), validate_args=False).to_event(2)
            layers.append(pyro.sample(f"z_{layer}", normal))
        return torch.stack(layers, dim=-3)

    def parameters_of(self, layer: int, before: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and log scale of z_l, (*plates, slots, dim), given those before it."""
        event = self.shape[1:]
        if layer == 0:
            return self.anchor.expand(event), self.anchor.expand(event)
        known = torch.cat([z.flatten(-2) for z in before], -1)
        loc, log_scale = self.networks[layer - 1](known).chunk(2, -1)
        return loc.unflatten(-1, event), log_scale.unflatten(-1, event)


def _zero(linear: nn.Linear) -> nn.Linear:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
