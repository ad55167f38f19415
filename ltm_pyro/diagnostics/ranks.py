"""Ranks that should be uniform: envelopes of their ECDF, and the shape of what is not."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from ltm_pyro.bounds.weights import Array

BY_CHANCE = 1.35e-3
"""Probability of three standard errors, on one side of a normal."""
SIMULATIONS = 4000
"""Sets of uniform ranks that an envelope is simulated from."""

Ranks = NDArray[np.int64]


class UniformRanks:
    """Uniform ranks 0 ... draws of some documents: how far their ECDF strays by chance.

    The distance of an ECDF is its smallest binomial tail probability over all ranks, so that the
    envelope is as strict near the ends as in the middle, unlike that of Kolmogorov and Smirnov
    (Säilynoja et al. 2022, their simulation method).
    """

    def __init__(self, documents: int, draws: int, seed: int = 0):
        self.documents, self.draws = documents, draws
        self.points: Array = np.arange(1, draws + 1) / (draws + 1)
        self._at_most = _binomial_tails(documents, self.points)
        self._at_least = self._at_most[::-1, ::-1]  # exactly, so that mirrored ranks stray as far
        uniform = np.full(draws + 1, 1 / (draws + 1))
        simulated = np.random.default_rng(seed).multinomial(documents, uniform, SIMULATIONS)
        self._null = np.sort([self._distance(np.cumsum(s)[:-1]) for s in simulated])

    def p_value(self, ranks: Ranks) -> float:
        """Probability that uniform ranks stray as far, to within 1 / SIMULATIONS."""
        closer = np.searchsorted(self._null, self._distance(self._counts(ranks)), side="right")
        return float((1 + closer) / (1 + SIMULATIONS))

    def outside(self, ranks: Ranks, error: float) -> bool:
        """Whether the ECDF leaves `envelope(error)`; uniform ranks do with probability `error`."""
        return bool(self._distance(self._counts(ranks)) < self._critical(error))

    def envelope(self, error: float) -> tuple[Array, Array]:
        """Lowest and highest ECDF - points inside, shape (draws,) each."""
        inside = np.minimum(self._at_most, self._at_least) >= self._critical(error)
        counts = np.arange(self.documents + 1)
        lowest = np.where(inside, counts, self.documents).min(1)
        highest = np.where(inside, counts, 0).max(1)
        return lowest / self.documents - self.points, highest / self.documents - self.points

    def _critical(self, error: float) -> float:
        return float(self._null[int(error * SIMULATIONS)])

    def _counts(self, ranks: Ranks) -> Ranks:
        """Documents with a rank of at most r, for r = 0 ... draws - 1."""
        return np.cumsum(np.bincount(ranks, minlength=self.draws + 1))[:-1]

    def _distance(self, counts: Ranks) -> float:
        place = np.arange(self.draws)
        return float(np.minimum(self._at_most[place, counts], self._at_least[place, counts]).min())


@dataclass(frozen=True)
class Shape:
    """How ranks differ from uniform ones, on the scale of the guide's standard deviations.

    Attributes:
        bias: how far the guide lies above the truth on average, in its standard deviations.
        bias_error: its standard error, whose degrees of freedom are `freedom`.
        spread: standard deviation of the truth about that, over the guide's; more than 1 if the
            guide is too narrow.
        spread_error: its standard error, were the guide calibrated; nan by one draw, which has
            none to tell.
    """

    bias: float
    bias_error: float
    spread: float
    spread_error: float
    freedom: float = math.inf

    def __str__(self) -> str:
        words = []
        if abs(self.bias) > stats.t.isf(BY_CHANCE, self.freedom) * self.bias_error:
            way = "high" if self.bias > 0 else "low"
            words.append(
                f"guide too {way} by {abs(self.bias):.2f} ± {self.bias_error:.2f} of its sd"
            )
        # Ranks that pile up at one end are narrow, whatever the guide's width.
        if abs(self.bias) < 1 and abs(self.spread - 1) > 3 * self.spread_error:
            way = "narrow (U-shaped ranks)" if self.spread > 1 else "wide (cap-shaped ranks)"
            words.append(
                f"guide too {way}, the truth spreads {self.spread:.2f} ± {self.spread_error:.2f} "
                "times as far"
            )
        return ", ".join(words) or "neither bias nor spread stands out"


def rank_shape(ranks: Ranks, draws: int) -> Shape:
    """Bias and spread from normal scores of ranks 0 ... draws, shape (documents,).

    For a normal guide of a normal posterior these are the bias and the ratio of standard
    deviations, as long as `draws` reach as far as the truth: large ones come out too small.
    """
    fractions = (torch.arange(draws + 1, dtype=torch.float64) + 0.5) / (draws + 1)
    every = torch.special.ndtri(fractions).numpy()
    variance = float((every**2).mean())
    scores = every[ranks]
    n = len(ranks)
    deviation = float(scores.std(ddof=1)) if n > 1 else math.nan
    # One draw has two scores, as far from zero: of a spread they tell nothing.
    of_variance = math.sqrt((float((every**4).mean()) - variance**2) / n) if draws > 1 else math.nan
    scale = math.sqrt(variance)
    return Shape(
        bias=-float(scores.mean()),
        # An extreme pile of equal ranks must not look certain to the last digit.
        bias_error=max(deviation, 1e-3) / math.sqrt(n),
        spread=deviation / scale,
        spread_error=of_variance / (2 * variance),
        freedom=n - 1.0,
    )


def _binomial_tails(documents: int, points: Array) -> Array:
    """P(C <= c), c = 0 ... documents, of binomial counts; (points, documents + 1)."""
    c = np.arange(documents + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, documents + 1)))])
    choose = log_factorial[-1] - log_factorial - log_factorial[::-1]
    p = points[:, None]
    return np.cumsum(np.exp(choose + c * np.log(p) + (documents - c) * np.log1p(-p)), 1)
