"""Files that a crash, a kill or a full disk leaves whole."""

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ltm_pyro.errors import InputError


class CannotWrite(InputError):
    """The disk did not take a file; what the file held before is untouched."""


def write(path: Path, data: bytes | memoryview) -> None:
    """Replace a file so that a crash leaves either the old one or the new one.

    Raises:
        CannotWrite: if the disk is full, or does not let us.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with open(beside, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot(path, error, "what was there before is untouched") from None


def append(path: Path, line: str) -> None:
    """Add a line to a file. A crash may leave it torn; `json_lines` passes over a torn end.

    Raises:
        CannotWrite: if the disk is full, or does not let us.
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise _cannot(path, error, "the lines before are untouched") from None


def check_is_folder(path: Path) -> None:
    """Raises InputError if a folder cannot be here because something in its path is a file."""
    there = next((p for p in (path, *path.parents) if p.exists()), None)
    if there is not None and not there.is_dir():
        raise InputError(f"{there} is a file: a run needs a folder; give another --out")


def make_folder(path: Path) -> None:
    """A folder and those above it, if they are not there yet.

    Raises:
        CannotWrite: if one of them cannot be made.
    """
    check_is_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(
            f"cannot make the folder {path}: {error.strerror or error}; give another --out"
        ) from None


def clean(folder: Path, names: Iterable[str]) -> None:
    """Remove what a process that was killed while it wrote these files left beside them."""
    for name in names:
        for beside in folder.glob(f".{name}.*"):
            if beside.suffix[1:].isdecimal():
                beside.unlink(missing_ok=True)


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file, a torn last line left out; [] if there is no file.

    Raises:
        InputError: for a whole line that is no object with a "step", by its number.
    """
    if not path.exists():
        return []
    *whole, _torn = path.read_bytes().split(b"\n")
    found = []
    for number, text in enumerate(whole, 1):
        try:
            line = json.loads(text)
            line["step"] = int(line["step"])
        except (ValueError, TypeError, KeyError):
            raise InputError(
                f"{path} is damaged in line {number}: expected a JSON object with a step; "
                "delete that line to go on without it"
            ) from None
        found.append(line)
    return found


def _cannot(path: Path, error: OSError, comfort: str) -> CannotWrite:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    mend = "make room" if full else "make it a place that can be written"
    return CannotWrite(f"cannot write {path}: {error.strerror or error} ({mend}); {comfort}")
