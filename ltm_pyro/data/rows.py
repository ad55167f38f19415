"""Rows of tokens: each row is the text that one set of thoughts explains."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltm_pyro.data.order import batch_places
from ltm_pyro.errors import InputError, unknown


@dataclass(frozen=True)
class Rows:
    """A data set, or a batch of it: R rows of up to N tokens.

    Attributes:
        tokens: ids, shape (R, N); what stands behind a row's length is padding.
        lengths: tokens that count in each row, shape (R,).
        document: which document a row belongs to, shape (R,). A document longer than a row is cut
            into several, each with thoughts of its own; errors are computed over documents.
        bytes: UTF-8 bytes of text a row stands for, shape (R,).
        key: a number made of a row's tokens, shape (R,), on the CPU: what is drawn for a row
            follows from it, not from the batch it is in. Copies of a row have keys of their own.
        columns: what is known of each row's document besides its text, by name, each of shape
            (R, ...), for priors that read it. From a corpus they are codes: the index of the
            document's value among `Corpus.columns`, -1 for one that is not there, or missing; of
            `Corpus.numbers` they are the numbers themselves (fp32), nan for a missing one.
        packed: whether rows are windows of one stream, in the order of their document numbers: then
            neighbours share a document of the text, and are alike.
    """

    tokens: Tensor
    lengths: Tensor
    document: Tensor
    bytes: Tensor
    key: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    packed: bool = False

    def __post_init__(self) -> None:
        if len(self.key) != len(self.lengths):
            object.__setattr__(self, "key", _keys(self.tokens, self.lengths))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, rows: slice | int | Tensor | list[int]) -> "Rows":
        """Some of the rows, trimmed to the longest of them (to one place, where all are empty)."""
        if isinstance(rows, int):
            rows = [rows]
        chosen = self._each(lambda x: x[rows.to(x.device) if isinstance(rows, Tensor) else rows])
        longest = max(1, int(chosen.lengths.max())) if len(chosen) else 0
        return dataclasses.replace(chosen, tokens=chosen.tokens[:, :longest])

    @property
    def mask(self) -> Tensor:
        """True where a token counts, shape (R, N)."""
        positions = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return positions < self.lengths[:, None]

    @property
    def token_count(self) -> int:
        """Tokens that count, over all rows."""
        return int(self.lengths.sum())

    def to(self, device: torch.device | str, wait: bool = True) -> "Rows":
        """The same rows on another device; without `wait` they may still be on their way there."""
        pinned = not wait and torch.device(device).type == "cuda" and not self.tokens.is_cuda

        def moved(x: Tensor) -> Tensor:
            return x.pin_memory().to(device, non_blocking=True) if pinned else x.to(device)

        return self._each(lambda x: x if x is self.key else moved(x))

    def first(self, tokens: int) -> "Rows":
        """The same rows, of each its first tokens alone, all of them where it has no more.

        What is left of a row keeps the row's key, bytes and columns.
        """
        lengths = self.lengths.clamp(max=tokens)
        return dataclasses.replace(self, tokens=self.tokens[:, : max(tokens, 1)], lengths=lengths)

    def keyed_by_text(self) -> "Rows":
        """The same rows, each one's key made of its tokens alone: copies have the same."""
        tokens = self.tokens.cpu().numpy().astype(np.int64)
        pairs = zip(tokens, self.lengths.tolist(), strict=True)
        keys = [_key(row[:length].tobytes(), 0) for row, length in pairs]
        return dataclasses.replace(self, key=torch.tensor(keys, dtype=torch.long))

    def hiding(self, *columns: str) -> "Rows":
        """The same rows with all values of these columns missing: -1 of codes, nan of numbers."""
        for name in columns:
            if name not in self.columns:
                raise unknown("column", name, self.columns)
        hidden = {
            name: torch.full_like(c, torch.nan if c.is_floating_point() else -1)
            for name, c in self.columns.items()
            if name in columns
        }
        return dataclasses.replace(self, columns={**self.columns, **hidden})

    def split(self, size: int) -> Iterator["Rows"]:
        """Batches of `size` rows in order, the last one perhaps smaller."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def batch(self, step: int, size: int, seed: int) -> "Rows":
        """The batch of a training step: `size` rows of an endless stream of shuffled epochs.

        It depends on its arguments alone, so a resumed run reads on where it would have read.
        """
        if not len(self):
            raise InputError("there are no rows to train on")
        return self[torch.from_numpy(batch_places(step, size, len(self), seed))]

    @staticmethod
    def end_to_end(parts: "Sequence[Rows]") -> "Rows":
        """Several sets of rows as one, its documents numbered on from set to set.

        Keys are made anew: a row that two sets have is a copy.
        """
        shift, numbers = 0, []
        for part in parts:
            numbers.append(part.document + shift)
            shift += int(part.document.max()) + 1 if len(part) else 0
        return Rows(
            torch.cat([part.tokens for part in parts]),
            torch.cat([part.lengths for part in parts]),
            torch.cat(numbers),
            torch.cat([part.bytes for part in parts]),
            columns={n: torch.cat([p.columns[n] for p in parts]) for n in parts[0].columns},
            packed=any(part.packed for part in parts),
        )

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Rows":
        """Rows with every tensor that has an entry for each row changed."""
        return Rows(
            change(self.tokens),
            change(self.lengths),
            change(self.document),
            change(self.bytes),
            change(self.key),
            {name: change(column) for name, column in self.columns.items()},
            self.packed,
        )


def row_keys(flat: Any, starts: NDArray[np.int64], lengths: NDArray[Any]) -> NDArray[np.int64]:
    """A number for each row from its tokens, and from how many rows before it were the same.

    A row's tokens are `flat[start : start + length]`.
    """
    keys = np.zeros(len(starts), np.int64)
    for i in range(0, len(starts), _AT_ONCE):
        part = slice(i, i + _AT_ONCE)
        first, last = int(starts[part].min()), int((starts[part] + lengths[part]).max())
        if last - first > 4 * int(lengths[part].sum()) + 1024:  # rows from here and there
            contents = [flat[a : a + n].astype(np.int64).tobytes()
                        for a, n in zip(starts[part], lengths[part], strict=True)]  # fmt: skip
        else:
            held = memoryview(flat[first:last].astype(np.int64).tobytes())
            ends = (8 * (starts[part] + lengths[part] - first)).tolist()
            begins = (8 * (starts[part] - first)).tolist()
            contents = [held[a:b] for a, b in zip(begins, ends, strict=True)]
        keys[part] = [_key(content, 0) for content in contents]
    values, counts = np.unique(keys, return_counts=True)
    copies = np.flatnonzero(np.isin(keys, values[counts > 1]))
    seen: Counter[int] = Counter()
    for place, base in zip(copies.tolist(), keys[copies].tolist(), strict=True):
        if seen[base]:
            tokens = flat[starts[place] : starts[place] + lengths[place]]
            keys[place] = _key(tokens.astype(np.int64).tobytes(), seen[base])
        seen[base] += 1
    return keys


_AT_ONCE = 2**14


def _key(content: bytes | memoryview, copy: int) -> int:
    digest = hashlib.blake2b(content, digest_size=8, salt=copy.to_bytes(8)).digest()
    return int.from_bytes(digest) >> 1


def _keys(tokens: Tensor, lengths: Tensor) -> Tensor:
    """The keys of padded rows."""
    flat, sizes = tokens.cpu().numpy(), lengths.cpu().numpy()
    starts = np.arange(len(sizes), dtype=np.int64) * (flat.shape[1] if flat.ndim > 1 else 0)
    return torch.from_numpy(row_keys(flat.reshape(-1), starts, sizes))
