"""A folder of files, in folders of their own or not."""

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ltm_pyro.data.sources import saved
from ltm_pyro.data.sources.base import (
    Again,
    Document,
    Found,
    Wanted,
    either,
    formats,
    read_file,
    suffixes,
)
from ltm_pyro.data.sources.opening import kind_of
from ltm_pyro.data.sources.splits import split_named
from ltm_pyro.errors import InputError

COLUMN = "folder"
"""The column that holds the folder a document's file lies in, from the source's on: `a/b`, or `.`.

A field of that name in the records of a file goes before it.
"""
FILE = "file"
"""The column that holds the file itself, from the source's folder on: `a/b/c.txt`; likewise."""
_ABOUT = {"readme", "license", "licence", "notice", "changelog", "citation", "authors"}
"""Files that tell of a data set, and are no part of it."""


def read(path: Path, wanted: Wanted) -> dict[str, Found]:
    """The documents of all files, in the order of their paths; by split if their names say so.

    A file is of the split that its name, or that of the first folder on the way to it, stands for:
    `train.jsonl`, `test-00000-of-00002.parquet`, `Validation/a.txt`. Hidden files, backups of
    editors, files that tell of the data (README) and runs of this library are left out.

    Raises:
        InputError: if nothing can be read, or if some names stand for splits and others do not.
    """
    files, left_out = _listed(path)
    if not files:
        raise InputError(f"folder {path} holds no {either(suffixes())} file{_without(left_out)}")
    places: dict[str, list[Path]] = {}
    for file in files:
        places.setdefault(_split(file.relative_to(path)), []).append(file)
    if len(places) > 1 and "" in places:
        named = {split: str(some[0].relative_to(path)) for split, some in places.items()}
        raise InputError(
            f"folder {path} has files of splits ({', '.join(v for k, v in named.items() if k)}) "
            f"and others, such as {named['']}: give each file or folder the name of a split "
            "(train, valid, test), or read a folder without the others"
        )
    found = {
        split or "all": Found.together([_file(path, file, wanted) for file in some])
        for split, some in places.items()
    }
    if set(found) == {"train"}:  # nothing held out: we split it ourselves
        found = {"all": found["train"]}
    if left_out:
        first, one = next(iter(found.items()))
        note = f"left out of {path}: {_counted(left_out)}"
        found[first] = Found.together([one, Found((), notes=(note,))])
    return found


def _file(folder: Path, file: Path, wanted: Wanted) -> Found:
    """The documents of a file, or of a saved data set, with the folder they lie in."""
    try:
        if file.is_dir():
            found = Found.together(list(saved.read(file, wanted).values()))
        else:
            found = read_file(file, wanted)
    except InputError as error:
        if wanted.skipped is None:
            raise
        return Found(Again(functools.partial(_unreadable, wanted, error)), (COLUMN, FILE))
    columns = tuple(dict.fromkeys((COLUMN, FILE, *found.columns)))
    here = file.relative_to(folder)
    place = {COLUMN: here.parent.as_posix(), FILE: here.as_posix()}
    place = {name: value for name, value in place.items() if name in wanted.columns}
    if not place:
        whole = Again(lambda: wanted.whole(found.documents))
        return Found(whole, columns, found.fields, found.notes)

    def documents() -> Iterator[Document]:
        for one in wanted.whole(found.documents):
            yield Document(one.text, place | dict(one.columns))

    return Found(Again(documents), columns, found.fields, found.notes)


def _unreadable(wanted: Wanted, error: InputError) -> Iterator[Document]:
    """No document, of a file that is passed over."""
    wanted.broken("files that cannot be read", error)
    yield from ()


def _listed(folder: Path) -> tuple[list[Path], list[str]]:
    """What is to be read (files, and folders of saved data sets), and what is left out."""
    files: list[Path] = []
    left_out: list[str] = []
    waiting, met = [folder], set()
    while waiting:
        here = waiting.pop()
        try:
            real = here.resolve()
            entries = sorted(here.iterdir()) if real not in met else []
        except OSError as error:
            raise InputError(f"cannot read {here}: {error.strerror or error}") from None
        met.add(real)  # a link may lead back to where it is
        for entry in entries:
            reason = _reason(entry)
            if reason is not None:
                left_out.append(reason)
            elif entry.is_dir() and not saved.is_saved(entry):
                waiting.append(entry)
            elif entry.is_dir() or entry.is_file():
                files.append(entry)
    return sorted(files), left_out


def _reason(entry: Path) -> str | None:
    """Why an entry of a folder is not read, or None."""
    name = entry.name
    if name.startswith((".", "~$")) or name == "__MACOSX":
        return "hidden"
    if name.endswith("~") or (name.startswith("#") and name.endswith("#")):
        return "backups"
    if entry.is_dir():
        if (entry / "prepared.json").exists():
            return "prepared text"
        run = (entry / "config.json").exists() and (entry / "log.jsonl").exists()
        return "a run of this library" if run else None
    if not entry.is_file():
        return "no files"
    if entry.stem.split(".")[0].lower() in _ABOUT:
        return name
    if kind_of(entry) not in formats():
        return kind_of(entry) or "files without a suffix"
    return None


def _split(file: Path) -> str:
    """The split that a file's place stands for, "" for none.

    Raises:
        InputError: if it stands for two.
    """
    parts = [file.parts[0] if len(file.parts) > 1 else "", file.name.split(".")[0]]
    named = [split_named(part) for part in parts]
    if named[0] and named[1] and named[0] != named[1]:
        raise InputError(
            f"{file} lies in a folder of one split ({named[0]}) and has the name of another "
            f"({named[1]}): rename one of them"
        )
    return named[0] or named[1] or ""


def _counted(left_out: list[str]) -> str:
    return ", ".join(
        f"{kind} ({count})" if count > 1 else kind for kind, count in Counter(left_out).items()
    )


def _without(left_out: list[str]) -> str:
    return f" (left out: {_counted(left_out)})" if left_out else ""
