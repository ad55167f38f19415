"""The slow loop: the bound over training, with its noise, and whether it still falls."""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Ge
from matplotlib.axes import Axes
from scipy import stats

from ltm_pyro.bounds.sampling import slow_waves
from ltm_pyro.display.pictures import (
    GREY,
    MEANING,
    TOLD,
    Named,
    axis_or_new,
    band,
    dress,
    name_lines,
    with_errors,
    zero,
)
from ltm_pyro.errors import InputError
from ltm_pyro.inference import DualRateSVI, StepReport, StopTraining
from ltm_pyro.options import Positive, Share, checked


def smoothed(log: pd.DataFrame | Iterable[Mapping[str, Any]], window: int = 25) -> pd.DataFrame:
    """The bound on training batches: the mean over `window` iterations around each.

    Near the ends, where there are fewer on one side, a line: through the first `window` iterations,
    and through the last two windows of them. So it neither lags nor leads.

    Columns `step`, `nats_per_token`, `standard_error` and `spread`, the standard deviation of a
    batch about the curve: batches are drawn afresh, so the error is the spread over the root of the
    iterations that count (of a line, with its slope's).
    """
    frame = log if isinstance(log, pd.DataFrame) else pd.DataFrame(list(log))
    values = frame["nats_per_token"].to_numpy(float)
    n = len(values)
    if n < 3:
        unknown = np.full(n, np.nan)
        return pd.DataFrame({"step": frame["step"], "nats_per_token": values,
                             "standard_error": unknown, "spread": unknown})  # fmt: skip
    width = max(3, min(window - 1 + window % 2, n - 1 + n % 2))  # odd, so that it has a middle
    half, places, share = width // 2, np.arange(n, dtype=float), np.ones(n) / width
    curve = np.convolve(values, np.ones(width) / width, "same")
    for here, seen in (
        (slice(0, half), slice(0, width)),
        (slice(n - half, n), slice(max(0, n - 2 * width), n)),
    ):
        x = places[seen]
        curve[here] = np.polynomial.Polynomial.fit(x, values[seen], 1)(places[here])
        away = places[here] - x.mean()
        share[here] = 1 / len(x) + away**2 / ((x - x.mean()) ** 2).sum()
    spread = pd.Series(values - curve).rolling(width, center=True, min_periods=2).std().to_numpy()
    return pd.DataFrame(
        {
            "step": frame["step"],
            "nats_per_token": curve,
            "standard_error": spread * np.sqrt(share),
            "spread": spread,
        }
    )


SHORTEST = 10
"""Iterations that a window has at least."""
FEWEST, LAGS = 3, 3
"""Waves that tell a trend's error at least, and lags that are alike in the shortest of them."""
LATER = 1.25
"""How much more is to have been seen at the next look."""


class Plateau:
    """A callback that tells when the bound no longer falls by what matters, and may end training.

    A plateau is not a fall that could not be shown: it is shown that the bound moves by less than
    `least` nats per token in `window` iterations, down or up (an equivalence test). What it moves
    is the trend of the last half of what was seen at this objective; its error is that of the
    slowest waves about the trend, so iterations may be like those before them, or go up and down.
    It is looked at whenever a quarter more has been seen, and look k may err with probability
    error / (k (k + 1)): all looks together err with `error` at most, however long one waits.
    `python -m tests.diagnostics.curves` prints false alarms and misses. While the KL's weight still
    changes (a warm-up), the objective moves and nothing is judged.

    Args:
        window: iterations that `least` is a fall over; the first look is after four of them.
        least: the smallest fall over `window` iterations that matters, in nats per token.
        error: probability of ever calling a plateau while the bound falls by that much.
        stop: end `DualRateSVI.fit` at the first plateau.
    """

    @checked
    def __init__(
        self,
        window: Annotated[int, Ge(SHORTEST)] = 50,
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
        self._next = math.ceil(LATER * len(self._seen))
        fall, error, freedom = self._trend()
        chance = self.error / (self._looks * (self._looks + 1))
        self._reach = float(stats.t.isf(chance, freedom))
        if self.stalled_at is None and abs(fall) + self._reach * error < self.least:
            self.stalled_at = report.step
            if self.stop:
                raise StopTraining

    @property
    def fall(self) -> tuple[float, float]:
        """By how much the bound falls in `window` iterations, and the standard error of that.

        The error is infinite where iterations are so much alike that their trend is not known.
        """
        fall, error, _ = self._trend()
        return fall, error

    def _trend(self) -> tuple[float, float, float]:
        """`fall`, and the degrees of freedom of its error."""
        n = len(self._seen) // 2
        if n < 2 * self.window:
            return math.nan, math.nan, math.nan
        values, places = np.array(self._seen[-n:]), np.arange(n) - (n - 1) / 2
        squares = float((places**2).sum())
        slope = float((places * values).sum()) / squares
        about = np.round(values - values.mean() - slope * places, 9)  # the rest is no noise
        # The first cosine is all but the trend, which is not among what is about it.
        square, waves = slow_waves(about, first=2, lags=LAGS)
        error = math.sqrt(square / squares) if waves >= FEWEST else math.inf
        return -slope * self.window, error * self.window, float(waves)

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
        reach = self._reach * error
        if self.stalled_at is None:
            if fall - reach > 0:
                return f"Still learning: {evidence}."
            if fall + reach < 0:
                return f"The bound rises: {evidence}."
            return f"Too noisy yet to tell a plateau from a slope: {evidence}."
        if fall - reach > 0 and fall > self.least:
            return f"Falling again after a plateau at step {self.stalled_at}: {evidence}."
        return f"On a plateau, first seen at step {self.stalled_at}: {evidence}."


HELD_OUT = {
    "held_out_elbo": ("held-out bound", "elbo"),
    "held_out_prior": ("z from the prior", "prior"),
    "held_out_baseline": ("no latents", "baseline"),
}
GAINS = {
    "held_out_earned": ("over z from the prior", "prior", 1),
    "held_out_tax": ("over no latents", "baseline", -1),
}
EIGHTY = 1.2816
"""Standard deviations on either side of the mean that hold 80 % of a normal."""


def plot_training(
    log: pd.DataFrame | Iterable[Mapping[str, Any]], ax: Axes | None = None, window: int = 25
) -> Axes:
    """The bound on training batches, and on held-out text where it was looked at, in nats/token.

    Takes a history (`svi.fit(...).history`) or the lines of a run's log (`run.log()`). How two held
    out figures differ, and how surely, is drawn by `plot_gains`.
    """
    frame = log if isinstance(log, pd.DataFrame) else pd.DataFrame(list(log))
    ax = axis_or_new(ax)
    ax.plot(frame["step"], frame["nats_per_token"], ".", color="0.78", markersize=2)
    names, note = [], "grey: training batches"
    if len(frame) > 2:
        smooth = smoothed(frame, window)
        middle, reach = smooth["nats_per_token"], EIGHTY * smooth["spread"]
        band(ax, smooth["step"], middle - reach, middle + reach, GREY)
        ax.plot(smooth["step"], middle, color="0.35", linewidth=1.4)
        names.append(Named("training", smooth["step"].iloc[-1], middle.iloc[-1], "0.35"))
        note += ", their local mean and where 80 % of them lie"
    looked = False
    for column, (label, kind) in HELD_OUT.items():
        if column not in frame:
            continue
        seen, (color, _) = frame.dropna(subset=[column]), MEANING[kind]
        own = kind == "elbo" and "held_out_standard_error" in seen
        error = seen["held_out_standard_error"] if own else None
        with_errors(ax, seen["step"], seen[column], error, MEANING[kind])
        names.append(Named(label, seen["step"].iloc[-1], seen[column].iloc[-1], color))
        looked = True
    note += f"; bars: {TOLD} over documents" if looked else ""
    dress(ax, "Training", "iteration", "nats/token", note)
    name_lines(ax, names)
    return ax


def plot_gains(log: pd.DataFrame | Iterable[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """By how much the held-out bound is below the prior's score and the control's, nats/token.

    Differences are paired by document, with their errors. Takes the lines of a run's log.

    Raises:
        InputError: if nothing of the log is such a difference.
    """
    frame = log if isinstance(log, pd.DataFrame) else pd.DataFrame(list(log))
    known = {name: told for name, told in GAINS.items() if name in frame}
    if not known:
        raise InputError(
            "the log has no looks at held-out text with paired differences: give run.log() of a "
            "run with --check-every and held-out documents"
        )
    ax, names = axis_or_new(ax), []
    zero(ax)
    for column, (label, kind, sign) in known.items():
        seen = frame.dropna(subset=[column])
        gain = sign * seen[column]
        with_errors(ax, seen["step"], gain, seen.get(f"{column}_standard_error"), MEANING[kind])
        names.append(Named(label, seen["step"].iloc[-1], gain.iloc[-1], MEANING[kind][0]))
    dress(
        ax, "What thoughts gain on held-out text", "iteration",
        "nats/token by which the bound is lower", f"paired by document; bars: {TOLD}",
    )  # fmt: skip
    name_lines(ax, names)
    return ax
