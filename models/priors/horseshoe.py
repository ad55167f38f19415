"""A finite horseshoe: most thoughts near 0, a few far from it."""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Le
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.models.priors.base import Prior
from ltm_pyro.models.priors.mixture import NormalMixture
from ltm_pyro.options import Count, Positive, checked

MOST_NODES = 1000
"""More than fp32 can tell apart; they are found as eigenvalues of a matrix of this size."""


class Horseshoe(Prior):
    """In every dimension a finite scale mixture of normals that approximates the horseshoe.

    The horseshoe (Carvalho, Polson & Scott 2010) is z ~ N(0, (tau lambda)^2) with lambda half
    Cauchy, lambda = tan(pi u / 2) with u uniform. Its density is an exponential integral, which
    torch lacks. Here u takes the K Gauss-Legendre nodes u_k of (0, 1) with their weights w_k:

        p(z) = sum_k w_k N(z; 0, (tau tan(pi u_k / 2))^2)

    **That is a distribution in its own right, not a horseshoe**: density and draws are exactly
    those of the finite mixture, so every figure stays valid, and lambda needs no site or guide of
    its own. It differs from the horseshoe where the finest and widest nodes end: its density at 0
    is finite (the horseshoe's grows like log 1/|z|), and its tails fall like a normal's beyond the
    widest scale, `widest`, instead of like 1/z^2. With 24 nodes the log densities lie within 0.09
    nats of each other for |z| / tau from 0.001 to 100.

    Args:
        thoughts: shape of z.
        scale: tau, the global scale (at the start, if it is learned).
        nodes: K; more nodes follow the horseshoe closer to 0 and further out.
        learned: learn tau, one number for all dimensions.
    """

    local_scales: Tensor
    log_weights: Tensor

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        scale: Positive = 1.0,
        nodes: Annotated[Count, Le(MOST_NODES)] = 24,
        learned: bool = False,
    ):
        super().__init__(thoughts)
        self.scale, self.nodes, self.learned = scale, nodes, learned
        places, weights = np.polynomial.legendre.leggauss(nodes)  # on (-1, 1), weights sum to 2
        local = torch.tensor(np.tan(np.pi * (places + 1) / 4), dtype=self.anchor.dtype)
        logs = torch.tensor(np.log(weights / 2), dtype=self.anchor.dtype)
        self.register_buffer("local_scales", local, persistent=False)
        self.register_buffer("log_weights", logs, persistent=False)
        if learned:
            self.log_scale = nn.Parameter(torch.tensor(float(scale)).log())

    @property
    def widest(self) -> float:
        """The widest normal's standard deviation: beyond it the tails fall off."""
        return float(self._scales()[-1].detach())

    def _scales(self) -> Tensor:
        tau = self.log_scale.exp() if self.learned else self.scale
        return tau * self.local_scales

    def distribution(self) -> TorchDistribution:
        """Event shape (layers, slots, dim)."""
        scales = self._scales()
        each = NormalMixture(self.log_weights, torch.zeros_like(scales), scales)
        return each.expand(torch.Size(self.shape)).to_event(3)
