"""The order that rows are visited in: shuffled epochs of which no permutation is ever made."""

import numpy as np
from numpy.typing import NDArray

from ltm_pyro.seeds import derive

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def shuffled(places: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Where a random permutation of `size` things, that of the `seed`, puts these places.

    It is the swap-or-not shuffle (Hoang, Morris & Rogaway, *An Enciphering Scheme Based on a Card
    Shuffle*, 2012): in each round things are paired, by a number of the round, and a pair changes
    places or not, by a coin that both can compute. So a place's image takes time of its own alone:
    a function of seed, size and place. After 6 log2(size) rounds no test tells it from a uniform
    permutation; here are 8 more.
    """
    at = np.array(places, dtype=np.uint64)
    if size < 2:
        return at.astype(np.int64)
    rounds = 8 + 6 * int(size - 1).bit_length()
    source = np.random.SeedSequence(derive(seed)).generate_state(2 * rounds, np.uint64)
    with np.errstate(over="ignore"):
        for pairing, coin in source.reshape(rounds, 2):
            other = (pairing % np.uint64(size) + np.uint64(size) - at) % np.uint64(size)
            tossed = _mixed(np.maximum(at, other) + coin) & np.uint64(1)
            at = np.where(tossed.astype(bool), other, at)
    return at.astype(np.int64)


def batch_places(step: int, batch: int, size: int, seed: int) -> NDArray[np.int64]:
    """The rows of a training step: `batch` of an endless stream of shuffled epochs of `size` rows.

    It depends on its arguments alone, so a resumed run reads on where it would have read.
    """
    stream = np.arange(step * batch, (step + 1) * batch)
    epochs, within = stream // size, stream % size
    chosen = np.empty(batch, np.int64)
    for epoch in np.unique(epochs).tolist():
        here = epochs == epoch
        chosen[here] = shuffled(within[here], size, derive(seed, epoch))
    return chosen


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * _MIX[0]
    x = (x ^ (x >> np.uint64(27))) * _MIX[1]
    return x ^ (x >> np.uint64(31))
