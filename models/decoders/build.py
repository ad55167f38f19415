"""A decoder from whatever it was chosen by."""

import functools
import inspect
from typing import Any

import torch

from ltm_pyro.config import Architecture, Named, Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.models import decoders
from ltm_pyro.models.decoders.base import Decoder
from ltm_pyro.models.size import check_decoder_fits
from ltm_pyro.names import describe, find


def build_decoder(
    chosen: Any, architecture: Architecture, thoughts: Thoughts | None = None
) -> Decoder:
    """A decoder of these sizes; without thoughts, it has no latents.

    Args:
        chosen: a name such as "lstm" or "package.module:Class", a `Named` with options, a class, a
            `functools.partial` of one, or a decoder made already.

    Raises:
        InputError: for a name or option that is not known, a decoder made for other sizes, or
            weights that do not fit in memory.
    """
    if isinstance(chosen, str):
        chosen = Named(chosen)
    if isinstance(chosen, Named):
        chosen = find("decoder", chosen, decoders, Decoder)
    makes = inspect.isclass(chosen) or isinstance(chosen, functools.partial)
    if makes and torch.get_default_device().type != "meta":
        check_decoder_fits(chosen, architecture, thoughts)
    made: Any = chosen(architecture, thoughts) if makes else chosen
    if not isinstance(made, Decoder):
        raise InputError(f"decoder {chosen!r}: expected a name, a Decoder, or a class of them")
    if (made.architecture, made.thoughts) != (architecture, thoughts):
        raise InputError(
            f"this {type(made).__name__} was made for {made.architecture} and {made.thoughts}, "
            f"the configuration has {architecture} and {thoughts}: give a class or a name, and it "
            "is made as the configuration says"
        )
    return made


def named_decoder(decoder: Any) -> Named:
    """The name and options that `build_decoder` would need."""
    return describe(decoder, decoders, Decoder)
