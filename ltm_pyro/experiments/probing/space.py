"""Where thoughts lie: neighbours among documents, and what a step from value to value does."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from ltm_pyro.bounds.weights import Array
from ltm_pyro.data.rows import Rows
from ltm_pyro.experiments.probing.linear import Mean, p_value
from ltm_pyro.seeds import Stream, derive

Neighbours = NDArray[np.int64]


def bags(rows: Rows, vocabulary: int) -> Array:
    """Square roots of the shares that tokens have in each row, (rows, vocabulary).

    Their inner products are 1 for rows of the same words, and 0 where no word is shared.
    """
    found = np.zeros((len(rows), vocabulary))
    tokens, lengths = rows.tokens.cpu().numpy(), rows.lengths.cpu().numpy()
    for i, length in enumerate(lengths):
        np.add.at(found[i], tokens[i, :length], 1 / max(length, 1))
    return np.sqrt(found)


def nearest(values: Array, number: int) -> Neighbours:
    """The nearest other documents of each, by Euclidean distance: (documents, number)."""
    apart = cdist(values, values)
    np.fill_diagonal(apart, np.inf)
    return apart.argsort(1, kind="stable")[:, : min(number, len(values) - 1)]


def alike(neighbours: Neighbours, likeness: Array, shuffles: int, seed: int) -> dict[str, Any]:
    """How alike neighbours are, and documents dealt to their places by lot.

    Args:
        neighbours: of each document, (documents, k).
        likeness: of each two documents, (documents, documents).
        shuffles: how often documents are dealt to places anew.
        seed: by which they are.

    Returns:
        Plain types: `found` [mean over documents, standard error], `by_lot` [mean, standard
        deviation over dealings], `p`, the share of dealings with neighbours as much alike.
    """
    here = np.arange(len(neighbours))
    own = Mean(likeness[here[:, None], neighbours].mean(1))
    source = np.random.default_rng(derive(seed, Stream.PLACES))
    by_lot = np.empty(shuffles)
    for i in range(shuffles):
        who = source.permutation(len(here))
        by_lot[i] = likeness[who[:, None], who[neighbours]].mean()
    return {"found": own.told(), "by_lot": [by_lot.mean(), by_lot.std(ddof=1)],
            "p": p_value(own.value, by_lot)}  # fmt: skip


def likeness_of(values: NDArray[Any]) -> Array:
    """Of codes whether two are the same, of numbers how little they differ: less |a - b|."""
    if np.issubdtype(values.dtype, np.integer):
        return (values[:, None] == values).astype(float)
    return -np.abs(values[:, None] - values)


Score = Callable[[Array, NDArray[np.int64]], Array]
"""From thoughts (n, D) and documents (n,) to log p of each document under its thoughts, nats."""


def moved(
    score: Score,
    means: Array,
    codes: NDArray[np.int64],
    one: int,
    other: int,
    shuffles: int,
    seed: int,
) -> dict[str, Any]:
    """Whether thoughts of a value, less its mean and plus another's, suit the other's documents.

    Means are of one half of the documents. In the other half each document of value `other` is
    scored under the thoughts of one of value `one`, as they are and moved by the difference of the
    means. By lot: means of groups of the same sizes out of the same half, whatever their values.

    Args:
        score: see `Score`.
        means: thoughts of each document, (documents, D).
        codes: of their values, (documents,).
        one, other: codes.
        shuffles: groups by lot.
        seed: halves and groups follow from it.

    Returns:
        Plain types: `gain` of log p by the move, nats per document, [mean, standard error] over
        documents of `other`; `by_lot` [mean, standard deviation over groups]; `over_lot`, the
        paired difference from the groups' mean; `p`; `documents`; `shift`, the move, (D,).
    """  # fmt: skip
    source = np.random.default_rng(derive(seed, Stream.HALVES, one, other))
    halves = []
    for code in (one, other):
        some = source.permutation(np.flatnonzero(codes == code))
        halves.append((some[: len(some) // 2], some[len(some) // 2 :]))
    (learn_one, test_one), (learn_other, test_other) = halves
    begin = means[np.resize(test_one, len(test_other))]
    before = score(begin, test_other)

    def gain(of_one: Any, of_other: Any) -> tuple[Array, Array]:
        shift = means[of_other].mean(0) - means[of_one].mean(0)
        return score(begin + shift, test_other) - before, shift

    each, shift = gain(learn_one, learn_other)
    both = np.concatenate([learn_one, learn_other])
    groups = []
    for _ in range(shuffles):
        dealt = source.permutation(both)
        groups.append(gain(dealt[: len(learn_one)], dealt[len(learn_one) :])[0])
    by_lot = np.stack(groups)
    own = Mean(each)
    totals = by_lot.mean(1)
    return {
        "gain": own.told(),
        "by_lot": [totals.mean(), totals.std(ddof=1)],
        "over_lot": own.less(Mean(by_lot.mean(0))).told(),
        "p": p_value(own.value, totals),
        "documents": len(test_other),
        "shift": shift,
        "begin": int(test_one[0]),
    }
