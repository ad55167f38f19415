"""Decoders: token sequences given thoughts, p(x | z). A new one is a class in a file here."""

from typing import Any

from ltm_pyro.models.decoders.base import Decoder
from ltm_pyro.names import members

__all__ = ["Decoder"]  # and every decoder there is
globals().update(members(__name__, Decoder))
__all__ += members(__name__, Decoder)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
