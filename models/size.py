"""Whether a model fits in memory, told before anything is allocated."""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ltm_pyro.config import Architecture, Config, Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.seeds import seeded

BYTES = 4
"""Of a weight, in fp32."""
SMALL = 2**28
"""Bytes that are taken to fit anywhere."""
MOMENTS = {"Adam": 2, "AdamW": 2, "NAdam": 2, "RAdam": 2, "Adamax": 2, "RMSprop": 1, "Adagrad": 1}
"""Numbers that an optimizer keeps of each parameter, at least."""


def check_memory(parts: Mapping[str, int], lower: str) -> None:
    """Raises InputError if parts of these many bytes, by what they are, do not fit in memory.

    Args:
        parts: bytes of each part; they are at least what is needed.
        lower: what to make smaller.
    """
    needed = sum(parts.values())
    if needed <= SMALL or needed <= (free := free_memory()):
        return
    sums = " + ".join(f"{in_bytes(size)} for {name}" for name, size in parts.items() if size)
    raise InputError(
        f"this needs {in_bytes(needed)} of memory or more ({sums}), and {in_bytes(free)} are free "
        f"here: lower {lower}"
    )


def free_memory() -> int:
    """Bytes that can still be allocated on this machine (swap included), as far as it tells."""
    found = []
    with suppress(OSError, ValueError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ValueError, KeyError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        known = {name.rstrip(":"): int(size) * 1024 for name, size, *_ in lines}
        found = [known["MemAvailable"] + known.get("SwapFree", 0)]
    with suppress(OSError, ValueError):  # of a container; "max" for none
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=2**62)


def decoder_parameters(
    make: Any, architecture: Architecture, thoughts: Thoughts | None
) -> int | None:
    """Parameters of a decoder, counted on one of one layer and one of two, without memory.

    None where `make` cannot make a decoder without memory.

    Raises:
        InputError: for sizes that no tensor has.
    """
    counts = []
    for layers in (1, 2):
        small = dataclasses.replace(architecture, layers=layers)
        slim = None if thoughts is None else dataclasses.replace(thoughts, layers=layers)
        found = parameters_of(lambda small=small, slim=slim: make(small, slim))
        if found is None:
            return None
        counts.append(found)
    return counts[0] + (architecture.layers - 1) * (counts[1] - counts[0])


@contextmanager
def without_memory() -> Iterator[None]:
    """A block in which tensors have shapes alone.

    Raises:
        InputError: for sizes that no tensor has.
    """
    try:
        with torch.device("meta"):
            yield
    except RuntimeError as error:
        if "overflow" in str(error):
            raise InputError("these sizes make a tensor of more than 2^63 bytes") from None
        raise


def parameters_of(make: Any) -> int | None:
    """Parameters of what `make()` makes, without memory for them; None if it cannot be made so.

    Raises:
        InputError: for sizes that no tensor has.
    """
    try:
        with without_memory(), seeded(0):
            made: nn.Module = make()
        return sum(p.numel() for p in made.parameters())
    except InputError:
        raise
    except Exception:  # a class of the user's that computes with what it makes
        return None


def check_decoder_fits(make: Any, architecture: Architecture, thoughts: Thoughts | None) -> None:
    """Raises InputError if the weights of a decoder do not fit in memory."""
    if _about(architecture, thoughts) * BYTES < SMALL:
        return
    count = decoder_parameters(make, architecture, thoughts)
    if count is not None:
        check_memory(
            {f"{count:,} parameters of {BYTES} bytes": count * BYTES},
            "the vocabulary, or the architecture's layers, width or feedforward",
        )


def check_training_fits(config: Config, make: Any) -> None:
    """Raises InputError if weights, gradients and the slow optimizer's state do not fit."""
    architecture, thoughts = config.architecture, config.thoughts
    if _about(architecture, thoughts) * 8 * BYTES < SMALL:
        return
    count = decoder_parameters(make, architecture, thoughts) or 0
    if config.training.baseline:
        count += decoder_parameters(make, architecture, None) or 0
    weights, optimizer = count * BYTES, str(config.slow.optimizer)
    moments = MOMENTS.get(optimizer, 0)
    check_memory(
        {
            f"{count:,} parameters of {BYTES} bytes": weights,
            "their gradients": weights,
            f"the {moments} moments of {optimizer}": moments * weights,
        },
        "the vocabulary, or the architecture's layers, width or feedforward",
    )


def out_of_memory(error: BaseException) -> str | None:
    """What to say of an allocation that failed; None for another error."""
    allocates = re.search(r"tried to allocate ([\d.]+)(?: bytes)?( [KMGT]iB)?", str(error))
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    said = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    says = allocates or any(word in str(error) for word in said)
    if not known and not (isinstance(error, RuntimeError) and says):
        return None
    asked = ""
    if allocates:
        unit = allocates[2]
        size = f"{allocates[1]}{unit}" if unit else in_bytes(int(float(allocates[1])))
        asked = f"one array of {size} was asked for, and "
    return (
        f"out of memory: {asked}{in_bytes(free_memory())} are free here; lower the batch, the "
        "length, the vocabulary, or the sizes of decoder, thoughts, prior or guide"
    )


def in_bytes(size: int) -> str:
    """A number of bytes for a reader."""
    value, units = float(size), ["bytes", "KB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:,.0f} {units[0]}" if value >= 10 else f"{value:.1f} {units[0]}"


def _about(architecture: Architecture, thoughts: Thoughts | None) -> int:
    """About how many parameters a decoder has, to tell the small ones at once."""
    width, dim = architecture.width, thoughts.dim if thoughts else 0
    layer = width * (6 * width + 3 * architecture.feedforward + 2 * dim)
    return architecture.vocabulary * width + architecture.layers * layer
