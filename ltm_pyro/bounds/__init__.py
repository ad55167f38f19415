"""Figures that may be called a likelihood, and the one that may not."""

from ltm_pyro.bounds.evaluation import BOUNDS, evaluate
from ltm_pyro.bounds.report import Figure, Report, differences, paired_difference
from ltm_pyro.bounds.sandwich import Sandwich, sandwich

__all__ = [
    "BOUNDS",
    "Figure",
    "Report",
    "Sandwich",
    "differences",
    "evaluate",
    "paired_difference",
    "sandwich",
]
