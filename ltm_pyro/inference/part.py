"""A process's rows of a batch that several share."""

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from ltm_pyro.data.rows import Rows


@dataclass(frozen=True)
class Part(Rows):
    """A process's rows of a batch, and what it has to know of the whole.

    Attributes:
        places: where its rows stand in the batch, shape (R,).
        all_lengths: tokens of each row of the batch, shape (B,).
        like: a row of the batch, of whichever process.
    """

    places: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    all_lengths: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    like: Rows | None = None

    @staticmethod
    def of(batch: Rows, places: Tensor) -> "Part":
        """The rows of a batch that stand at these places."""
        own, all_lengths = _values(batch[places]), batch.lengths.cpu()
        return Part(**own, places=places, all_lengths=all_lengths, like=batch[:1])

    def to(self, device: torch.device | str, wait: bool = True) -> "Part":
        """The same rows on another device; see `Rows.to`."""
        there, like = _values(super().to(device, wait)), self.like
        like = None if like is None else like.to(device, wait)
        return Part(**there, places=self.places, all_lengths=self.all_lengths, like=like)


def part_of(batch: Rows) -> Part:
    """The rows of a process, where there are several."""
    assert isinstance(batch, Part), "a batch of several processes is shared first"
    return batch


def _values(rows: Rows) -> dict[str, Any]:
    return {one.name: getattr(rows, one.name) for one in fields(Rows)}
