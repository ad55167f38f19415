"""Guides: per-document approximate posteriors over thoughts, living as long as their batch."""

from ltm_pyro.guides.amortized import Amortized, SemiAmortized
from ltm_pyro.guides.auto import Auto
from ltm_pyro.guides.base import Guide, NoGuide
from ltm_pyro.guides.covariance import Covariance
from ltm_pyro.guides.flow import Flow
from ltm_pyro.guides.layerwise import Layerwise
from ltm_pyro.guides.mean_field import MeanField
from ltm_pyro.guides.mixture import Mixture
from ltm_pyro.guides.point import LaplaceApproximation, Point
from ltm_pyro.guides.sampled import Hamiltonian, Langevin, Sampler, Stein

__all__ = [
    "Amortized",
    "Auto",
    "Covariance",
    "Flow",
    "Guide",
    "Hamiltonian",
    "Langevin",
    "LaplaceApproximation",
    "Layerwise",
    "MeanField",
    "Mixture",
    "NoGuide",
    "Point",
    "Sampler",
    "SemiAmortized",
    "Stein",
]
