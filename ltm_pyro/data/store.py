"""Rows of a corpus as they are kept: token ids laid end to end, in memory or in files."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltm_pyro.data.on_disk import OnDisk
from ltm_pyro.data.order import batch_places
from ltm_pyro.data.rows import Rows, row_keys
from ltm_pyro.errors import InputError

ROW = np.dtype([("start", "<i8"), ("length", "<i4"), ("bytes", "<i4"),
                ("document", "<i8"), ("key", "<i8")])  # fmt: skip
"""What is known of a row: where its tokens begin, and see `Rows`."""
BLOCK = 2**18
"""Rows whose sizes are added up at once."""
Array = NDArray[Any] | OnDisk
Which = slice | int | Tensor | Sequence[int]


@dataclass(frozen=True)
class StoredRows:
    """A data set of rows; `rows[...]` makes the `Rows` of some of them, padded to the longest.

    Attributes:
        flat: token ids of all rows of the corpus, shape (tokens,), in the smallest type that fits.
        index: a `ROW` for each row, shape (R,).
        codes: of each column, codes or numbers, shape (R,); see `Rows.columns`.
        digests: a number for each document from its text, shape (documents,).
        packed: whether rows are windows of one stream; see `Rows`.
    """

    flat: Array
    index: Array
    codes: Mapping[str, Array] = field(default_factory=dict)
    digests: Array = field(default_factory=lambda: np.empty(0, np.uint64))
    packed: bool = False

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: Which) -> Rows:
        """Some of the rows, as tensors."""
        places = self._places(which)
        rows = self.index[places]
        lengths = rows["length"].astype(np.int64)
        longest = int(lengths.max(initial=0))
        counts = np.arange(longest) < lengths[:, None]
        tokens = np.zeros(counts.shape, np.int64)
        tokens[counts] = self.flat[(rows["start"][:, None] + np.arange(longest))[counts]]
        return Rows(
            torch.from_numpy(tokens),
            torch.from_numpy(lengths),
            _tensor(rows["document"]),
            _tensor(rows["bytes"]),
            _tensor(rows["key"]),
            {name: _tensor(codes[places]) for name, codes in self.codes.items()},
            self.packed,
        )

    def batch(self, step: int, size: int, seed: int) -> Rows:
        """The batch of a training step; see `order.batch_places`."""
        if not len(self):
            raise InputError("there are no rows to train on")
        return self[torch.from_numpy(batch_places(step, size, len(self), seed))]

    def split(self, size: int) -> Iterator[Rows]:
        """Batches of `size` rows in order, the last one perhaps smaller."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def to(self, device: torch.device | str, wait: bool = True) -> Rows:
        """All of them, on a device."""
        return self[:].to(device, wait)

    def first(self, tokens: int) -> Rows:
        """All of them, of each its first tokens alone; see `Rows.first`."""
        return self[:].first(tokens)

    def __repr__(self) -> str:
        return f"StoredRows({len(self):,} rows, {self.token_count:,} tokens)"

    def chosen(self, which: Which) -> "StoredRows":
        """Some of the rows, kept as they are."""
        places = self._places(which)
        codes = {name: codes[places] for name, codes in self.codes.items()}
        return StoredRows(self.flat, self.index[places], codes, self.digests, self.packed)

    def without_bytes(self) -> "StoredRows":
        """The same rows, of which it is not known how much text they stand for."""
        index = np.array(self.index)
        index["bytes"] = 0
        return dataclasses.replace(self, index=index)

    @property
    def tokens(self) -> Tensor:
        """Ids of all rows, shape (R, N), padded."""
        return self[:].tokens

    @property
    def mask(self) -> Tensor:
        """True where a token counts, shape (R, N)."""
        return self[:].mask

    @functools.cached_property
    def lengths(self) -> Tensor:
        """Tokens that count in each row, shape (R,)."""
        return _tensor(self.index["length"])

    @functools.cached_property
    def document(self) -> Tensor:
        """Which document a row belongs to, shape (R,)."""
        return _tensor(self.index["document"])

    @functools.cached_property
    def bytes(self) -> Tensor:
        """UTF-8 bytes of text a row stands for, shape (R,)."""
        return _tensor(self.index["bytes"])

    @functools.cached_property
    def key(self) -> Tensor:
        """A number made of a row's tokens, shape (R,)."""
        return _tensor(self.index["key"])

    @property
    def columns(self) -> dict[str, Tensor]:
        """What is known of each row's document besides its text; see `Rows`."""
        return {name: _tensor(np.asarray(codes)) for name, codes in self.codes.items()}

    @functools.cached_property
    def sums(self) -> tuple[int, int]:
        """Tokens that count, and bytes of text, over all rows, read a block at a time."""
        parts = (self.index[i : i + BLOCK] for i in range(0, len(self), BLOCK))
        sums = [
            (part["length"].sum(dtype=np.int64), part["bytes"].sum(dtype=np.int64))
            for part in parts
        ]
        return sum(int(n) for n, _ in sums), sum(int(b) for _, b in sums)

    @property
    def token_count(self) -> int:
        """Tokens that count, over all rows."""
        return self.sums[0]

    @staticmethod
    def end_to_end(parts: "Sequence[StoredRows]") -> "StoredRows":
        """Several sets of rows of one corpus as one, its documents numbered on from set to set.

        Keys are made anew: a row that two sets have is a copy.
        """
        index = np.concatenate([np.asarray(part.index) for part in parts])
        shift = begun = 0
        for part in parts:
            index["document"][begun : begun + len(part)] += shift
            begun += len(part)
            shift += len(part.digests)
        index["key"] = row_keys(parts[0].flat, index["start"], index["length"])
        codes = {n: np.concatenate([np.asarray(p.codes[n]) for p in parts]) for n in parts[0].codes}
        digests = np.concatenate([np.asarray(part.digests) for part in parts])
        return StoredRows(parts[0].flat, index, codes, digests, parts[0].packed)

    def _places(self, which: Which) -> NDArray[np.int64]:
        if isinstance(which, slice):
            return np.arange(*which.indices(len(self)))
        if isinstance(which, int):
            which = [which]
        found = np.asarray(which.cpu() if isinstance(which, Tensor) else which)
        if found.dtype == bool:
            return np.flatnonzero(found)
        places = found.astype(np.int64)
        outside = places[(places < -len(self)) | (places >= len(self))]
        if len(outside):
            raise IndexError(f"index {outside[0]} is out of bounds for {len(self)} rows")
        return np.where(places < 0, places + len(self), places)


def _tensor(values: NDArray[Any]) -> Tensor:
    whole = values.dtype.kind in "iu"
    return torch.from_numpy(values.astype(np.int64 if whole else np.float32))


AnyRows = Rows | StoredRows
"""A data set of rows, wherever its tokens are."""
