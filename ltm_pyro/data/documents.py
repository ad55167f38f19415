"""Reading documents: files, folders, and data sets from the Hugging Face hub."""

import dataclasses
import difflib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from ltm_pyro.data.sources import folder, hub, python_docs, saved
from ltm_pyro.data.sources.base import Document, Found, Wanted, formats, read_file
from ltm_pyro.errors import InputError, unknown

BLANK_LINE = r"\n[ \t]*\n"


def read_documents(
    source: str | Path,
    fields: Iterable[str] = (),
    separator: str | None = None,
    subset: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
) -> dict[str, list[str]]:
    """Documents by split: {"all": [...]}, or the splits that a data set comes with.

    Args:
        source: "python-docs", a file (.txt, .jsonl, .csv, .parquet), a folder of them, a folder
            written by `Dataset.save_to_disk`, or the name of a data set on the Hugging Face hub
            (`hf:NAME` if a file of that name exists too).
        fields: the fields of a record that make its text, joined by a newline. Not given: "text",
            or else every field that holds text.
        separator: regular expression between the documents of a text file. Not given: a blank
            line in a single .txt file; in a folder each .txt file is a document.
        subset: the configuration of a hub data set.
        streaming: read a hub data set as a stream (with `limit`, only its beginning is fetched).
        limit: read at most this many documents of each split.

    Raises:
        InputError: for a source that is missing, empty, not UTF-8, or without such fields.
    """
    wanted = Wanted(tuple(fields), separator)
    found = read_records(source, wanted, subset, streaming, limit)
    return {split: [one.text for one in documents] for split, documents in found.items()}


def read_records(
    source: str | Path,
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
    name = str(source)
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: expected 1 document or more")
    if not name.strip():
        raise InputError("the data's name is empty: expected a file, a folder or a data set")
    found = _found(name, wanted, subset, streaming)
    _check_columns(name, wanted, found)
    read = 0

    def filled(documents: Iterable[Document]) -> Iterator[Document]:
        nonlocal read
        for document in documents:
            read += 1
            if document.text.strip():
                yield document

    documents = {split: list(islice(filled(one.documents), limit)) for split, one in found.items()}
    if not any(documents.values()):
        what = f"every one of the {read:,} documents read is blank" if read else "0 documents read"
        raise InputError(
            f"{name} holds no text: {what}"
            + (f" in field {', '.join(wanted.fields)}" if wanted.fields else "")
            + "; expected at least one with text: give another --field, or other data"
        )
    return documents


def _found(name: str, wanted: Wanted, subset: str | None, streaming: bool) -> dict[str, Found]:
    """What a source holds, by split."""
    path = Path(name)
    if name == python_docs.NAME:
        return {"all": python_docs.read(wanted)}
    if path.exists() and not name.startswith("hf:"):
        if not path.is_dir():
            between = wanted.separator or BLANK_LINE
            return {"all": read_file(path, dataclasses.replace(wanted, separator=between))}
        if saved.is_saved(path):
            return saved.read(path, wanted)
        return {"all": folder.read(path, wanted)}
    if path.suffix in formats() or name.startswith((".", "/", "~")):
        raise _missing(path)
    return hub.read(name.removeprefix("hf:"), wanted, subset, streaming)


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
