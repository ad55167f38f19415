"""Arrays in files, of which what is asked for is read and nothing is mapped or kept in memory."""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltm_pyro.errors import Damaged, first_line
from ltm_pyro.files.storage import is_local, ranges

GAP = 4096
"""Bytes between two things that are asked for, below which they are read at once."""
MOST_OPEN = 256
BLOCK = 2**20


@dataclass(frozen=True)
class Piece:
    """A part of a file: from a byte on, so many entries, or bytes."""

    path: Path
    offset: int
    count: int


class OnDisk:
    """One array of one dimension, its parts in files, one after the other.

    It is indexed as a numpy array is, by a number, a slice, an array of places or of truth values,
    or the name of a field, and gives numpy arrays. Memory and time are those of what is asked for.

    Args:
        pieces: where it lies.
        dtype: of its entries.
        most: the largest value it may hold, e.g. the last token id.

    Raises:
        Damaged: when a file is shorter than it was, or holds a larger value.
    """

    def __init__(self, pieces: Sequence[Piece], dtype: Any, most: int | None = None):
        self.pieces, self.dtype, self.most = tuple(pieces), np.dtype(dtype), most
        self.begins = np.cumsum([0, *(piece.count for piece in pieces)])
        self.shape = (int(self.begins[-1]),)
        self._files = _Files()
        # They are there still when someone deletes them.
        self._files.read([Piece(piece.path, 0, 0) for piece in self.pieces[:MOST_OPEN]])

    @classmethod
    def of_npy(cls, path: Path, dtype: Any = None) -> "OnDisk | NDArray[Any]":
        """The array of a `.npy` file; of one in a store, in memory.

        Raises:
            Damaged: if it is no such file, not of one dimension, or not of that type.
        """
        try:
            if not is_local(path):
                array = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
                if array.ndim != 1 or (dtype is not None and array.dtype != dtype):
                    raise ValueError(f"shape {array.shape} of {array.dtype}")
                return array
            with path.open("rb") as file:
                version = np.lib.format.read_magic(file)
                if version != (1, 0):
                    raise ValueError(f"version {version}")
                shape, _, kind = np.lib.format.read_array_header_1_0(file)
                offset = file.tell()
            if len(shape) != 1 or kind.hasobject or (dtype is not None and kind != dtype):
                raise ValueError(f"shape {shape} of {kind}")
            if offset + shape[0] * kind.itemsize != path.stat().st_size:
                raise ValueError(f"{path.stat().st_size} bytes do not hold {shape[0]} entries")
        except Exception as error:  # of a header that numpy parses, too
            raise Damaged(f"{path} is damaged: {first_line(error)}") from None
        return cls([Piece(path, offset, shape[0])], kind)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, str):
            return np.asarray(self)[which]
        if isinstance(which, slice):
            start, stop, step = which.indices(len(self))
            if step == 1:
                return self.read(start, max(start, stop))
            which = np.arange(start, stop, step)
        places = np.asarray(which)
        if places.dtype == bool:
            places = np.flatnonzero(places)
        if places.ndim == 0:
            return self.read(int(places), int(places) + 1)[0]
        return self._gathered(places)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        found = self.read(0, len(self))
        return found if dtype is None else found.astype(dtype, copy=False)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Entries from a place up to another.

        Raises:
            IndexError: for places that it has not.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"places {start} to {stop} of an array of {len(self)}")
        return self._read([(start, stop)])[0]

    def _read(self, spans: Sequence[tuple[int, int]]) -> list[NDArray[Any]]:
        """The entries of several spans; those that lie in a store are asked for at once."""
        asked = [part for span in spans for part in self._parts(*span)]
        held = iter([self._checked(*one) for one in zip(
            asked, self._files.read(asked), strict=True
        )])  # fmt: skip
        found = []
        for start, stop in spans:
            parts = [next(held) for _ in self._parts(start, stop)]
            found.append(np.concatenate([np.empty(0, self.dtype), *parts]))
        return found

    def _parts(self, start: int, stop: int) -> list[Piece]:
        """Where a span lies, piece by piece."""
        found, number, size = [], int(np.searchsorted(self.begins, start, "right")) - 1, 0
        while start < stop:
            piece, begin = self.pieces[number], int(self.begins[number])
            size = min(stop, begin + piece.count) - start
            offset = piece.offset + (start - begin) * self.dtype.itemsize
            if size:
                found.append(Piece(piece.path, offset, size * self.dtype.itemsize))
            start, number = start + size, number + 1
        return found

    def _checked(self, piece: Piece, held: bytes) -> NDArray[Any]:
        found = np.frombuffer(held, self.dtype)
        if self.most is not None and int(found.max()) > self.most:
            raise Damaged(
                f"{piece.path} is damaged: it holds {int(found.max())}, and {self.most} is the "
                "largest number that can be in it"
            )
        return found

    def _gathered(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Entries at any places: neighbours are read at once."""
        found = np.empty(places.shape, self.dtype)
        order = np.argsort(places, kind="stable")
        at = places[order]
        if len(at) and at[0] < 0:
            raise IndexError(f"place {at[0]} of an array of {len(self)}")
        cuts = np.flatnonzero(np.diff(at) * self.dtype.itemsize > GAP) + 1
        runs = np.split(np.arange(len(at)), cuts) if len(at) else []
        spans = [(int(at[run[0]]), int(at[run[-1]]) + 1) for run in runs]
        if spans and spans[-1][1] > len(self):
            raise IndexError(f"place {at[-1]} of an array of {len(self)}")
        for run, (first, _), held in zip(runs, spans, self._read(spans), strict=True):
            found[order[run]] = held[at[run] - first]
        return found


class _Files:
    """Open files, the one longest unused of which is closed when there are too many."""

    def __init__(self) -> None:
        self._opened: OrderedDict[Path, int] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["_Files"], tuple[()]]:
        return _Files, ()  # another process, or a copy, opens its own

    def __del__(self) -> None:
        for number in self._opened.values():
            os.close(number)

    def read(self, asked: Sequence[Piece]) -> list[bytes]:
        """Bytes of files: `count` of each piece, from its offset on.

        Raises:
            Damaged: if a file is not there, or has no such bytes.
        """
        found = {i: self._local(*vars(one).values()) for i, one in enumerate(asked)
                 if is_local(one.path)}  # fmt: skip
        left = [i for i in range(len(asked)) if i not in found and asked[i].count]
        found |= dict(zip(left, self._stored([asked[i] for i in left]), strict=True))
        return [found.get(i, b"") for i in range(len(asked))]

    def _stored(self, asked: Sequence[Piece]) -> list[bytes]:
        """Of files in a store, all of which are in the same."""
        if not asked:
            return []
        starts = [one.offset for one in asked]
        try:
            found = ranges(
                [one.path for one in asked], starts, [one.offset + one.count for one in asked]
            )
        except Exception as error:  # of the library of each kind of store
            raise Damaged(f"cannot read {asked[0].path}: {first_line(error)}") from None
        for one, held in zip(asked, found, strict=True):
            if len(held) != one.count:
                raise Damaged(
                    f"cannot read {one.path}: it ends before byte {one.offset + one.count:,}"
                )
        return found

    def _local(self, path: Path, start: int, size: int) -> bytes:
        held = io.BytesIO()
        try:
            with self._lock:  # which keeps a file open while it is read
                number = self._number(path)
                while held.tell() < size:
                    part = os.pread(number, min(size - held.tell(), BLOCK), start + held.tell())
                    if not part:
                        raise OSError(f"it ends before byte {start + size:,}")
                    held.write(part)
        except OSError as error:
            raise Damaged(
                f"cannot read {path} ({error.strerror or error}): put back a whole copy"
            ) from None
        return held.getvalue()

    def _number(self, path: Path) -> int:
        if path in self._opened:
            self._opened.move_to_end(path)
        else:
            if len(self._opened) >= MOST_OPEN:
                os.close(self._opened.popitem(last=False)[1])
            self._opened[path] = os.open(path, os.O_RDONLY)
        return self._opened[path]
