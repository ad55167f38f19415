"""Sizes of a decoder and of thoughts, and parts by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import Le

from ltm_pyro.errors import InputError
from ltm_pyro.options import Count, Whole, take_fields

MOST_LAYERS = 4096
"""Deeper than any decoder; each is a module, which takes time to make."""
PLAIN = "latent-thought-model"
"""The model that samples its prior, observes its tokens, and does nothing else."""


@dataclass(frozen=True)
class Architecture:
    """The sizes of a decoder p(x | z), whichever it is.

    `length` counts a row's tokens, `begin` is the id of the token it starts from, `heads` are those
    of the attention to thoughts, and of a Transformer to text, `window` counts the input tokens a
    position may attend to (itself included), where a decoder has one.
    """

    vocabulary: Count
    begin: Whole
    length: Count = 1024
    window: Count = 256
    layers: Annotated[Count, Le(MOST_LAYERS)] = 3
    width: Count = 512
    heads: Count = 8
    feedforward: Count = 1376

    def __post_init__(self) -> None:
        take_fields(self)
        if self.width % self.heads or self.width // self.heads % 2:
            raise InputError(
                f"width {self.width} with {self.heads} heads: rotary attention needs a width "
                "that the heads divide into even parts"
            )
        if self.begin >= self.vocabulary:
            raise InputError(f"begin {self.begin} lies outside the vocabulary of {self.vocabulary}")


@dataclass(frozen=True)
class Thoughts:
    """A document's latent thought vectors: `slots` of size `dim` for each layer, or 1 for all."""

    layers: Annotated[Count, Le(MOST_LAYERS)]
    slots: Count
    dim: Count

    def __post_init__(self) -> None:
        take_fields(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one document's z: (layers, slots, dim)."""
        return (self.layers, self.slots, self.dim)

    @property
    def count(self) -> int:
        """Number of latent vectors over all layers (N_z in the paper)."""
        return self.layers * self.slots


@dataclass(frozen=True)
class Named:
    """A model, prior, guide or decoder by name (or `package.module:Class`), with its options."""

    EXPECTED: ClassVar[str] = (
        "a Named, such as Named('mixture', {'components': 4}) or Named('package.module:Class'); an "
        "object itself is for LatentThoughtModel and DualRateSVI"
    )

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        take_fields(self)
