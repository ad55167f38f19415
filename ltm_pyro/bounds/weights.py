"""How far importance weights can be trusted: the shape of their tail, and how many count."""

import math

import numpy as np
from numpy.typing import NDArray

from ltm_pyro.errors import InputError

Array = NDArray[np.float64]
FEWEST = 25
"""Draws below which no Pareto tail is fitted: it would have fewer than five of them."""
LOOSE = 0.2
"""Variance of the log of a mean of weights (delta method) from which it is called loose: the log
is then low by about half of that, in nats."""


def effective_sample_size(log_weights: Array) -> Array:
    """(sum w)^2 / sum w^2 of each document, in draws: (draws, documents) -> (documents,)."""
    with np.errstate(invalid="ignore"):  # nan where all weights are zero
        w = np.exp(log_weights - log_weights.max(0))
        return np.asarray(w.sum(0) ** 2 / (w**2).sum(0))


def median(values: Array | None) -> float:
    """Of those that are known; nan if none are."""
    known = np.array([]) if values is None else values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def in_words(khat: Array | None, ess: Array, draws: int) -> str:
    """What the weights of some rows, in the median, say of -log of their mean."""
    tail, count = median(khat), median(ess)
    words = f"effective sample size {count:.1f} of {draws} draws (medians over rows)"
    if not math.isnan(tail):
        words = f"k-hat {tail:.2f}, {words}"
    loose = tail > 0.7 or 1 / count - 1 / draws > LOOSE
    return f"likely loose: {words}" if loose else words


def khat_threshold(draws: int) -> float:
    """The k-hat above which that many draws are too few (Vehtari et al. 2024)."""
    return min(1 - 1 / math.log10(draws), 0.7)


def pareto_khat(log_weights: Array) -> Array:
    """k-hat of each document: log weights (draws, documents) -> (documents,).

    0 where the largest weights are equal up to the precision they were computed in; nan where so
    many are zero that the tail holds some.

    Raises:
        InputError: if arviz-stats is not installed.
    """
    try:
        from arviz_stats.base import array_stats
    except ImportError:
        raise InputError(
            "k-hat needs arviz-stats, which is missing: pip install arviz-stats"
        ) from None
    draws = len(log_weights)
    largest = np.sort(log_weights, 0)[-min(draws // 5, int(3 * math.sqrt(draws))) :]  # the tail
    # fp32 sums of log-probabilities are off by some units in the last place.
    noise = 64 * np.finfo(np.float32).eps * np.abs(largest[-1])
    khat = np.where(np.isfinite(largest[0]), 0.0, np.nan)
    varied = np.isfinite(khat) & (largest[-1] - largest[0] > np.maximum(noise, 1e-3))
    if varied.any():
        # psislw takes the logs that cross-validation has, of p(x | z): minus a log weight.
        with np.errstate(all="ignore"):  # ties divide by zero, to no harm
            khat[varied] = array_stats.psislw(-log_weights[:, varied], axis=0)[1]
    return khat
