"""Priors over thoughts. A new one is a class with a `distribution`; it may own parameters."""

from ltm_pyro.models.priors.base import Prior
from ltm_pyro.models.priors.conditional import Conditional
from ltm_pyro.models.priors.energy import EnergyTilt
from ltm_pyro.models.priors.flow import Flow
from ltm_pyro.models.priors.heavy_tailed import Laplace, StudentT
from ltm_pyro.models.priors.horseshoe import Horseshoe
from ltm_pyro.models.priors.layerwise import Layerwise
from ltm_pyro.models.priors.mixture import Mixture
from ltm_pyro.models.priors.normal import LearnedNormal, StandardNormal
from ltm_pyro.models.priors.vamp import VampPrior

__all__ = [
    "Conditional",
    "EnergyTilt",
    "Flow",
    "Horseshoe",
    "Laplace",
    "Layerwise",
    "LearnedNormal",
    "Mixture",
    "Prior",
    "StandardNormal",
    "StudentT",
    "VampPrior",
]
