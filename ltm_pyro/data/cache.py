"""Corpora kept on disk once they are made, by their text and by what made rows of it.

Each is a folder (see `kept`). It is never changed, and may be deleted at any time.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltm_pyro.data import kept
from ltm_pyro.data.store import StoredRows
from ltm_pyro.errors import Damaged

FROM_BYTES = 2**23
"""Smaller texts are not kept: to read them again takes a moment."""
FORMAT = 4


def place() -> Path:
    """Where corpora are kept: `LTM_PYRO_CACHE`, or a folder of the user's cache."""
    given = os.environ.get("LTM_PYRO_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else home / "ltm_pyro" / "corpora"


def content(path: Path) -> tuple[str, int]:
    """SHA-256 and bytes of a file, or of all files of a folder with their names."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
    digest, size = hashlib.sha256(), 0
    for one in sorted(p for p in path.rglob("*") if p.is_file()):
        inner, bytes_ = content(one)
        digest.update(f"{one.relative_to(path).as_posix()}\0{inner}\0".encode())
        size += bytes_
    return digest.hexdigest(), size


def name_of(facts: Mapping[str, Any]) -> str:
    """The name of a kept corpus, from all that its rows follow from."""
    known = json.dumps({"format": FORMAT, **facts}, sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()[:32]


def new_folder() -> Path:
    """A folder beside the others, to be filled and then kept or deleted."""
    place().mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=".making-", dir=place()))


def keep(
    folder: Path, name: str, splits: Mapping[str, StoredRows], facts: Mapping[str, Any]
) -> Path:
    """Finish a folder that holds tokens and tokenizer, and give it its name."""
    kept.write(folder, splits, facts)
    target = place() / name
    try:
        folder.rename(target)
    except OSError:  # there is one: another process was first, or it is damaged
        if load(name) is None:
            shutil.rmtree(target, ignore_errors=True)
            folder.rename(target)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return target


def load(name: str) -> tuple[dict[str, StoredRows], dict[str, Any], Path] | None:
    """A kept corpus: its rows by split, its facts and its folder; None where there is none."""
    folder = place() / name
    try:
        return *kept.read(folder), folder
    except Damaged:
        return None
