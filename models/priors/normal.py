"""Normal priors: the paper's, and one that learns where thoughts live."""

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import nn

from ltm_pyro.config import Thoughts
from ltm_pyro.models.priors.base import Prior


class StandardNormal(Prior):
    """Independent N(0, 1) in every dimension, the paper's default."""

    def distribution(self) -> TorchDistribution:
        """N(0, I) of event shape (layers, slots, dim)."""
        one = self.anchor + 1
        return dist.Normal(self.anchor, one, validate_args=False).expand(self.shape).to_event(3)


class LearnedNormal(Prior):
    """Independent normals whose locations and scales are learned, starting at N(0, I).

    Both have shape (layers, slots, dim). A change of variables could do the same inside the
    decoder, so what this adds is where the KL is measured from, not what can be expressed.
    """

    def __init__(self, thoughts: Thoughts):
        super().__init__(thoughts)
        self.loc = nn.Parameter(torch.zeros(self.shape))
        self.log_scale = nn.Parameter(torch.zeros(self.shape))

    def distribution(self) -> TorchDistribution:
        """N(loc, diag exp(2 log_scale)) of event shape (layers, slots, dim)."""
        return dist.Normal(self.loc, self.log_scale.exp(), validate_args=False).to_event(3)
