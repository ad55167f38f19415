"""Priors over thoughts. A new one is a class with a `distribution`; it may own parameters."""

from typing import Any

from ltm_pyro.models.priors.base import Prior
from ltm_pyro.names import members

__all__ = ["Prior"]  # and every prior there is
globals().update(members(__name__, Prior))
__all__ += members(__name__, Prior)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
