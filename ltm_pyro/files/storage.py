"""Where files are: in folders of this machine, or under a URL of a store (S3, GCS and others).

A place in a store is a path of universal_pathlib, which reads and writes it through fsspec; it has
the methods of `pathlib.Path`. A file there is written whole or not at all.
"""

import os
import shutil
from pathlib import Path
from typing import Any, cast

from ltm_pyro.errors import InputError, first_line


def is_url(name: Any) -> bool:
    """Whether it is a URL, such as s3://bucket/folder."""
    return isinstance(name, str) and "://" in name


def place(name: str | Path) -> Path:
    """The path of a name: of this machine, or of a store.

    Raises:
        InputError: for a URL whose library is not installed, or of a kind that is not known.
    """
    if not is_url(name):
        return Path(name).expanduser()
    try:
        from upath import UPath
    except ImportError:
        raise InputError(
            f"{name} is in a store, to read which needs more: pip install 'ltm-pyro[storage]'"
        ) from None
    try:
        found = UPath(name)
        found.fs.invalidate_cache()  # others may have written there since
    except Exception as error:  # of fsspec, and of the library of each kind of store
        raise InputError(f"cannot reach {name}: {first_line(error)}") from None
    return Path(found.path) if found.protocol in ("file", "local") else cast(Path, found)


def is_local(path: Path) -> bool:
    """Whether a path is one of this machine."""
    return isinstance(path, Path)


def remove(path: Path) -> None:
    """Remove a folder and all that is in it."""
    if is_local(path):
        shutil.rmtree(path)
    else:
        of_store(path).rm(key(path), recursive=True)


def copy(path: Path, to: Path) -> None:
    """Copy a file, from or to a store or on this machine; it is there whole or not at all."""
    if not is_local(to):
        of_store(to).put_file(str(path), key(to))
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        if is_local(path):
            shutil.copyfile(path, beside)
        else:
            of_store(path).get_file(key(path), str(beside))
        os.replace(beside, to)
    finally:
        beside.unlink(missing_ok=True)


def ranges(paths: list[Path], starts: list[int], ends: list[int]) -> list[bytes]:
    """Ranges of bytes of files in one store, asked for at once."""
    keys = [key(path) for path in paths]
    found: list[bytes] = of_store(paths[0]).cat_ranges(keys, starts, ends, on_error="raise")
    return found


def of_store(path: Path) -> Any:
    """The file system of a path in a store."""
    return cast(Any, path).fs


def key(path: Path) -> str:
    """What a path in a store is called there."""
    return str(cast(Any, path).path)
