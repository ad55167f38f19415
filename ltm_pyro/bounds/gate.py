"""Which documents' importance weights allow an end from above to be believed."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltm_pyro.bounds.importance import log_mean_exp
from ltm_pyro.bounds.tails import FEWEST, pareto_khat
from ltm_pyro.bounds.weights import Array
from ltm_pyro.errors import InputError

TOLERANCE = 0.25
"""Nats a document: the Monte Carlo error of a mean weight, relative to it, that is let pass."""

MISSES = 0.05
"""The share of exact posterior draws that a guide may miss on documents that the model wrote."""

TRIED = 8
"""Of fewer such draws none missed says too little: even so a third of all might be."""

LIGHT = 1 / 3
"""The least share of rows of small spread that must pass by k-hat, or none is believed: it is too
noisy to pick out a light tail where most are heavy."""


@dataclass(frozen=True)
class Gate:
    """What a run of weights, of no other use, says of each row.

    The choice of documents must not rest on the draws that then score them: those that missed
    their large weights have light tails, and would be chosen for it.

    Attributes:
        spread: standard deviation of the log weights, nats, (rows,).
        khat: Pareto k-hat of the weights, (rows,).
        variance: of a mean of so many weights, relative to its square, (rows,): by the draws, or
            that of log-normal weights of this spread, (exp(spread^2) - 1) / draws, if more.
        draws: weights of each row.
    """

    spread: Array
    khat: Array
    variance: Array
    draws: int

    @property
    def limit(self) -> float:
        """The spread at which log-normal weights leave an error of `TOLERANCE`."""
        return math.sqrt(math.log1p(self.draws * TOLERANCE**2))

    @property
    def khat_limit(self) -> float:
        """Half a standard error of k-hat below 0.5, from where weights have no variance."""
        tail = min(self.draws // 5, int(3 * math.sqrt(self.draws)))
        return 0.5 - 0.5 * (1 + 0.5) / math.sqrt(tail)

    @property
    def narrow(self) -> NDArray[np.bool_]:
        """Rows whose weights do not spread too much, (rows,)."""
        return self.spread <= self.limit

    @property
    def allowed(self) -> NDArray[np.bool_]:
        """Rows whose weights allow an end from above, (rows,)."""
        return self.narrow & (self.khat <= self.khat_limit)

    def needed(self, temperatures: int) -> Array:
        """About how many temperatures would bring the spread to the limit, (rows,)."""
        return np.maximum(temperatures * (self.spread / self.limit) ** 2, temperatures + 1)

    def reason(self, row: int, temperatures: int) -> str:
        """Why a row is refused; "" if it is allowed."""
        if self.allowed[row]:
            return ""
        if not math.isfinite(self.spread[row]):
            return "log weights are not finite"
        if self.spread[row] > self.limit:
            return (
                f"log weights spread by {self.spread[row]:.2f} nats, more than {self.limit:.2f}: "
                f"about {math.ceil(self.needed(temperatures)[row])} temperatures needed"
            )
        return f"k-hat {self.khat[row]:.2f}, more than {self.khat_limit:.2f}"


def gate(log_w: Tensor) -> Gate:
    """A gate from log weights of a run of its own, (draws, rows).

    Raises:
        InputError: for fewer draws than a tail can be fitted to.
    """
    draws = len(log_w)
    if draws < FEWEST:
        raise InputError(f"{draws} weights of each document: its gate needs {FEWEST} or more")
    log_w = log_w.double()
    spread = log_w.std(0)
    _, variance = log_mean_exp(log_w)
    assert variance is not None  # there are several draws
    variance = torch.maximum(variance, spread.square().clamp(max=700.0).expm1() / draws)
    khat = pareto_khat(log_w.cpu().numpy())
    return Gate(spread.cpu().numpy(), khat, variance.cpu().numpy(), draws)


@dataclass(frozen=True)
class Misses:
    """Whether weights find where the posterior is, on documents that the model wrote.

    The thoughts that such a document was written from are an exact posterior draw. A chain that
    ends there has a weight too, and where it outweighs all chains of a run together the run has
    missed that place: neither spread nor k-hat of the run can tell.

    Attributes:
        simulated: documents that the model wrote.
        tried: those of them that the gate allowed.
        missed: those of them that were missed.
    """

    simulated: int
    tried: int
    missed: int

    @property
    def limit(self) -> float:
        """The largest share of misses that leaves so few a chance of 5% (Clopper & Pearson)."""
        if self.missed >= self.tried:
            return 1.0
        low, high = self.missed / self.tried, 1.0
        for _ in range(40):
            share = (low + high) / 2
            chance = sum(
                math.comb(self.tried, k) * share**k * (1 - share) ** (self.tried - k)
                for k in range(self.missed + 1)
            )
            low, high = (share, high) if chance > 0.05 else (low, share)
        return high

    @property
    def verdict(self) -> str:
        """Why nothing can be certified; "" where nothing speaks against it."""
        if not self.simulated:
            return ""
        if not self.tried:
            return (
                "of the documents that the model wrote none passed the gate, so nothing tells "
                "whether posteriors are missed"
            )
        if self.tried < min(TRIED, self.simulated):
            return (
                f"of the documents that the model wrote only {self.tried} passed the gate, too few "
                "to tell whether posteriors are missed: ask for more (simulated)"
            )
        if self.missed > MISSES * self.tried:
            return (
                f"the guide's draws missed the thoughts of {self.missed} of {self.tried} documents "
                "that the model wrote: what they miss in others is not in either end"
            )
        return ""

    def __str__(self) -> str:
        if not self.simulated:
            return "missed posteriors were not looked for (no simulated documents)"
        return (
            f"on documents that the model wrote, {self.missed} of {self.tried} exact posterior "
            f"draws were missed (at most {self.limit:.0%} with 95% confidence)"
        )
