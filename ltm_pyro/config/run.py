"""A whole run: all of its parts, and how long it is trained."""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from ltm_pyro.config.inference import Fast, Objective, Slow, Warm
from ltm_pyro.config.sizes import PLAIN, Architecture, Named, Thoughts
from ltm_pyro.config.text import Data
from ltm_pyro.errors import InputError
from ltm_pyro.options import Count, Whole, take_fields

UpToOne = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class Training:
    """How long, on how much at a time, from which seed, and how often to look.

    The `baseline` is what the price of thoughts is measured against (`ltm_pyro.bounds.tax`).
    """

    steps: Whole = 1000
    """Iterations."""
    batch: Count = 16
    """Rows in a batch."""
    seed: Whole = 0
    """Every draw follows from it."""
    speak: UpToOne = 0.0
    """Speak, then think: for this share of the iterations the decoder is trained without thoughts,
    which are then grown on it."""
    baseline: bool = False
    """Also train a decoder without latents, on the same batches."""
    control: Literal["decoder", "parameters", "flops"] = "decoder"
    """The same decoder; a wider one, of as many parameters; or more batches, for equal FLOPs."""
    check_every: Count = 100
    """Iterations between looks at held-out text."""
    check_rows: Count = 64
    """Rows that a look scores."""
    save_every: Count = 100
    """Iterations between checkpoints."""

    def __post_init__(self) -> None:
        take_fields(self)


@dataclass(frozen=True)
class Config:
    """A whole run: model, data, decoder, prior, guide, both rates, training."""

    architecture: Architecture
    thoughts: Thoughts
    data: Data = field(default_factory=Data)
    model: Named = field(default_factory=lambda: Named(PLAIN))
    decoder: Named = field(default_factory=lambda: Named("transformer"))
    prior: Named = field(default_factory=lambda: Named("standard-normal"))
    guide: Named = field(default_factory=lambda: Named("mean-field"))
    fast: Fast = field(default_factory=Fast)
    slow: Slow = field(default_factory=Slow)
    warm: Warm | None = None
    objective: Objective = field(default_factory=Objective)
    training: Training = field(default_factory=Training)
    callbacks: tuple[Named, ...] = ()

    def __post_init__(self) -> None:
        take_fields(self)
        thoughts, layers = self.thoughts.layers, self.architecture.layers
        if thoughts not in (1, layers):
            told = f"thoughts for {thoughts} layers, but the decoder has {layers}"
            raise InputError(f"{told}: each attends to its own, or all to the same (1)")

    def replace(self, **changes: Any) -> "Config":
        """A copy with some parts exchanged."""
        return dataclasses.replace(self, **changes)
