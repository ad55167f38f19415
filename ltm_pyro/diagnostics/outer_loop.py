"""The slow loop: the bound over training, with its noise, and whether it still falls."""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Ge
from matplotlib.axes import Axes
from scipy import stats

from ltm_pyro.bounds.weights import Array
from ltm_pyro.inference import DualRateSVI, StepReport, StopTraining
from ltm_pyro.options import Positive, Share, checked

HELD_OUT = {
    "held_out_elbo": ("held-out bound", "C0"),
    "held_out_prior": ("held-out, z from the prior", "C1"),
    "held_out_baseline": ("held-out, without latents", "C2"),
}


def smoothed(log: pd.DataFrame | Iterable[Mapping[str, Any]], window: int = 25) -> pd.DataFrame:
    """The bound on training batches, averaged over the last `window` iterations.

    Columns `step`, `nats_per_token` and `standard_error`: batches are drawn afresh, so the error
    of a window is its spread over the root of its size (a trend within it adds to the spread).
    """
    frame = log if isinstance(log, pd.DataFrame) else pd.DataFrame(list(log))
    rolling = frame["nats_per_token"].rolling(window, min_periods=2)
    count = np.minimum(np.arange(1, len(frame) + 1), window)
    return pd.DataFrame(
        {
            "step": frame["step"],
            "nats_per_token": rolling.mean(),
            "standard_error": rolling.std() / np.sqrt(count),
        }
    )


BATCHES = 10
"""Means that a window is cut into for its error, so that batches that are alike count as one."""


class Plateau:
    """A callback that tells when the bound no longer falls by what matters, and may end training.

    A plateau is not a fall that could not be shown: it is shown that the bound falls by less than
    `least` nats per token in `window` iterations (an equivalence test). The fall is that between
    the last two quarters of what was seen at this objective, each at least `window` iterations, and
    its error allows for neighbouring iterations that are alike. It is looked at whenever a tenth
    more has been seen, and look k may err with probability error / (k (k + 1)): all looks together
    err with `error` at most, however long one waits (a little more where neighbouring iterations
    are much alike: `tests/diagnostics/curves.py` prints it). While the KL's weight still changes (a
    warm-up), the objective moves and nothing is judged.

    Args:
        window: iterations that `least` is a fall over, and the least in a half of the comparison.
        least: the smallest fall over `window` iterations that matters, in nats per token.
        error: probability of ever calling a plateau while the bound falls by that much.
        stop: end `DualRateSVI.fit` at the first plateau.
    """

    @checked
    def __init__(
        self,
        window: Annotated[int, Ge(BATCHES)] = 50,
        least: Positive = 0.01,
        error: Share = 0.05,
        stop: bool = False,
    ):
        self.window, self.least, self.error, self.stop = window, least, error, stop
        self.stalled_at: int | None = None
        self._seen: list[float] = []
        self._weight: float | None = None
        self._looks, self._next = 0, 4 * window
        self._reach = math.inf

    def __call__(self, svi: DualRateSVI, report: StepReport) -> None:
        """Look at one more iteration."""
        if report.kl_weight != self._weight:
            self._weight, self._seen = report.kl_weight, []
            self._looks, self._next = 0, 4 * self.window
        self._seen.append(report.nats_per_token)
        if len(self._seen) < self._next:
            return
        self._looks += 1
        self._next = math.ceil(1.1 * len(self._seen))
        fall, error, freedom = self._compared()
        chance = self.error / (self._looks * (self._looks + 1))
        self._reach = float(stats.t.isf(chance, freedom))
        if self.stalled_at is None and fall + self._reach * error < self.least:
            self.stalled_at = report.step
            if self.stop:
                raise StopTraining

    @property
    def fall(self) -> tuple[float, float]:
        """By how much the bound falls in `window` iterations, and the standard error of that."""
        fall, error, _ = self._compared()
        return fall, error

    def _compared(self) -> tuple[float, float, float]:
        """`fall`, and the degrees of freedom of its error."""
        each = len(self._seen) // 4
        if each < self.window:
            return math.nan, math.nan, math.nan
        late, early = np.array(self._seen[-each:]), np.array(self._seen[-2 * each : -each])
        variances, counts = zip(_mean_error(late), _mean_error(early), strict=True)
        scale = self.window / each
        fall, error = scale * float(early.mean() - late.mean()), scale * math.sqrt(sum(variances))
        return fall, error, max(2.0, min(2.0 * (BATCHES - 2), sum(counts) - 4))

    @property
    def verdict(self) -> str:
        """Where training stands, in words, with the evidence."""
        fall, error = self.fall
        if math.isnan(fall):
            return f"Too early to tell: fewer than {4 * self.window} iterations at one objective."
        evidence = (
            f"the bound falls by {fall:.4f} ± {error:.4f} nats/token in {self.window} iterations "
            f"({self.least:g} would matter)"
        )
        falls = fall - self._reach * error > 0
        if self.stalled_at is None:
            if falls:
                return f"Still learning: {evidence}."
            return f"Too noisy yet to tell a plateau from a slope: {evidence}."
        if falls and fall > self.least:
            return f"Falling again after a plateau at step {self.stalled_at}: {evidence}."
        return f"On a plateau, first seen at step {self.stalled_at}: {evidence}."


def _mean_error(values: Array) -> tuple[float, float]:
    """Variance of the mean of iterations along a line, and as how many free ones they count.

    Iterations may be like the ones before them: the variance is the greater of that from the means
    of ten parts, and that from the correlation of one iteration to the next, which sees more where
    parts are short.
    """
    n = len(values)
    apart = values - np.polynomial.Polynomial.fit(range(n), values, 1)(np.arange(n))
    total = float((apart**2).sum())
    alike = float((apart[1:] * apart[:-1]).sum()) / total if total else 0.0
    alike = min(max(alike, 0.0) + 5 / n, 0.99)  # the estimate is low by up to about so much
    free = n * (1 - alike) / (1 + alike)
    parts = [part.mean() for part in np.array_split(apart, BATCHES)]
    return float(max(np.var(parts, ddof=2) / BATCHES, total / (n - 2) / free)), free


def plot_training(
    log: pd.DataFrame | Iterable[Mapping[str, Any]], ax: Axes, window: int = 25
) -> Axes:
    """The bound on training batches, smoothed with its error, and on held-out text where known.

    Takes a history (`svi.fit(...).history`) or the lines of a run's log (`run.log()`).
    """
    frame = log if isinstance(log, pd.DataFrame) else pd.DataFrame(list(log))
    ax.plot(frame["step"], frame["nats_per_token"], color="0.85", linewidth=0.8)
    if len(frame) > 2:
        smooth = smoothed(frame, window)
        low = smooth["nats_per_token"] - 2 * smooth["standard_error"]
        high = smooth["nats_per_token"] + 2 * smooth["standard_error"]
        ax.fill_between(smooth["step"], low, high, color="0.6", alpha=0.5, linewidth=0)
        ax.plot(smooth["step"], smooth["nats_per_token"], color="0.4", label="training batches")
    for column, (label, color) in HELD_OUT.items():
        if column in frame:
            seen = frame.dropna(subset=[column])
            ax.plot(seen["step"], seen[column], "o-", color=color, markersize=3, label=label)
    ax.set(xlabel="iteration", ylabel="nats/token", title="Training")
    ax.legend(frameon=False)
    return ax
