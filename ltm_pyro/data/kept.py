"""A corpus in a folder: token ids in one file or several, what is known of its rows, a tokenizer.

facts.json        what made it, its size, and the sizes of all other files; it is written last
tokenizer.json
tokens.bin        token ids of all rows, or shards/00000.bin and so on
train.npy         a `ROW` for each row of a split
train.digests.npy a number for each document, from its text
train.0.npy       what each row's document holds in the first column, and so on
"""

import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ltm_pyro import files
from ltm_pyro.data.on_disk import OnDisk, Piece
from ltm_pyro.data.store import ROW, Array, StoredRows
from ltm_pyro.errors import Damaged, first_line

FACTS, TOKENS, TOKENIZER, SHARDS = "facts.json", "tokens.bin", "tokenizer.json", "shards"
MADE = "prepared.json"
"""Of a prepared text: what it follows from."""
KINDS = ("uint16", "uint32")
FILE = re.compile(rf"{TOKENS}|{TOKENIZER}|\w+(\.\w+)?\.npy|{SHARDS}/\d+\.bin")
"""The names that files of a corpus may have, the facts aside."""


def write(
    folder: Path,
    splits: Mapping[str, StoredRows],
    facts: Mapping[str, Any],
    sealed: Mapping[str, str] | None = None,
) -> None:
    """What is known of the rows, beside their tokens and tokenizer; the facts last.

    With the SHA-256 of files that are known `sealed`, that of all others stands there too.
    """
    for split, rows in splits.items():
        _save(folder / f"{split}.npy", rows.index)
        _save(folder / f"{split}.digests.npy", rows.digests)
        for column, codes in enumerate(rows.codes.values()):
            _save(folder / f"{split}.{column}.npy", codes)
    held = {file.name: file for file in folder.iterdir() if file.is_file()}
    held |= {f"{SHARDS}/{file.name}": file for file in folder.glob(f"{SHARDS}/*.bin")}
    sizes = {name: held[name].stat().st_size for name in sorted(held) if FILE.fullmatch(name)}
    if sealed is not None:
        facts = {**facts, "sha256": {
            name: sealed[name] if name in sealed else sha256_of(held[name]) for name in sizes
        }}  # fmt: skip
    packed = any(rows.packed for rows in splits.values())
    content = {**facts, "splits": list(splits), "packed": packed, "sizes": sizes}
    files.write(folder / FACTS, json.dumps(content).encode())


def sha256_of(path: Path) -> str:
    """Of a file; "" where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _save(path: Path, array: Array) -> None:
    held = io.BytesIO()
    np.save(held, np.asarray(array))
    files.write(path, held.getbuffer())


def read(folder: Path) -> tuple[dict[str, StoredRows], dict[str, Any]]:
    """The rows of each split, and the facts. Nothing is read but the facts and heads of files.

    Raises:
        Damaged: if a file is missing or has another size, or the facts are none of ours.
    """
    try:
        facts = json.loads((folder / FACTS).read_bytes())
        for file, size in facts["sizes"].items():
            if not FILE.fullmatch(file):
                raise ValueError(f"{file!r} is no file of a corpus")
            if (folder / file).stat().st_size != size:
                raise ValueError(f"{file} has another size than when it was written")
        if facts["kind"] not in KINDS:
            raise ValueError(f"tokens of {facts['kind']}")
        flat = _tokens(folder, facts)
        return {str(split): _rows(folder, split, facts, flat) for split in facts["splits"]}, facts
    except Damaged:
        raise
    except Exception as error:  # of JSON of any form, and of the library of each kind of store
        raise Damaged(
            f"{folder} holds no whole corpus ({first_line(error)}): make it again"
        ) from None


def _tokens(folder: Path, facts: Mapping[str, Any]) -> OnDisk:
    """All token ids."""
    kind = np.dtype(facts["kind"])
    names = [name for name in facts["sizes"] if name == TOKENS or name.startswith(f"{SHARDS}/")]
    pieces = [Piece(folder / name, 0, facts["sizes"][name] // kind.itemsize)
              for name in sorted(names, key=lambda name: (len(name), name))]  # fmt: skip
    return OnDisk(pieces, kind, facts.get("vocabulary", 2**32) - 1)


def _rows(folder: Path, split: str, facts: Mapping[str, Any], flat: OnDisk) -> StoredRows:
    if not re.fullmatch(r"\w+", split):
        raise ValueError(f"{split!r} is no split")
    index = OnDisk.of_npy(folder / f"{split}.npy", ROW)
    codes = {
        str(column): OnDisk.of_npy(folder / f"{split}.{number}.npy")
        for number, column in enumerate([*facts["columns"], *facts["numbers"]])
    }
    if any(len(one) != len(index) or one.dtype.kind not in "if" for one in codes.values()):
        raise ValueError(f"the columns of {split} are not those of its rows")
    digests = OnDisk.of_npy(folder / f"{split}.digests.npy", np.uint64)
    return StoredRows(flat, index, codes, digests, bool(facts["packed"]))
