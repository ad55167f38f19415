"""How heavy the tail of importance weights is: Pareto k-hat (Vehtari et al. 2024)."""

import math

import numpy as np

from ltm_pyro.bounds.weights import Array
from ltm_pyro.errors import InputError

FEWEST = 30
"""Draws below which no Pareto tail is fitted: it would have fewer than six of them.

With five, ArviZ of before 1.0 gives a k-hat and a later one nan."""


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
