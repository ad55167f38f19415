"""What a source of documents is, and the file formats that this folder holds.

A file format is a module of this folder with

- `SUFFIXES`: how its files' names end, in lower case; the first is what messages call it, and
- `read(path, wanted)`: the documents of one file of that kind, as `Found`.

Nothing else knows of it: a new format is a new module here.
"""

import functools
import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltm_pyro.data import sources
from ltm_pyro.data.sources.opening import kind_of
from ltm_pyro.errors import InputError

_FIRST = ("text", "jsonl", "csv", "parquet")  # in messages; others follow by name


@dataclass(frozen=True, slots=True)
class Document:
    """A text, and its columns: what is known of it besides. None is a missing value."""

    text: str
    columns: Mapping[str, str | None] = field(default_factory=dict)


class Skipped:
    """What was passed over, and why.

    Attributes:
        counts: how often, by the kind of what was wrong.
        first: what was said of the first of each kind.
    """

    def __init__(self) -> None:
        self.clear()

    def add(self, kind: str, why: str = "") -> None:
        """Count one."""
        self.counts[kind] += 1
        self.first.setdefault(kind, why)

    def clear(self) -> None:
        """Begin anew, for text that is read once more."""
        self.counts, self.first = Counter[str](), dict[str, str]()


@dataclass(frozen=True)
class Wanted:
    """What is asked of a source.

    Attributes:
        fields: the fields of a record that make its text; empty for the usual ones. A dotted name
            goes into a record, or into each of a list of records: `messages.content`.
        separator: what stands between the documents of a text file, if it has several: "line",
            "blank-line", or a regular expression.
        columns: names of the columns that documents are to carry.
        delimiter: what stands between the cells of a table; found out if not given.
        skipped: takes note of documents and files that cannot be read, which are then passed over;
            not given, the first of them is an error.
        blank: how many documents without text were met when each source was read last.
    """

    fields: tuple[str, ...] = ()
    separator: str | None = None
    columns: tuple[str, ...] = ()
    delimiter: str | None = None
    skipped: Skipped | None = None
    blank: dict[object, int] = field(default_factory=dict)

    def broken(self, kind: str, error: InputError) -> None:
        """Pass over what cannot be read, or raise that error."""
        if self.skipped is None:
            raise error from None
        self.skipped.add(kind, str(error))

    def whole(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Documents up to where their file cannot be read."""
        try:
            yield from documents
        except InputError as error:
            self.broken("files that end where they cannot be read on", error)


@dataclass(frozen=True)
class Found:
    """The documents of a source, perhaps read as they are asked for.

    Attributes:
        documents: each carries those of the wanted columns that its source has. They may be asked
            for again, and are then read again.
        columns: names of all columns that the source has.
        fields: the fields that made the text, where they were chosen here.
        notes: what a reader should know: a line each.
    """

    documents: Iterable[Document]
    columns: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @staticmethod
    def together(parts: "list[Found]") -> "Found":
        """Several as one, in order."""
        return Found(
            Again(lambda: (one for part in parts for one in part.documents)),
            tuple(dict.fromkeys(name for part in parts for name in part.columns)),
            tuple(dict.fromkeys(name for part in parts for name in part.fields)),
            tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        )


class Again:
    """Documents that are read each time they are asked for, so that none need be kept."""

    def __init__(self, read: Callable[[], Iterator[Document]]):
        self._read = read

    def __iter__(self) -> Iterator[Document]:
        return self._read()


Reader = Callable[[Path, Wanted], Found]


@functools.cache
def formats() -> dict[str, Reader]:
    """The reader of each suffix, e.g. `.jsonl`."""
    found: dict[str, Reader] = {}
    for module in _modules():
        found |= dict.fromkeys(module.SUFFIXES, module.read)
    return found


def suffixes() -> list[str]:
    """The formats as messages name them, by their first suffix."""
    return [module.SUFFIXES[0] for module in _modules()]


def read_file(path: Path, wanted: Wanted) -> Found:
    """The documents of one file, by its suffix.

    Raises:
        InputError: for a format that is not known, or an empty file.
    """
    if kind_of(path) not in formats():
        raise InputError(f"cannot read {path}: expected {either(suffixes())}")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes): expected text in it")
    return formats()[kind_of(path)](path, wanted)


def either(names: Iterable[str]) -> str:
    """`a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


@functools.cache
def _modules() -> list[Any]:
    """The modules of this folder that are file formats."""
    names = [info.name for info in pkgutil.iter_modules(sources.__path__)]
    names.sort(key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    modules = [importlib.import_module(f"{sources.__name__}.{name}") for name in names]
    return [module for module in modules if hasattr(module, "SUFFIXES")]
