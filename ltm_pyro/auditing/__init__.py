"""Whether numbers called likelihoods are: an audit of estimators, and of recipes in use."""

from ltm_pyro.auditing.checks import CHECKS, Finding
from ltm_pyro.auditing.recipes import RECIPES, Recipe
from ltm_pyro.auditing.report import Audit, audit, explained, table

__all__ = ["CHECKS", "RECIPES", "Audit", "Finding", "Recipe", "audit", "explained", "table"]
