"""A warm start: each document's local parameters, kept from one epoch to the next.

The fast loop of a document then starts where its last one ended, not at the prior. On disk the
parameters lie in one memory-mapped array, a row for each document, so that a corpus need not fit
into memory. What has changed since the last checkpoint is held in memory and written beside the
array first (`stage`), then into it once the checkpoint is there (`settle`): a run that is killed
anywhere goes on with exactly what belonged to its checkpoint.
"""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.errors import InputError
from ltm_pyro.files import CannotWrite, write
from ltm_pyro.guides import Guide

ARRAY, STAGED = "memory.npy", "memory.staged.npz"


class Memory:
    """Local parameters of documents, by the keys of their rows.

    Args:
        rows: the documents that may be remembered.
        folder: where they are kept; in memory alone if none is given.
    """

    def __init__(self, rows: AnyRows, folder: Path | None = None):
        self.keys = np.sort(rows.key.cpu().numpy())
        self.folder = folder
        self.changed: dict[int, NDArray[np.float32]] = {}
        self._array: NDArray[np.float32] | None = None  # (documents, 1 + numbers); 1 where known
        if folder is not None and (folder / ARRAY).exists():
            self._array = np.load(folder / ARRAY, mmap_mode="r+")
            if len(self._array) != len(self.keys):
                raise InputError(
                    f"{folder / ARRAY} holds {len(self._array)} documents, the data "
                    f"{len(self.keys)}: it belongs to other data"
                )

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
        values = [p.detach().flatten(1).float().cpu() for p in self._parameters(guide)]
        flat = torch.cat([torch.ones(len(rows), 1), *values], 1).numpy()
        for place, row in zip(self._places(rows), flat, strict=True):
            self.changed[place] = row

    def stage(self, step: int) -> None:
        """Write what has changed beside the array; it counts once `settle` is called."""
        if self.folder is None or not self.changed:
            return
        places = np.array(sorted(self.changed))
        values = np.stack([self.changed[place] for place in places])
        data = io.BytesIO()
        np.savez(data, step=np.array(step), places=places, values=values)
        write(self.folder / STAGED, data.getbuffer())

    def settle(self, step: int) -> None:
        """Take over what was staged for this step, and forget what was staged for another."""
        if self.folder is None:
            return
        staged = self.folder / STAGED
        if staged.exists():
            with np.load(staged) as file:
                if int(file["step"]) == step:
                    array = self._open(file["values"].shape[1])
                    array[file["places"]] = file["values"]
                    array.flush()
            staged.unlink()
        self.changed.clear()

    def _open(self, numbers: int) -> Any:
        """The array, made where it is not there yet: all zero, so that nothing is known."""
        if self._array is None and self.folder is not None:
            path = self.folder / ARRAY
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
            self._array = np.load(path, mmap_mode="r+")
        return self._array

    def _values(self, place: int) -> NDArray[np.float32] | None:
        if place in self.changed:
            return self.changed[place]
        if self._array is None or not self._array[place, 0]:
            return None
        return np.asarray(self._array[place])

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
