"""The slow loop: the bound over training, with its noise, and whether it still falls."""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Ge
from matplotlib.axes import Axes

from ltm_pyro.inference import DualRateSVI, StepReport, StopTraining
from ltm_pyro.options import checked

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


class Plateau:
    """A callback that tells when the bound no longer falls, and may end the training.

    After every iteration it compares the last `window` batches with the `window` before them:
    the bound has stalled if it fell by less than `least` nats per token plus `errors` standard
    errors of that difference. While the KL's weight still changes (a warm-up), the objective
    moves and nothing is judged.

    Args:
        window: iterations in each half of the comparison.
        least: a fall that would still matter, in nats per token.
        errors: standard errors that a fall must exceed to be believed.
        stop: end `DualRateSVI.fit` at the first plateau.
    """

    @checked
    def __init__(
        self,
        window: Annotated[int, Ge(2)] = 50,
        least: float = 0.0,
        errors: float = 2.0,
        stop: bool = False,
    ):
        self.window, self.least, self.errors, self.stop = window, least, errors, stop
        self.stalled_at: int | None = None
        self._seen: list[float] = []
        self._weight: float | None = None

    def __call__(self, svi: DualRateSVI, report: StepReport) -> None:
        """Look at one more iteration."""
        if report.kl_weight != self._weight:
            self._weight, self._seen = report.kl_weight, []
        self._seen.append(report.nats_per_token)
        fall, error = self.fall
        if math.isnan(fall) or self.stalled_at is not None:
            return
        if fall < self.least + self.errors * error:
            self.stalled_at = report.step
            if self.stop:
                raise StopTraining

    @property
    def fall(self) -> tuple[float, float]:
        """By how much the bound fell from one window to the next, and its standard error."""
        if len(self._seen) < 2 * self.window:
            return math.nan, math.nan
        late = np.array(self._seen[-self.window :])
        early = np.array(self._seen[-2 * self.window : -self.window])
        error = math.sqrt((late.var(ddof=1) + early.var(ddof=1)) / self.window)
        return float(early.mean() - late.mean()), error

    @property
    def verdict(self) -> str:
        """Where training stands, in words, with the evidence."""
        fall, error = self.fall
        if math.isnan(fall):
            return f"Too early to tell: fewer than {2 * self.window} iterations at one objective."
        evidence = (
            f"over the last {self.window} iterations the bound fell by {fall:.4f} ± {error:.4f} "
            "nats/token"
        )
        if self.stalled_at is None:
            return f"Still learning: {evidence}."
        if fall >= self.least + self.errors * error:
            return f"Falling again after a plateau at step {self.stalled_at}: {evidence}."
        return f"On a plateau, first seen at step {self.stalled_at}: {evidence}."


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
