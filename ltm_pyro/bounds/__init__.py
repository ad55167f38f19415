"""Figures that may be called a likelihood, and the one that may not.

A figure is a function under `@figure` in a file of this folder.
"""

import importlib
import pkgutil

from ltm_pyro.bounds.certificate import Certificate
from ltm_pyro.bounds.certify import certify
from ltm_pyro.bounds.compare import compare
from ltm_pyro.bounds.estimate import BOUNDS
from ltm_pyro.bounds.evaluation import evaluate
from ltm_pyro.bounds.figures import Figure
from ltm_pyro.bounds.given_text import GivenText, given_text
from ltm_pyro.bounds.report import Report, differences, paired_difference
from ltm_pyro.bounds.sandwich import Sandwich, sandwich
from ltm_pyro.bounds.tax import Tax, taxes

__all__ = [
    "BOUNDS",
    "Certificate",
    "Figure",
    "GivenText",
    "Report",
    "Sandwich",
    "Tax",
    "certify",
    "compare",
    "differences",
    "evaluate",
    "given_text",
    "paired_difference",
    "sandwich",
    "taxes",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
