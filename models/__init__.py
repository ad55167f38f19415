"""Models: a prior over thoughts and a likelihood of text, as Pyro programs."""

from ltm_pyro.models import decoders, priors
from ltm_pyro.models.autoregressive import AutoregressiveModel
from ltm_pyro.models.base import TextModel
from ltm_pyro.models.latent_thought import LatentThoughtModel
from ltm_pyro.models.linear_gaussian import LinearGaussianModel

__all__ = [
    "AutoregressiveModel",
    "LatentThoughtModel",
    "LinearGaussianModel",
    "TextModel",
    "decoders",
    "priors",
]
