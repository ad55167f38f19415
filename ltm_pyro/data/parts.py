"""The finished shards of a text that is being prepared, and what is known of their rows."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltm_pyro import files
from ltm_pyro.data import kept
from ltm_pyro.data.laying import Laying
from ltm_pyro.data.on_disk import OnDisk, Piece
from ltm_pyro.data.rows import row_keys
from ltm_pyro.data.store import StoredRows
from ltm_pyro.errors import InputError
from ltm_pyro.files import storage

PARTS = "parts"


class Parts:
    """Shards in a folder, each in a file, what is known of it in two others.

    Attributes:
        done: of each finished shard, `tokens` and `sha256` of its file, `rows_sha256` of what is
            known of its rows; `laid`, documents of each
            split up to its end; whether it is the `last`; and what it was given by `add`.
    """

    def __init__(self, out: Path):
        self.out = out
        self.done: list[dict[str, Any]] = []
        while part := self._whole(len(self.done)):
            self.done.append(part)

    def _whole(self, number: int) -> dict[str, Any] | None:
        """What is known of a shard, if it is there as it was written."""
        try:
            part: dict[str, Any] = json.loads(self._place(number, "json").read_bytes())
            shard, rows = (
                kept.sha256_of(self._shard(number)),
                kept.sha256_of(self._place(number, "npz")),
            )
            return part if (shard, rows) == (part["sha256"], part["rows_sha256"]) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def tokens(self) -> int:
        """Token ids in all of them."""
        return sum(part["tokens"] for part in self.done)

    def follow(self, layings: Mapping[str, Laying]) -> None:
        """Let empty layings go on after the last shard."""
        if self.done:
            with self._held(len(self.done) - 1) as held:
                for split, laying in layings.items():
                    laying.follow(self.done[-1]["laid"][split], held[f"{split}.waiting"])

    def add(self, layings: Mapping[str, Laying], about: Mapping[str, Any], last: bool) -> None:
        """A shard of what was laid out.

        Args:
            layings: of each split.
            about: what is to be kept beside; plain JSON types.
            last: no documents follow: what waits for a window to be full fills no more.
        """
        begin, number = self.tokens, len(self.done)
        held, blocks = dict[str, Any](), list[NDArray[Any]]()
        for split, laying in layings.items():
            if last:
                laying.end()
            held[f"{split}.waiting"] = np.zeros((2, 0), np.int64) if last else laying.pause()
            held |= {f"{split}.rows": laying.index(begin), f"{split}.digests": laying.digests}
            held |= {f"{split}.{name}": codes for name, codes in laying.codes.items()}
            blocks += laying.blocks()
            begin += laying.token_count
        content = np.concatenate(blocks).tobytes()
        npz = io.BytesIO()
        np.savez(npz, **held)
        part = {
            **about, "tokens": begin - self.tokens, "last": last,
            "sha256": hashlib.sha256(content).hexdigest(),
            "rows_sha256": hashlib.sha256(npz.getbuffer()).hexdigest(),
            "laid": {split: laying.documents for split, laying in layings.items()},
        }  # fmt: skip
        files.make_folder(self.out / kept.SHARDS)
        files.make_folder(self.out / PARTS)
        files.write(self._shard(number), content)
        files.write(self._place(number, "npz"), npz.getbuffer())
        files.write_json(self._place(number, "json"), part)
        self.done.append(part)

    def rows(
        self, split: str, kind: "np.dtype[np.generic]", packed: bool, columns: Mapping[str, Any]
    ) -> StoredRows:
        """All rows of a split, with their keys.

        Args:
            split: its name.
            kind: the type of token ids.
            packed: see `StoredRows`.
            columns: names of columns, and the type of what each holds.
        """
        held: dict[str, list[NDArray[Any]]] = {"rows": [], "digests": []}
        held |= {name: [np.zeros(0, of)] for name, of in columns.items()}
        for number in range(len(self.done)):
            with self._held(number) as part:
                for name, some in held.items():
                    if f"{split}.{name}" in part.files:
                        some.append(part[f"{split}.{name}"])
        pieces = [Piece(self._shard(i), 0, part["tokens"]) for i, part in enumerate(self.done)]
        flat, index = OnDisk(pieces, kind), np.concatenate(held["rows"])
        index["key"] = row_keys(flat, index["start"], index["length"])
        codes = {name: np.concatenate(held[name]) for name in columns}
        return StoredRows(flat, index, codes, np.concatenate(held["digests"]), packed)

    def remove(self) -> None:
        """What is known of the shards stands elsewhere now."""
        storage.remove(self.out / PARTS)

    def _held(self, number: int) -> Any:
        """What is known of a shard's rows."""
        npz = io.BytesIO(self._place(number, "npz").read_bytes())
        return np.load(npz, allow_pickle=False)

    def _shard(self, number: int) -> Path:
        return shard_of(self.out, number)

    def _place(self, number: int, kind: str) -> Path:
        return self.out / PARTS / f"{number:05}.{kind}"


def shard_of(out: Path, number: int) -> Path:
    """The file of a shard."""
    return out / kept.SHARDS / f"{number:05}.bin"


def verify(out: Path) -> int:
    """How many shards a finished folder has.

    Raises:
        InputError: if a file is not as it was written.
    """
    sealed = json.loads((out / kept.FACTS).read_bytes())["sha256"]
    for name, sha256 in sealed.items():
        if kept.sha256_of(out / name) != sha256:
            raise InputError(
                f"{out / name} is damaged: put back a whole copy, or remove {out} and prepare it "
                "anew"
            )
    return sum(name.startswith(kept.SHARDS) for name in sealed)
