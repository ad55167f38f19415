"""A process's rows of a batch that several share."""

import dataclasses
import weakref
import zlib
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError


@dataclass(frozen=True)
class Part(Rows):
    """A process's rows of a batch, and what it has to know of the whole.

    Attributes:
        places: where its rows stand in the batch, shape (R,).
        all_lengths: tokens of each row of the batch, shape (B,).
        like: a row of the batch, of whichever process.
        mark: of the whole batch, so that processes that hold different ones are told apart.
    """

    places: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    all_lengths: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    like: Rows | None = None
    mark: int = 0

    @staticmethod
    def of(batch: Rows, places: Tensor) -> "Part":
        """The rows of a batch that stand at these places."""
        own, all_lengths = _values(batch[places]), batch.lengths.cpu()
        mark = zlib.crc32(batch.key.numpy().tobytes())
        return Part(**own, places=places, all_lengths=all_lengths, like=batch[:1], mark=mark)

    def to(self, device: torch.device | str, wait: bool = True) -> "Part":
        """The same rows on another device; see `Rows.to`."""
        there, like = _values(super().to(device, wait)), self.like
        like = None if like is None else like.to(device, wait)
        return dataclasses.replace(self, **there, like=like)


def part_of(batch: Rows) -> Part:
    """The rows of a process, where there are several."""
    assert isinstance(batch, Part), "a batch of several processes is shared first"
    return batch


def _values(rows: Rows) -> dict[str, Any]:
    return {one.name: getattr(rows, one.name) for one in fields(Rows)}


def mark_of(part: Part, trained: list[nn.Parameter], known: list[weakref.ref[Any]]) -> int:
    """A number of the whole batch, and of a model's weights where it is not yet `known`.

    It is below 2^23, so that single precision has it whole.
    """
    if any(one() is trained[0] for one in known):
        return part.mark % 2**23
    known.append(weakref.ref(trained[0]))
    some = torch.cat([p.detach().flatten()[:64].float().cpu() for p in trained])
    return zlib.crc32(some.numpy().tobytes(), part.mark) % 2**23


def check_marks(marks: Tensor) -> None:
    """Raises InputError if the processes, each with a mark, are not at one step of one training."""
    if (marks != marks[0]).any():
        raise InputError(
            "the processes are not at the same step of the same training: give each the same "
            "rows, first weights and number of iterations"
        )
