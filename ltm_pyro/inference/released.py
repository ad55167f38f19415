"""The protocol of the authors' released code, whole, to be compared with. It gives no bound."""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ltm_pyro.config import Config, Fast, Named, Slow
from ltm_pyro.guides.mean_field import MeanField
from ltm_pyro.inference.dual_rate import DualRateSVI
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import checked
from ltm_pyro.seeds import Noise

LOG_VARIANCE = -5.0
"""Where the released code starts every log variance."""


@dataclass(frozen=True)
class Released(Fast):
    """The fast loop of the authors' released code (Kong et al. 2025).

    All steps of a fit see one draw, and in training so does the slow step: the fit adapts to that
    draw, and what is scored with it is not a bound. The decoder's gradients of the fast steps are
    left where they are, and the slow step descends their sum with its own.
    """

    leaks: ClassVar[bool] = True

    def draws(self, seed: int, keys: Tensor) -> Noise:
        """One draw for every step."""
        return Noise(seed, keys, fixed=True)

    @classmethod
    @checked
    def of(cls, config: Config) -> Config:
        """A configuration under the released protocol: its loop, and log variances from -5."""
        guide = Named("mean-field", {"log_variance": LOG_VARIANCE})
        return config.replace(guide=guide, fast=cls(config.fast.steps))

    @classmethod
    def svi(
        cls, model: TextModel, steps: int = 16, slow: Slow | None = None, seed: int = 0
    ) -> DualRateSVI:
        """Training of a model under the released protocol."""
        guide: Any = functools.partial(MeanField, log_variance=LOG_VARIANCE)
        return DualRateSVI(model, guide, cls(steps), slow, seed=seed)


released_protocol = Released.of
