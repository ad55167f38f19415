"""Figures that may be called a likelihood, and the one that may not."""

from ltm_pyro.bounds.evaluation import BOUNDS, evaluate
from ltm_pyro.bounds.report import Figure, Report

__all__ = ["BOUNDS", "Figure", "Report", "evaluate"]
