"""Laying documents out in rows, one after the other, so that a text need not fit into memory."""

import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ltm_pyro.data.rows import Rows, row_keys
from ltm_pyro.data.store import ROW, StoredRows

BLOCK = 2**22


def smallest(vocabulary: int) -> np.dtype[np.generic]:
    """The smallest type that holds every token id."""
    return np.dtype(np.uint16 if vocabulary <= 2**16 else np.uint32)


class Laying:
    """The rows of one split as they grow.

    Args:
        length: tokens in a row.
        packed: whether documents follow one another in windows of exactly `length` tokens (the
            paper's layout: thoughts belong to a window, which counts as a document). If not, a row
            never crosses the end of a document.
        kind: type of token ids.
        file: where ids are written; in memory if not given.

    Attributes:
        documents: how many there are.
    """

    def __init__(
        self, length: int, packed: bool, kind: np.dtype[np.generic], file: BinaryIO | None = None
    ):
        self.length, self.packed, self.kind, self.file = length, packed, kind, file
        self.documents = 0
        self._blocks: list[NDArray[np.generic]] = []
        self._done: list[NDArray[np.generic]] = []
        self._held = 0  # tokens in these blocks
        self._waiting: list[NDArray[np.int64]] = []  # packed tokens and bytes, no full window yet
        self._unpacked = 0  # tokens that wait
        self._lengths, self._bytes = array.array("i"), array.array("i")
        self._document = array.array("q")
        self._digests = array.array("Q")
        self._codes: dict[str, array.array[Any]] = {}

    def add(
        self,
        ids: NDArray[np.int64],
        sizes: NDArray[np.int64],
        digest: int = 0,
        codes: Mapping[str, int | float] | None = None,
    ) -> None:
        """One document: its token ids, the bytes each stands for, and what its columns hold."""
        if self.packed:
            self._waiting.append(np.stack([ids, sizes]))
            self._unpacked += len(ids)
            if self._unpacked >= max(BLOCK // 64, self.length):
                self._windows()
            return
        starts = range(0, len(ids), self.length)
        self._row_bytes(ids, sizes)
        self._document.extend([self.documents] * len(starts))
        for name, code in (codes or {}).items():
            kind = "d" if isinstance(code, float) else "q"
            self._codes.setdefault(name, array.array(kind)).extend([code] * len(starts))
        self._digests.append(digest)
        self.documents += 1

    def _row_bytes(self, ids: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        """Ids as they are, cut into rows."""
        if not len(ids):
            return
        whole, rest = divmod(len(ids), self.length)
        self._lengths.extend([self.length] * whole + [rest] * bool(rest))
        self._bytes.extend(np.add.reduceat(sizes, np.arange(0, len(ids), self.length)).tolist())
        self._blocks.append(ids.astype(self.kind))
        self._held += len(ids)
        if self._held >= BLOCK // 4:
            self._write()

    def _windows(self, rest: bool = False) -> None:
        """Full windows out of what waits; with `rest`, all of it."""
        if not self._waiting:
            return
        ids, sizes = np.concatenate(self._waiting, axis=1)
        full = len(ids) if rest else len(ids) - len(ids) % self.length
        self._row_bytes(ids[:full], sizes[:full])
        rows = -(-full // self.length)
        self._document.extend(range(self.documents, self.documents + rows))
        self._digests.extend([0] * rows)
        self.documents += rows
        self._waiting = [np.stack([ids[full:], sizes[full:]])] if full < len(ids) else []
        self._unpacked = len(ids) - full

    def _write(self) -> None:
        """Many small blocks become one, in the file if there is one."""
        together = np.concatenate(self._blocks) if self._blocks else np.zeros(0, self.kind)
        self._blocks, self._held = [], 0
        if self.file is None:
            self._done.append(together)
        else:
            self.file.write(together.tobytes())

    def follow(self, documents: int, waiting: NDArray[np.int64]) -> None:
        """Go on after documents, and packed tokens and bytes that filled no window."""
        self.documents = documents
        if waiting.shape[1]:
            self._waiting, self._unpacked = [waiting], waiting.shape[1]

    def pause(self) -> NDArray[np.int64]:
        """Documents follow, in another laying; returns the packed tokens and bytes that wait."""
        self._windows()
        self._write()
        return np.concatenate([np.zeros((2, 0), np.int64), *self._waiting], axis=1)

    def end(self) -> None:
        """No document follows."""
        self._windows(rest=True)
        self._write()

    def blocks(self) -> list[NDArray[np.generic]]:
        """The ids, where no file holds them."""
        return self._done

    @property
    def token_count(self) -> int:
        """Tokens laid out."""
        return int(np.frombuffer(self._lengths, np.int32).sum(dtype=np.int64))

    @property
    def size(self) -> int:
        """Tokens laid out, and those that wait for a window to be full."""
        return self.token_count + self._unpacked

    def index(self, begin: int) -> NDArray[Any]:
        """A `ROW` for each row, its key not yet made; their ids lie from a place on."""
        index = np.zeros(len(self._lengths), ROW)
        index["length"], index["bytes"] = self._lengths, self._bytes
        index["document"] = self._document
        index["start"] = begin + np.cumsum(index["length"], dtype=np.int64) - index["length"]
        return index

    @property
    def codes(self) -> dict[str, NDArray[Any]]:
        """What each row's document holds in each column."""
        return {name: np.array(values, values.typecode) for name, values in self._codes.items()}

    @property
    def digests(self) -> NDArray[np.uint64]:
        """A number for each document."""
        return np.array(self._digests, np.uint64)

    def rows(self, flat: NDArray[np.generic], begin: int) -> StoredRows:
        """What was laid out, its ids in `flat` from a place on."""
        index = self.index(begin)
        index["key"] = row_keys(flat, index["start"], index["length"])
        return StoredRows(flat, index, self.codes, self.digests, self.packed)


def lay_end_to_end(
    parts: Mapping[str, Laying], kind: np.dtype[np.generic], paths: Mapping[str, Path] | None = None
) -> dict[str, StoredRows]:
    """The rows of all splits over one array of token ids: in memory, or in the first's file."""
    for part in parts.values():
        part.end()
    begins, begin = {}, 0
    for split, part in parts.items():
        begins[split] = begin
        begin += part.token_count
    if paths is None:
        blocks = [block for part in parts.values() for block in part.blocks()]
        flat = np.concatenate(blocks) if blocks else np.zeros(0, kind)
    else:
        first, *others = paths.values()
        with first.open("ab") as out:
            for other in others:
                with other.open("rb") as file:
                    while block := file.read(BLOCK):
                        out.write(block)
                other.unlink()
        flat = map_tokens(first, kind)
    return {split: part.rows(flat, begins[split]) for split, part in parts.items()}


def rows_of_documents(
    documents: Sequence[tuple[Sequence[int], Sequence[int]]],
    length: int,
    packed: bool = False,
    columns: Mapping[str, Sequence[int | float]] | None = None,
) -> Rows:
    """The rows of a few documents: for each its token ids, and the bytes each token stands for.

    `columns` are codes or numbers of each document, by name; not for packed rows. See `Laying`.
    """
    laying = Laying(length, packed, np.dtype(np.int64))
    for number, (ids, sizes) in enumerate(documents):
        codes = {name: values[number] for name, values in (columns or {}).items()}
        laying.add(np.array(ids, np.int64), np.array(sizes, np.int64), 0, codes)
    return lay_end_to_end({"all": laying}, np.dtype(np.int64))["all"][:]


def map_tokens(path: Path, kind: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Token ids in a file, mapped into memory as they are used."""
    if path.stat().st_size == 0:
        return np.zeros(0, kind)
    return np.asarray(np.memmap(path, kind, "r"))
