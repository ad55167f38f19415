"""Copies of runs in a store: written after each save, fetched where a run is named by a URL.

::

    URL/copy.json            the run's id, its iteration, and which file is which of `files`
        files/SHA256         each file of the run, by what is in it

A file there never changes, and `copy.json` is written last, so whatever a kill leaves behind is the
copy before, or the new one. What only an older copy had is removed with the one after the next.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltm_pyro import files
from ltm_pyro.data import cache, kept
from ltm_pyro.errors import Damaged, InputError, first_line
from ltm_pyro.files import storage
from ltm_pyro.runs import folder

COPY, FILES = "copy.json", "files"
NAME, SHA256 = re.compile(r"[\w][\w.-]*"), re.compile(r"[0-9a-f]{64}")


def write_copy(path: Path, place: Path, run: str, step: int | None) -> None:
    """Copy a run's folder to a place."""
    before = _files_of(place)
    held: dict[str, str] = {}
    for name in folder.names_in(path):
        held[name] = kept.sha256_of(path / name)
        if held[name] not in before:
            storage.copy(path / name, place / FILES / held[name])
    known = set(read_copy(place)["files"].values()) if (place / COPY).exists() else set()
    files.write_json(place / COPY, {"run": run, "step": step, "files": held})
    for name in before - known - {*held.values()}:
        (place / FILES / name).unlink()


def read_copy(place: Path) -> dict[str, Any]:
    """What `copy.json` says: `run`, `step`, `files`, and the `digest` of it all.

    Raises:
        InputError: if there is none.
        Damaged: if it is none of ours.
    """
    try:
        data = (place / COPY).read_bytes()
        content = json.loads(data)
        named = {str(name): str(sha256) for name, sha256 in content["files"].items()}
        if not all(NAME.fullmatch(name) and SHA256.fullmatch(one) for name, one in named.items()):
            raise ValueError("it names what is no file of a run")
        digest = hashlib.sha256(data).hexdigest()
        return {
            "run": str(content["run"]), "step": content["step"], "files": named, "digest": digest
        }  # fmt: skip
    except FileNotFoundError:
        raise InputError(f"{place} holds no copy of a run: expected {COPY}") from None
    except Exception as error:  # of JSON of any form, and of the library of each kind of store
        raise Damaged(f"{place / COPY} cannot be read: {first_line(error)}") from None


def fetch(place: Path, into: Path) -> Path:
    """Bring a copy into a folder that holds no run.

    Raises:
        Damaged: if a file is not the one that was copied.
    """
    _fetch(place, read_copy(place), into)
    return into


def _fetch(place: Path, content: Mapping[str, Any], into: Path) -> None:
    files.make_folder(into)
    for name, sha256 in content["files"].items():
        beside = into / f".{name}.{os.getpid()}"
        storage.copy(place / FILES / sha256, beside)
        if kept.sha256_of(beside) != sha256:
            beside.unlink()
            raise Damaged(f"{place / FILES / sha256} is damaged: it is not the {name} it was")
        files.move(beside, into / name)


def folder_of(run: str | Path) -> Path:
    """The folder of a run; of one that is named by the place of a copy, that copy here.

    It is fetched into the cache once, and may be deleted there at any time.
    """
    place = storage.place(str(run)) if storage.is_url(run) else Path(run)
    if not storage.is_url(run) and (folder.holds_run(place) or not (place / COPY).exists()):
        return place
    content = read_copy(place)
    here = cache.place().parent / "runs"
    name = hashlib.sha256(str(run).encode()).hexdigest()[:16]
    target = here / f"{name}-{content['digest'][:16]}"
    if not target.exists():
        files.make_folder(here)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=here))
        try:
            _fetch(place, content, making)
            making.rename(target)
        except OSError:
            if not target.exists():  # else another process was first
                raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return target


def _files_of(place: Path) -> set[str]:
    """The names of the files that a copy has."""
    there = place / FILES
    return {one.name for one in there.iterdir()} if there.is_dir() else set()
