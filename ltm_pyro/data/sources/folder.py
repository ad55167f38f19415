"""A folder of files, in folders of their own or not."""

from pathlib import Path

from ltm_pyro.data.sources.base import (
    Document,
    Found,
    Wanted,
    either,
    formats,
    read_file,
    suffixes,
)
from ltm_pyro.errors import InputError

COLUMN = "folder"
"""The column that holds the folder a document's file lies in, from the source's on: `a/b`, or `.`.

A field of that name in the records of a file goes before it.
"""


def read(path: Path, wanted: Wanted) -> Found:
    """The documents of all files, in the order of their paths."""
    files = sorted(p for p in path.rglob("*") if p.suffix in formats() and p.is_file())
    if not files:
        raise InputError(f"folder {path} holds no {either(suffixes())} file")
    documents: list[Document] = []
    columns = {COLUMN: None}
    for file in files:
        found = read_file(file, wanted)
        columns |= dict.fromkeys(found.columns)
        place = {COLUMN: file.parent.relative_to(path).as_posix()}
        for document in found.documents:
            own = place | dict(document.columns) if COLUMN in wanted.columns else document.columns
            documents.append(Document(document.text, own))
    return Found(documents, tuple(columns))
