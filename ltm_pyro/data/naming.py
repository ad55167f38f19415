"""What documents are called where they come from: a file, and a place in it."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ltm_pyro.config import Data
from ltm_pyro.data.building import digest_of, every
from ltm_pyro.data.documents import find
from ltm_pyro.data.prepared import is_prepared
from ltm_pyro.data.sources import folder, saved
from ltm_pyro.data.sources.base import Wanted
from ltm_pyro.data.store import StoredRows


def names_of(rows: StoredRows, data: Data) -> dict[int, str]:
    """The name of each document of some rows, by its number: `a/b.txt`, or `b.jsonl:17`.

    The text is read once more, and documents are known by it; a place is counted from 1.

    Args:
        rows: of a corpus whose documents stand in rows of their own.
        data: how it was read (`Corpus.read_as`).

    Raises:
        InputError: if it cannot be read again.
    """
    if is_prepared(data.source):  # whose text is not there
        return {int(n): f"document {n}" for n in np.unique(rows.index["document"])}
    known: defaultdict[int, deque[str]] = defaultdict(deque)
    for digest, name in _named(data):
        known[digest].append(name)
    found: dict[int, str] = {}
    for number in np.unique(rows.index["document"]).tolist():
        some = known.get(int(rows.digests[number]))
        # Copies of a text are all alike: each has one of their names.
        found[number] = some.popleft() if some else f"document {number}"
    return found


def _named(data: Data) -> Iterator[tuple[int, str]]:
    """The number that stands for each text, and its name, in the order of reading."""
    for source in (data.source,) if isinstance(data.source, str) else data.source:
        path = Path(source).expanduser()
        files = path.is_dir() and not saved.is_saved(path)
        wanted = Wanted(
            data.fields, data.separator, (folder.FILE,) if files else (), data.delimiter
        )
        found = find(source, wanted, data.subset, data.streaming, data.limit)
        documents = [(digest_of(one.text), one.columns.get(folder.FILE) if files else None)
                     for _, one in every(found)]  # fmt: skip
        sizes, places = Counter(file for _, file in documents), Counter[str | None]()
        for digest, file in documents:
            places[file] += 1
            name = path.name if file is None else file
            yield digest, name if sizes[file] == 1 else f"{name}:{places[file]}"
