"""Documents that share much of their text, as groups, so that a split does not part them."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

WORDS, SHARE, COMMON = 8, 0.5, 100
"""Two documents are near-duplicates if they share more than `SHARE` of the runs of `WORDS` words of
the shorter one. Runs that more than `COMMON` documents have are boilerplate, and count for none.
"""


def groups(texts: Iterable[str]) -> NDArray[np.int64]:
    """A number for each text, the same for texts that a chain of near-duplicates connects.

    The number is the place of the group's first text. A text of fewer than `WORDS` words is one
    run. Memory grows with the number of words.
    """
    counts: list[int] = []
    runs: list[NDArray[np.uint64]] = []
    for text in texts:
        found = _runs(text)
        counts.append(len(found))
        runs.append(found)
    if not counts:
        return np.zeros(0, np.int64)
    owner = np.repeat(np.arange(len(counts)), counts)
    every = np.concatenate(runs)
    order = np.argsort(every, kind="stable")
    owner, every = owner[order], every[order]
    edges = np.concatenate([[0], np.flatnonzero(np.diff(every)) + 1, [len(every)]])
    parent = np.arange(len(counts))
    shared: Counter[tuple[int, int]] = Counter()
    length = np.diff(edges)
    several = (length > 1) & (length <= COMMON)
    for start, end in zip(edges[:-1][several], edges[1:][several], strict=True):
        shared.update(itertools.combinations(owner[start:end].tolist(), 2))
    for (a, b), count in shared.items():
        if count > SHARE * min(counts[a], counts[b]):
            _join(parent, a, b)
    return np.array([_root(parent, place) for place in range(len(counts))], np.int64)


def _runs(text: str) -> NDArray[np.uint64]:
    """Numbers of the different runs of words."""
    words = text.split()
    some = {" ".join(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))}
    return np.array([
        int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest()) for run in some
    ], np.uint64)  # fmt: skip


def _root(parent: NDArray[np.int64], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = int(parent[place])
    return place


def _join(parent: NDArray[np.int64], a: int, b: int) -> None:
    first, second = sorted((_root(parent, a), _root(parent, b)))
    parent[second] = first
