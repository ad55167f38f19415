"""Linear probes: what a linear map reads out of features, on documents that it was not fitted to.

A probe is ridge regression with an intercept, to one indicator for each value of a column (the
greatest prediction is its answer), or to a number. Its penalty is chosen by the exact leave-one-out
error within the documents that it is fitted to; those that it is scored on have no part in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltm_pyro.bounds.weights import Array
from ltm_pyro.errors import InputError
from ltm_pyro.seeds import Stream, derive

PENALTIES = (*(10.0**k for k in np.arange(-3.0, 3.5, 0.5)), np.inf)
"""In units of the mean eigenvalue of the features' Gram matrix; the last leaves the mean alone."""
Folds = NDArray[np.int64]


@dataclass(frozen=True)
class Mean:
    """A mean over documents; `each` document's part in it has that mean."""

    each: Array

    @property
    def value(self) -> float:
        """The mean."""
        return float(self.each.mean())

    @property
    def error(self) -> float:
        """Its standard error over documents."""
        return float(self.each.std(ddof=1) / len(self.each) ** 0.5)

    def less(self, other: "Mean") -> "Mean":
        """The difference of two means over the same documents, paired."""
        return Mean(self.each - other.each)

    def told(self) -> list[float]:
        """[value, standard error]."""
        return [self.value, self.error]


def ratio(parts: Array, sizes: Array) -> Mean:
    """sum(parts) / sum(sizes) over documents; its error is that of a ratio, to first order."""
    value = parts.sum() / sizes.sum()
    return Mean(value + (parts - value * sizes) / sizes.mean())


def folds_of(values: NDArray[Any], folds: int, seed: int) -> Folds:
    """The fold of each document: by lot, each fold with about its share of every value.

    Were folds drawn without regard to values, one with many of a value would leave few to the
    others, and what knows nothing would answer worse than by chance. Of each value, or of numbers
    between any two, folds hold as many but for one or two; their sizes differ by one at the most.

    Args:
        values: codes or numbers, (documents,).
        folds: how many.
        seed: the lot.

    Raises:
        InputError: for fewer documents than would leave two in each fold.
    """
    if len(values) < 2 * folds:
        raise InputError(
            f"{len(values)} documents are too few for {folds} folds: expected {2 * folds} or more"
        )
    source = np.random.default_rng(derive(seed, Stream.FOLDS))
    order = source.permutation(len(values))
    order = order[np.argsort(values[order], kind="stable")]  # equal ones stay as the lot has them
    dealt = [source.permutation(folds) for _ in range(-(-len(values) // folds))]
    found = np.empty(len(values), np.int64)
    found[order] = np.concatenate(dealt)[: len(values)]
    return found


def predicted(features: Array, targets: Array, folds: Folds) -> Array:
    """Predictions for each document by a probe fitted to the other folds.

    Args:
        features: (documents, D).
        targets: (documents, sets, outputs); each set has a penalty of its own in each fold.
        folds: (documents,).

    Returns:
        The shape of `targets`.
    """
    found = np.empty_like(targets)
    for fold in np.unique(folds):
        own, rest = folds == fold, folds != fold
        middle = features[rest].mean(0)
        found[own] = _fitted(features[rest] - middle, targets[rest], features[own] - middle)
    return found


def _fitted(known: Array, targets: Array, new: Array) -> Array:
    """Ridge predictions at `new` features; both kinds have the mean of `known` taken off."""
    sizes, vectors = np.linalg.eigh(known @ known.T)
    sizes = sizes.clip(0)
    mean = targets.mean(0)
    flat = (targets - mean).reshape(len(known), -1)
    turned = vectors.T @ flat
    across = new @ known.T @ vectors
    unit = sizes.mean() or 1.0
    best = np.full(targets.shape[1], np.inf)
    found = np.zeros((len(new), *targets.shape[1:]))
    for penalty in PENALTIES:
        weight = penalty * unit
        kept = sizes / (sizes + weight) if np.isfinite(weight) else np.zeros_like(sizes)
        leverage = np.square(vectors) @ kept + 1 / len(known)
        left = (flat - vectors @ (kept[:, None] * turned)) / (1 - leverage).clip(1e-9)[:, None]
        loss = np.square(left).reshape(targets.shape).sum((0, 2))
        better = loss < best
        if better.any():
            best = np.where(better, loss, best)
            scale = 1 / (sizes + weight) if np.isfinite(weight) else np.zeros_like(sizes)
            made = (across * scale) @ turned
            found[:, better] = made.reshape(found.shape)[:, better]
    return found + mean


def of_values(features: Array | None, values: NDArray[Any], folds: Folds) -> list[Mean]:
    """Accuracy of probes for sets of values (sets, documents), each a code from 0.

    Without features the answer is the commonest value of all documents. That of the other folds
    alone would be rarer in the fold it is scored on, and chance too low.
    """
    kinds = int(values.max()) + 1
    one_hot = np.eye(kinds)[values.T]  # (documents, sets, kinds)
    told = one_hot.mean(0)[None] if features is None else predicted(features, one_hot, folds)
    return [Mean(each) for each in (values == told.argmax(-1).T).astype(float)]


def of_numbers(features: Array | None, values: Array, folds: Folds) -> list[Mean]:
    """R^2 of probes for sets of numbers (sets, documents), over the mean of all documents.

    1 less the squared errors over those of that mean, so that a probe that knows nothing is a
    little below 0: its mean is of the other folds. Without features it is 0.
    """
    targets = values.T[..., None]
    mean = targets.mean(0)[None]
    told = mean if features is None else predicted(features, targets, folds)
    before, after = (np.square(one - targets)[..., 0].T for one in (mean, told))
    return [ratio(one - other, one) for one, other in zip(before, after, strict=True)]


def probed(
    features: Mapping[str, Array],
    values: NDArray[Any],
    folds: Folds,
    shuffles: int,
    seed: int,
    reference: str,
) -> dict[str, Any]:
    """Probes for a column from several kinds of features, beside chance and labels by lot.

    Args:
        features: (documents, D), by name.
        values: codes from 0 (whole numbers), or numbers (floats), (documents,).
        folds: the fold of each document.
        shuffles: how often labels are dealt anew to the documents, and all is done again. They
            are dealt within folds: `folds_of` looks at values, so that only there are they alike.
        seed: labels are dealt by it.
        reference: the name of the features that others are compared with.

    Returns:
        Plain types: `chance`, and `probes` by name: each `score` (accuracy, or R^2), `over_chance`,
        `less_reference` as [value, standard error], the first two under labels by lot as
        `shuffled` [mean, standard deviation], and `p`, the share of dealings that do as well.
    """
    score = of_values if np.issubdtype(values.dtype, np.integer) else of_numbers
    source = np.random.default_rng(derive(seed, Stream.LABELS))
    dealt = np.tile(values, (1 + shuffles, 1))
    for fold in np.unique(folds):
        own = folds == fold
        dealt[1:, own] = source.permuted(dealt[1:, own], axis=1)
    chance = score(None, values[None], folds)[0]
    found: dict[str, Sequence[Mean]] = {n: score(x, dealt, folds) for n, x in features.items()}
    probes = {}
    for name, (own, *others) in found.items():
        by_lot = np.array([one.value for one in others])
        probes[name] = {
            "score": own.told(),
            "over_chance": own.less(chance).told(),
            "less_reference": own.less(found[reference][0]).told(),
            "shuffled": [by_lot.mean(), by_lot.std(ddof=1)],
            "p": p_value(own.value, by_lot),
        }
    return {"chance": chance.told(), "probes": probes}


def p_value(observed: float, by_lot: Array) -> float:
    """The share of dealings that reach what was observed, that one among them."""
    return (1 + int((by_lot >= observed - 1e-12).sum())) / (1 + len(by_lot))
