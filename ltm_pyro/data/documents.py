"""Reading documents: files, folders, data sets, and what a program already holds."""

import dataclasses
import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltm_pyro.data.kept import MADE
from ltm_pyro.data.sources import csv, folder, hub, memory, python_docs, saved, text
from ltm_pyro.data.sources.base import Again, Document, Found, Wanted, formats, read_file
from ltm_pyro.data.sources.opening import kind_of
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.files.storage import is_url


@dataclass(frozen=True)
class Source:
    """Documents by split, as they are read.

    Attributes:
        name: what messages and runs call it.
        splits: {"all": ...}, or the splits that it comes with, among train, valid and test. None of
            the documents is blank.
        notes: what a reader should know, a line each: fields taken for text, files left out.
        paths: the files and folders, if it is such.
        everything: all documents, blank ones among them.
        blank: how many of them are, when they were read last.
    """

    name: str
    splits: dict[str, Iterable[Document]]
    notes: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    everything: tuple[Iterable[Document], ...] = ()
    blank: Mapping[object, int] = field(default_factory=dict)


def read_documents(
    source: Any,
    fields: Iterable[str] = (),
    separator: str | None = None,
    subset: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
    delimiter: str | None = None,
) -> dict[str, list[str]]:
    """Documents by split: {"all": [...]}, or the splits that a data set comes with.

    Args:
        source: "python-docs", a file (.txt, .jsonl, .json, .ndjson, .csv, .tsv, .parquet; text also
            as .gz, .bz2, .xz, .zst), a folder of them, a folder written by `Dataset.save_to_disk`,
            or the name of a data set on the Hugging Face hub (`hf:NAME` if a file of that name
            exists too); a list or iterator of texts, a DataFrame, a `datasets.Dataset`, or a
            mapping from splits to any of these.
        fields: the fields of a record that make its text, joined by a newline; a dotted name goes
            into records (`messages.content`). Not given: "text", or else every field that holds
            text.
        separator: what stands between the documents of a text file: "line" (a text a line),
            "blank-line", or a regular expression. Not given: a blank line in a single .txt file; in
            a folder each .txt file is a document.
        subset: the configuration of a hub data set.
        streaming: read a hub data set as a stream (with `limit`, only its beginning is fetched).
        limit: read at most this many documents of each split.
        delimiter: what stands between the cells of a table; found out if not given.

    Raises:
        InputError: for a source that is missing, empty, not UTF-8, not what its name says, or
            without such fields.
    """
    wanted = Wanted(tuple(fields), separator, delimiter=delimiter)
    found = read_records(source, wanted, subset, streaming, limit)
    return {split: [one.text for one in documents] for split, documents in found.items()}


def read_records(
    source: Any,
    wanted: Wanted,
    subset: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
) -> dict[str, list[Document]]:
    """As `read_documents`, with the columns that are wanted of each document.

    A column is a field of a record; for files in a folder `folder` is the folder they lie in, and
    for "python-docs" `module` the module a text comes from. A document without it has None.

    Raises:
        InputError: for a column that no document can have, too.
    """
    found = find(source, wanted, subset, streaming, limit)
    documents = {split: list(some) for split, some in found.splits.items()}
    if not any(documents.values()):
        raise nothing_in(found, wanted)
    return documents


def find(
    source: Any,
    wanted: Wanted,
    subset: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
) -> Source:
    """What a source holds, read as it is asked for; see `read_documents`."""
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: expected 1 document or more")
    if isinstance(source, str | Path):
        name = str(source)
        if not name.strip():
            raise InputError("the data's name is empty: expected a file, a folder or a data set")
        found, path = _named(name, wanted, subset, streaming)
    else:
        found, name, path = memory.read(source, wanted), memory.name_of(source), None
    _check_columns(name, wanted, found)
    fields = dict.fromkeys(field for one in found.values() for field in one.fields)
    taken = f"text: field {', '.join(fields)}, found by looking; --field (fields=) takes others"
    notes = [taken] if fields else []
    notes += dict.fromkeys(note for one in found.values() for note in one.notes)
    splits = {split: _filled(name, one.documents, limit, wanted) for split, one in found.items()}
    everything = tuple(one.documents for one in found.values())
    paths = () if path is None else (path,)
    return Source(name, splits, tuple(notes), paths, everything, wanted.blank)


def several(
    sources: Iterable[str],
    wanted: Wanted,
    subset: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
) -> Source:
    """What several sources hold together, one after the other."""
    parts = [find(one, wanted, subset, streaming, limit) for one in sources]
    if not parts:
        raise InputError("no data are given: expected a file, a folder or a data set")
    splits: dict[str, list[Iterable[Document]]] = {}
    for part in parts:
        for split, documents in part.splits.items():
            splits.setdefault(split, []).append(documents)
    whole = all(part.paths for part in parts)
    return Source(
        ", ".join(part.name for part in parts),
        {split: _chained(some) for split, some in splits.items()},
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        tuple(path for part in parts for path in part.paths) if whole else (),
        tuple(documents for part in parts for documents in part.everything),
        wanted.blank,
    )


def _chained(parts: list[Iterable[Document]]) -> Iterable[Document]:
    return Again(lambda: itertools.chain.from_iterable(parts))


def where_of(source: Any) -> Any:
    """A source by where it lies, whatever folder one is in."""
    if isinstance(source, tuple):
        return [where_of(one) for one in source]
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


def marks_of(found: Source) -> dict[str, Any] | None:
    """Size and time of every file, by which a change is noticed; None where there are none."""
    if not found.paths:
        return None
    inside = (p.rglob("*") if p.is_dir() else (p,) for p in map(Path.resolve, found.paths))
    facts = {str(one): one.stat() for some in inside for one in some if one.is_file()}
    return {name: [fact.st_size, fact.st_mtime_ns] for name, fact in sorted(facts.items())}


def nothing_in(source: Source, wanted: Wanted) -> InputError:
    """Says that a source holds no text."""
    read = sum(1 for documents in source.everything for _ in documents)
    what = f"every one of the {read:,} documents read is blank" if read else "0 documents read"
    return InputError(
        f"{source.name} holds no text: {what}"
        + (f" in field {', '.join(wanted.fields)}" if wanted.fields else "")
        + "; expected at least one with text: give another --field, or other data"
    )


def _filled(
    name: str, documents: Iterable[Document], limit: int | None, wanted: Wanted
) -> Iterable[Document]:
    """Those that are not blank, as many as were asked for."""
    documents = list(documents) if isinstance(documents, Iterator) else documents
    these = object()

    def read() -> Iterator[Document]:
        wanted.blank[these] = 0
        for number, document in enumerate(wanted.whole(documents), start=1):
            try:
                if not document.text.isascii():
                    _check_letters(name, number, document.text)
            except InputError as error:
                wanted.broken("documents with half a letter", error)
                continue
            if document.text.strip():
                yield document
                continue
            wanted.blank[these] += 1
            if wanted.skipped is not None:
                wanted.skipped.add("blank documents")

    return Again(lambda: itertools.islice(read(), limit))


def _check_letters(name: str, number: int, text: str) -> None:
    """Raises InputError for half of a surrogate pair, which no UTF-8 file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"document {number} of {name} has half a letter in it "
            f"(\\u{ord(text[error.start]):04x}, half of a surrogate pair, at character "
            f"{error.start}): it cannot be written as UTF-8; repair or remove it"
        ) from None


def _named(
    name: str, wanted: Wanted, subset: str | None, streaming: bool
) -> tuple[dict[str, Found], Path | None]:
    """What a name stands for, by split, and its path if it is one."""
    if name == python_docs.NAME:
        return {"all": python_docs.read(wanted)}, None
    if is_url(name):
        raise InputError(
            f"{name} holds no text that ltm prepare has made ready: other text is read from files "
            "of this machine, or from the Hugging Face hub"
        )
    path = Path(name).expanduser()
    try:
        if "\0" in name:
            raise ValueError("it holds a null character")
        exists = path.exists()
    except (OSError, ValueError) as error:  # too long, say
        raise InputError(f"{name[:80]!r} is no name of a file: {error}") from None
    if exists and not name.startswith("hf:"):
        if not path.is_dir():
            between = wanted.separator or text.BLANK_LINE
            file = read_file(path, dataclasses.replace(wanted, separator=between))
            return {"all": file}, path
        if saved.is_saved(path):
            return saved.read(path, wanted), path
        if (path / MADE).exists():
            raise InputError(
                f"{path} holds text that is prepared: give it alone, not beside other text, nor "
                "to be prepared once more"
            )
        return folder.read(path, wanted), path
    if name.startswith("<"):
        raise InputError(
            f"the data were {name[1:-1]} that a program held, which are not saved: give them again"
        )
    if kind_of(path) in formats() or name.startswith((".", "/", "~")):
        raise _missing(path)
    return hub.read(name.removeprefix("hf:"), wanted, subset, streaming), None


def check_used(
    name: str, separator: str | None, delimiter: str | None, subset: str | None, streaming: bool
) -> None:
    """Raises InputError for an option that says how another kind of source is read than a file.

    Asked of what is given now: a run of before may have such options, and is read as it was.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        return
    kind = kind_of(path)
    for option, given, suffixes, of in (
        ("separator", separator, text.SUFFIXES, "a text file"),
        ("delimiter", delimiter, csv.SUFFIXES, "a table (.csv, .tsv)"),
        ("subset", subset, (), "a data set of the hub"),
        ("streaming", streaming or None, (), "a data set of the hub"),
    ):
        if given is not None and kind not in suffixes:
            raise InputError(
                f"{option} is {given!r}, which says how {of} is read, and {path} is none: leave it "
                "out, or give other data"
            )


def _check_columns(name: str, wanted: Wanted, found: dict[str, Found]) -> None:
    """Raises InputError for a column that none of a source's splits has."""
    known = {column for one in found.values() for column in one.columns}
    for column in wanted.columns:
        if not known:
            raise InputError(
                f"{name} has no column {column!r}, nor any other: a column is a field of a record "
                f"(of .jsonl, .csv, .parquet), or {folder.COLUMN!r} for a folder of files"
            )
        if column not in known:
            raise unknown(f"column of {name}", column, known)


def _missing(path: Path) -> InputError:
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=3)
    hint = f"did you mean {' or '.join(str(path.parent / name) for name in near)}?"
    return InputError(
        f"no file or folder at {path}: "
        + (hint if near else f"expected text there (looked from {Path.cwd()})")
    )
