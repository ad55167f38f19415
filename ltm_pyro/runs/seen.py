"""Which documents a run was trained on, so that no figure of held-out text is of one of them."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltm_pyro.data.store import StoredRows
from ltm_pyro.errors import Damaged, first_line
from ltm_pyro.runs.manifest import Manifest

SEEN = "seen.npy"


def seen(path: Path) -> NDArray[np.uint64] | None:
    """Numbers of the texts of a run's training documents, sorted; None where it has none.

    Windows of the packed layout are no documents, and runs of before 0.5.0 kept none.

    Raises:
        Damaged: if the file is not as it was written.
    """
    if not (path / SEEN).exists():
        return None
    manifest = Manifest.read(path)
    if manifest is not None:
        manifest.check(SEEN)
    try:
        found = np.load(io.BytesIO((path / SEEN).read_bytes()), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Damaged(
            f"{path / SEEN} is damaged ({first_line(error)}): put back a whole copy"
        ) from None
    return np.asarray(found, np.uint64)


def without_seen(rows: StoredRows, known: NDArray[np.uint64] | None) -> tuple[StoredRows, int]:
    """The rows of documents that are not among the known ones, and how many documents are."""
    if known is None or not len(rows) or not rows.digests.any():
        return rows, 0
    met = np.isin(rows.digests, known)
    own = rows.index["document"]
    return rows.chosen(np.flatnonzero(~met[own]).tolist()), int(met[np.unique(own)].sum())


def kept(rows: StoredRows) -> Iterator[tuple[str, bytes]]:
    """The file of a run that is trained on these rows, and what it is to hold."""
    digests = np.unique(np.asarray(rows.digests))
    if digests.any():
        held = io.BytesIO()
        np.save(held, digests)
        yield SEEN, held.getvalue()
