"""How many of the importance weights count, and what they say of -log of their mean."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LOOSE = 0.2
"""Variance of the log of a mean of weights (delta method) from which it is called loose: the log
is then low by about half of that, in nats."""


def effective_sample_size(log_weights: Array) -> Array:
    """(sum w)^2 / sum w^2 of each document, in draws: (draws, documents) -> (documents,)."""
    with np.errstate(invalid="ignore"):  # nan where all weights are zero
        w = np.exp(log_weights - log_weights.max(0))
        return np.asarray(w.sum(0) ** 2 / (w**2).sum(0))


def khat_threshold(draws: int) -> float:
    """The k-hat above which that many draws are too few (Vehtari et al. 2024)."""
    return min(1 - 1 / math.log10(draws), 0.7)


def median(values: Array | None) -> float:
    """Of those that are known; nan if none are."""
    known = np.array([]) if values is None else values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def in_words(khat: Array | None, ess: Array, draws: int) -> str:
    """What the weights of some rows, in the median, say of -log of their mean."""
    tail, count = median(khat), median(ess)
    loose = 1 / count - 1 / draws > LOOSE
    words = f"effective sample size {count:.1f} of {draws} draws (medians over rows)"
    if not math.isnan(tail):
        words = f"k-hat {tail:.2f}, {words}"
        loose = loose or tail > khat_threshold(draws)
    return f"likely loose: {words}" if loose else words
