"""Fitting local guides fast and global weights slowly."""

from ltm_pyro.inference.dual_rate import DualRateSVI
from ltm_pyro.inference.hierarchical import Hierarchical, SharedNormal
from ltm_pyro.inference.history import Fit, StepReport, StopTraining
from ltm_pyro.inference.local import InnerLoop, fit_guide
from ltm_pyro.inference.posterior import Posterior
from ltm_pyro.inference.speaking import SpeakThenThink

__all__ = [
    "DualRateSVI",
    "Fit",
    "Hierarchical",
    "InnerLoop",
    "Posterior",
    "SharedNormal",
    "SpeakThenThink",
    "StepReport",
    "StopTraining",
    "fit_guide",
]
