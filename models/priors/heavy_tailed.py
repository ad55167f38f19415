"""Independent priors with heavier tails than the normal's."""

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.models.priors.base import Prior
from ltm_pyro.options import Positive, checked


class _Scaled(Prior):
    """Centred at 0, with one scale for all dimensions or a learned one for each."""

    @checked
    def __init__(self, thoughts: Thoughts, scale: Positive, learned: bool):
        super().__init__(thoughts)
        self.scale, self.learned = scale, learned
        if learned:
            self.log_scale = nn.Parameter(torch.full(self.shape, float(scale)).log())

    def _scales(self) -> Tensor:
        if self.learned:
            return self.log_scale.exp()
        return (self.anchor + self.scale).expand(self.shape)


class StudentT(_Scaled):
    """Student's t in every dimension: outlying thoughts cost log, not square, of their distance.

    Args:
        thoughts: shape of z.
        degrees: degrees of freedom; the variance is scale^2 degrees / (degrees - 2), and infinite
            for 2 or fewer.
        scale: of every dimension (at the start, if it is learned).
        learned: learn a scale (layers, slots, dim) of each dimension's own.
    """

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        degrees: Positive = 4.0,
        scale: Positive = 1.0,
        learned: bool = False,
    ):
        super().__init__(thoughts, scale, learned)
        self.degrees = degrees

    def distribution(self) -> TorchDistribution:
        """Event shape (layers, slots, dim)."""
        degrees = self.anchor + self.degrees
        return dist.StudentT(degrees, self.anchor, self._scales(), validate_args=False).to_event(3)


class Laplace(_Scaled):
    """Laplace's distribution in every dimension: the most probable thoughts are sparse.

    Its draws are not: no dimension of one is exactly 0. The variance is 2 scale^2.

    Args:
        thoughts: shape of z.
        scale: mean absolute value of every dimension (at the start, if it is learned).
        learned: learn a scale (layers, slots, dim) of each dimension's own.
    """

    @checked
    def __init__(self, thoughts: Thoughts, scale: Positive = 1.0, learned: bool = False):
        super().__init__(thoughts, scale, learned)

    def distribution(self) -> TorchDistribution:
        """Event shape (layers, slots, dim)."""
        scale = self._scales()
        return dist.Laplace(self.anchor.expand_as(scale), scale, validate_args=False).to_event(3)
