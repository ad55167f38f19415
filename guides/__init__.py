"""Guides: per-document approximate posteriors over thoughts, living as long as their batch."""

from typing import Any

from ltm_pyro.guides.base import Guide, NoGuide
from ltm_pyro.guides.sampled import Sampler
from ltm_pyro.names import members

__all__ = ["Guide", "NoGuide", "Sampler"]  # and every guide there is
globals().update(members(__name__, Guide))
__all__ += sorted(members(__name__, Guide).keys() - set(__all__))


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
