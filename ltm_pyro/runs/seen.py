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
    try:  # mapped, so that a file takes no more room than it has
        found = np.load(path / SEEN, mmap_mode="r", allow_pickle=False)
        if found.dtype != np.uint64 or found.ndim != 1:
            raise ValueError(f"expected a list of numbers of 64 bits, not {found.dtype}")
    except Exception as error:  # of a header that numpy parses, too
        raise Damaged(
            f"{path / SEEN} is damaged ({first_line(error)}): put back a whole copy"
        ) from None
    return np.array(found)


def without_seen(rows: StoredRows, known: NDArray[np.uint64] | None) -> tuple[StoredRows, int]:
    """The rows of documents that are not among the known ones, and how many documents are."""
    if known is None or not len(rows) or not np.asarray(rows.digests).any():
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
