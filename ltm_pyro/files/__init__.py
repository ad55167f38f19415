"""Files that a crash, a kill or a full disk leaves whole."""

import contextlib
import errno
import json
import os
import stat
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ltm_pyro.errors import Damaged, InputError, first_line
from ltm_pyro.files.storage import is_local
from ltm_pyro.options import shown

UNTOUCHED = "what was there before is untouched"


class CannotWrite(InputError):
    """The disk did not take a file; what the file held before is untouched."""


class Steady:
    """A text stream whose reader may leave: what it does not take is lost, and nothing else is."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if the stream takes it."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if the stream can be."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            return bool(self._stream.isatty())
        except (OSError, ValueError, AttributeError):
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def write(path: Path, data: bytes | memoryview) -> None:
    """Replace a file so that a crash leaves either the old one or the new one.

    Raises:
        CannotWrite: if the disk is full, or does not let us.
    """
    if is_local(path):
        move(put(path, data), path)
        return
    try:  # in a store a file is written whole or not at all
        path.write_bytes(bytes(data))
    except Exception as error:  # of the library of each kind of store
        raise CannotWrite(f"cannot write {path}: {first_line(error)}; {UNTOUCHED}") from None


def write_json(path: Path, content: Any) -> None:
    """Replace a file by plain JSON types, a line for each, and make its folder where it is missing.

    Raises:
        CannotWrite: if the disk is full, or does not let us.
    """
    make_folder(path.parent)
    write(path, (json.dumps(content, indent=1) + "\n").encode())


def put(path: Path, data: bytes | memoryview) -> Path:
    """Write, beside a file's place, what is to be moved there; returns where it is.

    A symbolic link at either place is not followed.

    Raises:
        CannotWrite: if the disk is full, or does not let us.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            beside.unlink(missing_ok=True)
            with open(beside, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot(path, error, UNTOUCHED) from None
    return beside


def move(beside: Path, path: Path) -> None:
    """Move what was written beside a file into its place.

    Raises:
        CannotWrite: if the disk does not let us.
    """
    try:
        try:
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise cannot(path, error, UNTOUCHED) from None


def is_stored(path: Path) -> bool:
    """Whether a zip archive is not compressed, so that reading it takes no more room than it."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False
    sizes = sum(part.file_size for part in parts)
    stored = all(part.compress_type == zipfile.ZIP_STORED for part in parts)
    return stored and sizes <= path.stat().st_size


def keep_as(path: Path, to: Path) -> None:
    """Let a file have a second name; where a file system cannot do that, its only one.

    Raises:
        CannotWrite: if the disk does not let us.
    """
    beside = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        os.link(path, beside)
    except OSError:
        beside = path
    move(beside, to)


def sync(folder: Path) -> None:
    """See to it that what was moved in a folder so far lasts, where its file system can say so."""
    if hasattr(os, "O_DIRECTORY"):
        with contextlib.suppress(OSError):
            place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(place)
            finally:
                os.close(place)


def check_plain(folder: Path) -> None:
    """Raises Damaged if a folder holds a device or a pipe, which might be read for ever.

    Also where a symbolic link leads to one.
    """
    for entry in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # it is gone, or where its link leads is
            mode = entry.stat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise Damaged(
                    f"{entry} is a device or a pipe, neither a file nor a folder: remove it, or "
                    "put back a whole copy"
                )


def settle(path: Path) -> None:
    """See to it that what was added to a file lasts."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def append(path: Path, line: str) -> None:
    """Add a line to a file. A crash may leave it torn; `json_lines` passes over a torn end.

    Raises:
        CannotWrite: if the disk is full, or does not let us, or the file is a symbolic link.
    """
    try:
        with open(path, "a", encoding="utf-8", opener=_not_through_links) as file:
            file.write(line + "\n")
    except OSError as error:
        raise cannot(path, error, "the lines before are untouched") from None


def check_is_folder(path: Path) -> None:
    """Raises InputError if a folder cannot be here because something in its path is a file."""
    if not is_local(path):  # a store has no folders
        return
    there = next((p for p in (path, *path.parents) if p.exists()), None)
    if there is not None and not there.is_dir():
        raise InputError(f"{there} is a file, and a folder is needed: give another --out")


def make_folder(path: Path) -> None:
    """A folder and those above it, if they are not there yet.

    Raises:
        CannotWrite: if one of them cannot be made.
    """
    if not is_local(path):
        return
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


def check_same(path: Path, made: Mapping[str, Any], what: str, adds: Collection[str] = ()) -> None:
    """Raises InputError if a folder holds what follows from something else.

    Args:
        path: the file of the folder that says what it follows from, if there is one.
        made: what is asked for follows from; plain JSON types.
        what: is kept there, in words.
        adds: what may differ.
    """
    if not path.exists():
        return
    try:
        there: dict[str, Any] = json.loads(path.read_bytes())["made"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({first_line(error)}): give another folder") from None
    for name in sorted({*there, *made} - {*adds}):
        if there.get(name) != made.get(name):
            raise InputError(
                f"{path.parent} holds {what} with {name.replace('_', '-')} "
                f"{shown(there.get(name))}, and {shown(made.get(name))} is asked for: give another "
                "folder, or the same options to go on"
            )


def json_lines(path: Path, data: bytes | None = None) -> list[dict[str, Any]]:
    """The objects of a JSON lines file, a torn last line left out; [] if there is no file.

    Its content may be given as `data`.

    Raises:
        Damaged: for a whole line that is no object with a "step", by its number.
    """
    if data is None:
        if not path.exists():
            return []
        data = path.read_bytes()
    *whole, _torn = data.split(b"\n")
    found = []
    for number, text in enumerate(whole, 1):
        try:
            line = json.loads(text)
            line["step"] = int(line["step"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise Damaged(
                f"{path} is damaged in line {number}: expected a JSON object with a step; "
                "delete that line to go on without it"
            ) from None
        found.append(line)
    return found


def _not_through_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def cannot(path: Path, error: OSError, comfort: str) -> CannotWrite:
    """The error for a file that the disk does not take, with what to do."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    mend = "make room" if full else "make it a place that can be written"
    if error.errno == errno.ELOOP:
        mend = "it is a symbolic link, which a run does not write through"
    return CannotWrite(f"cannot write {path}: {error.strerror or error} ({mend}); {comfort}")
