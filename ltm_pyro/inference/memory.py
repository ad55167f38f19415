"""A warm start: each document's local parameters, kept from one epoch to the next.

The fast loop of a document then starts where its last one ended, not at the prior. On disk the
parameters lie in one memory-mapped array, a row for each document, so that a corpus need not fit
into memory. The array holds them as they were at the checkpoint before the last; what the last one
changed lies beside it, in one file, and goes into the array when the next is saved. So both
checkpoints can be gone back to, and a run that is killed anywhere goes on with exactly what
belonged to its checkpoint, which says by its digest what that was.
"""

import hashlib
import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.errors import Damaged, InputError
from ltm_pyro.files import CannotWrite, is_stored
from ltm_pyro.guides import Guide

ARRAY, STAGED = "memory.npy", "memory.staged.npz"
CHUNK = 4096
"""Rows of the array that are looked at together."""

Row = NDArray[np.float32]
"""(1 + numbers,): 1 where the document is known, then its parameters."""


class Memory:
    """Local parameters of documents, by the keys of their rows.

    Args:
        rows: the documents that may be remembered.
        folder: where they are kept; in memory alone if none is given.
        writes: whether this process writes into the folder; one that does not reads what is there
            when it begins, and keeps in memory what it changes.
    """

    def __init__(self, rows: AnyRows, folder: Path | None = None, writes: bool = True):
        self.keys: Any = np.sort(rows.key.cpu().numpy())
        self.folder, self.writes = folder, writes
        self.changed: dict[int, Row] = {}  # since the last checkpoint
        self.staged: dict[int, Row] = {}  # by the last checkpoint
        self._under: dict[int, int] = {}  # what the array holds of those, as `_number` has it
        self._sum = 0
        self._array: NDArray[np.float32] | None = None  # a row for each document, zeros if unknown
        self._mode: Literal["r+", "c"] = "r+" if writes else "c"

    @classmethod
    def check(cls, folder: Path, step: int, record: Mapping[str, Any]) -> None:
        """Raises Damaged if a folder does not hold what belongs to a checkpoint; writes nothing."""
        nobody: Any = SimpleNamespace(key=torch.zeros(0))
        made = cls(nobody, folder)
        made.keys = range(record["documents"])
        made._mode = "c"
        made.open(step, record)
        made._check_under()

    def open(self, step: int, record: Mapping[str, Any] | None = None) -> None:
        """Go on from what the folder holds of the checkpoint of this step.

        Args:
            step: the checkpoint's.
            record: what `record` said then; without one nothing is checked.

        Raises:
            Damaged: if the files hold something else.
        """
        if self.folder is None:
            return
        if (self.folder / ARRAY).exists():
            self._array = self._array_in(self.folder / ARRAY)
        if (self.folder / STAGED).exists():
            self.staged = self._read_staged(self.folder / STAGED, step)
        for place in self.staged:
            if not 0 <= place < len(self.keys):
                raise Damaged(f"{self.folder / STAGED} belongs to other data")
        self._sum = sum(_digest(place, row) for place, row in self._rows())
        if record is not None and record != self.record():
            raise Damaged(
                f"the warm start's memory in {self.folder} ({ARRAY}, {STAGED}) is damaged, missing "
                f"or another run's: it is not what belongs to the checkpoint of iteration {step}"
            )

    def record(self) -> dict[str, Any]:
        """What the memory is at a checkpoint: how many documents, and a digest of their rows."""
        return {"documents": len(self.keys), "digest": f"{self._sum % (1 << 256):064x}"}

    def recall(self, guide: Guide, rows: Rows) -> Tensor:
        """Start a guide's documents where they ended; which were known, (documents,)."""
        parameters = self._parameters(guide)
        found = [self._values(place) for place in self._places(rows)]
        known = torch.tensor([values is not None for values in found], dtype=torch.bool)
        if known.any():
            kept = np.stack([values[1:] for values in found if values is not None])
            self._fill(guide, parameters, known, torch.from_numpy(kept))
        return known

    def remember(self, guide: Guide, rows: Rows) -> None:
        """Keep where a guide's documents are now."""
        values = [p.detach().reshape(len(p), -1).float().cpu() for p in self._parameters(guide)]
        flat = torch.cat([torch.ones(len(rows), 1), *values], 1).numpy()
        for place, row in zip(self._places(rows), flat, strict=True):
            self.changed[place] = row

    def stage(self, step: int) -> bytes:
        """Take what has changed for the checkpoint of this step; what its file is to hold.

        What the checkpoint before had changed goes into the array.
        """
        if self.folder is not None and self.staged:
            width = len(next(iter(self.staged.values())))
            array = self._made(self.folder / ARRAY, width)
            places = sorted(self.staged)
            array[places] = np.stack([self.staged[place] for place in places])
            array.flush()
        if self.folder is not None:
            self.staged = {}
        self._under = {}
        for place, row in self.changed.items():
            before = self._before(place)
            self._under[place] = 0 if before is None else _number(place, before)
            self._sum += _digest(place, row) - (0 if before is None else _digest(place, before))
        self.staged |= self.changed
        self.changed = {}
        places = sorted(self.staged)
        values = [self.staged[place] for place in places]
        data = io.BytesIO()
        np.savez(
            data,
            step=np.array(step),
            places=np.array(places, dtype=np.int64),
            values=np.stack(values) if values else np.zeros((0, 0), np.float32),
            under=np.array([self._under.get(place, 0) for place in places], dtype=np.uint64),
        )
        return data.getvalue()

    def handed(self) -> dict[int, Row]:
        """What has changed since the last checkpoint, for the process that writes it."""
        changed, self.changed = self.changed, {}
        self.staged |= changed
        return changed

    def take(self, others: Iterable[Mapping[int, Row]]) -> None:
        """Hold what has changed in other processes as changed here."""
        for changed in others:
            self.changed |= changed

    def not_finite(self) -> int | None:
        """The row of a document that has changed since the last checkpoint to a NaN or infinity."""
        places = (place for place, row in self.changed.items() if not np.isfinite(row).all())
        return next(places, None)

    def _rows(self) -> Iterator[tuple[int, Row]]:
        """Every row that is not all zeros, with its place."""
        yield from self.staged.items()
        array = self._array
        for start in range(0, 0 if array is None else len(array), CHUNK):
            block = np.ascontiguousarray(array[start : start + CHUNK])  # type: ignore[index]
            for place in np.flatnonzero(block.view(np.uint32).any(1)):
                if start + int(place) not in self.staged:
                    yield start + int(place), block[place]

    def _check_under(self) -> None:
        """Raises Damaged for rows of the array that only a resume from the checkpoint before reads.

        The last checkpoint changed them: they are as they were, or as it has them already.
        """
        for place, number in self._under.items():
            row = b"" if self._array is None else np.asarray(self._array[place]).tobytes()
            held = _number(place, np.frombuffer(row, np.float32)) if row.strip(b"\0") else 0
            if held != number and row != self.staged[place].tobytes():
                raise Damaged(
                    f"row {place} of {self.folder}/{ARRAY} is damaged; only a resume from the "
                    "checkpoint before the last reads it"
                )

    def _array_in(self, path: Path) -> NDArray[np.float32]:
        """The array in a file, whose header is compared, not parsed."""
        if path.is_symlink():
            raise InputError(f"{path} is a symbolic link, which a run does not write through")
        documents = len(self.keys)
        numbers = (path.stat().st_size - len(_header((documents, 0)))) // (4 * documents)
        shape = (documents, max(0, numbers))
        header = _header(shape)
        with open(path, "rb") as file:
            whole = file.read(len(header)) == header
        if not whole or not numbers or path.stat().st_size != len(header) + 4 * math.prod(shape):
            raise Damaged(f"{path} is damaged, or belongs to other data or no memory at all")
        return np.memmap(path, np.float32, self._mode, len(header), shape)

    def _read_staged(self, path: Path, step: int) -> dict[int, Row]:
        """What was staged for a step; nothing if that is another step, or cannot be read."""
        if not is_stored(path):
            return {}
        try:
            with np.load(path, allow_pickle=False) as file:
                if int(file["step"]) != step:
                    return {}
                places, values = file["places"], np.asarray(file["values"], np.float32)
                under = file["under"] if "under" in file else np.zeros(0, np.uint64)
            if self._array is not None and len(places) and values.shape[1] != self._array.shape[1]:
                raise ValueError("its rows are of another length than the array's")
            known = map(int, under.tolist())  # none in files of before 0.6.0
            self._under = dict(zip(places.tolist(), known, strict=False))
            return dict(zip(places.tolist(), values, strict=True))
        except Exception:  # of zip files, of arrays, of numbers: then the digest is another
            return {}

    def _made(self, path: Path, numbers: int) -> Any:
        """The array, made where it is not there yet: all zero, so that nothing is known."""
        if self._array is None:
            beside = path.with_name(f".{path.name}.{os.getpid()}")
            shape = (len(self.keys), numbers)
            try:
                np.lib.format.open_memmap(str(beside), mode="w+", dtype=np.float32, shape=shape)
                if hasattr(os, "posix_fallocate"):  # a full disk is to be told here, not by SIGBUS
                    with open(beside, "r+b") as file:
                        os.posix_fallocate(file.fileno(), 0, beside.stat().st_size)
                os.replace(beside, path)
            except OSError as error:
                raise CannotWrite(
                    f"cannot write {path}: {error.strerror}; the warm start of {shape[0]} "
                    f"documents needs {4 * shape[0] * shape[1] / 1e6:.0f} MB"
                ) from None
            finally:
                beside.unlink(missing_ok=True)
            self._array = self._array_in(path)
        return self._array

    def _before(self, place: int) -> Row | None:
        """A document's row at the last checkpoint, or None if it was not known."""
        if place in self.staged:
            return self.staged[place]
        if self._array is None or not self._array[place, 0]:
            return None
        return np.asarray(self._array[place])

    def _values(self, place: int) -> Row | None:
        return self.changed[place] if place in self.changed else self._before(place)

    def _places(self, rows: Rows) -> list[int]:
        keys = rows.key.cpu().numpy()
        places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        if not (self.keys[places] == keys).all():
            raise InputError("a row is not among those this memory was made for")
        return [int(place) for place in places]

    @torch.no_grad()
    def _fill(
        self, guide: Guide, parameters: list[nn.Parameter], known: Tensor, values: Tensor
    ) -> None:
        """Sets the parameters of `known` documents, (documents,), to rows of numbers."""
        sizes = [p[0].numel() for p in parameters]
        if values.shape[1] != sum(sizes):
            raise InputError(
                f"the memory holds {values.shape[1]} numbers for a document, "
                f"{type(guide).__name__} has {sum(sizes)}: it was filled with another guide"
            )
        for parameter, part in zip(parameters, values.split(sizes, dim=1), strict=True):
            part = part.reshape(-1, *parameter.shape[1:]).to(parameter)
            parameter[known.to(parameter.device)] = part

    @staticmethod
    def _parameters(guide: Guide) -> list[nn.Parameter]:
        parameters = list(guide.parameters())
        if not parameters or any(p.shape[:1] != (guide.batch_size,) for p in parameters):
            raise InputError(
                f"{type(guide).__name__} has parameters that are not a document's own, or none: a "
                "warm start needs parameters whose first dimension is the document"
            )
        return parameters


def _header(shape: tuple[int, int]) -> bytes:
    """How the array's file begins."""
    header = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, facts)
    return header.getvalue()


def _number(place: int, row: Row) -> int:
    """64 bits of a row's digest, and never 0."""
    return _digest(place, row) % (1 << 64) or 1


def _digest(place: int, row: Row) -> int:
    """SHA-256 of a document's row; those of all rows add up to that of the memory."""
    return int.from_bytes(hashlib.sha256(place.to_bytes(8, "little") + row.tobytes()).digest())
