"""What of a text is copied from rows of tokens, such as those a model was trained on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ltm_pyro.data.store import AnyRows

CHUNK = 4096
"""Rows that are searched at once; bounds the memory."""
BASE = np.uint64(0x9E3779B97F4A7C15)
"""Of a hash of 64 bits of a run of tokens, to which each further token adds; odd."""
Hashes = NDArray[np.uint64]


def copied(texts: Sequence[Sequence[int]], rows: AnyRows) -> list[NDArray[np.int64]]:
    """How many tokens in a row, from each token of a text on, stand in some row just so.

    Searched for by hashes of 64 bits, of runs that grow by a token at a time: only where a run of n
    tokens was found can one of n + 1 be. A false find is as likely as one pair in 2**64.

    Args:
        texts: token ids of each text.
        rows: what is searched. A run that crosses the end of a row is not in it.

    Returns:
        For each text the lengths, (tokens,).
    """
    lengths = [len(ids) for ids in texts]
    wanted = _laid([np.asarray(ids, np.int64) for ids in texts], -1)
    best = np.zeros(len(wanted), np.int64)
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        tokens = part.tokens.cpu().numpy()
        some = zip(tokens, part.lengths.tolist(), strict=True)
        best = np.maximum(best, _found(wanted, _laid([row[:n] for row, n in some], -2)))
    ends = np.cumsum([n + 1 for n in lengths])
    return [best[end - 1 - n : end - 1] for n, end in zip(lengths, ends, strict=True)]


def _laid(parts: Sequence[NDArray[np.int64]], between: int) -> NDArray[np.int64]:
    """Parts one after the other, each with something behind it that no other side has."""
    return np.concatenate([np.append(part, between) for part in parts] or [np.zeros(0, np.int64)])


def _found(wanted: NDArray[np.int64], text: NDArray[np.int64]) -> NDArray[np.int64]:
    """The longest run from each place of `wanted` on that stands in `text`, in tokens."""
    best = np.zeros(len(wanted), np.int64)
    here, there = np.arange(len(wanted)), np.arange(len(text))
    ours, theirs = np.zeros(len(wanted), np.uint64), np.zeros(len(text), np.uint64)
    size = 0
    while len(here) and len(there):
        ours, theirs = _add(ours, wanted[here + size]), _add(theirs, text[there + size])
        mine, its = np.isin(ours, theirs), np.isin(theirs, ours)
        here, ours, there, theirs = here[mine], ours[mine], there[its], theirs[its]
        size += 1
        best[here] = size
        inside, within = here + size < len(wanted), there + size < len(text)
        here, ours, there, theirs = here[inside], ours[inside], there[within], theirs[within]
    return best


def _add(hashes: Hashes, tokens: NDArray[np.int64]) -> Hashes:
    """The hashes of runs that have grown by these tokens."""
    mixed = (hashes + tokens.astype(np.uint64) + np.uint64(3)) * BASE
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(32))
