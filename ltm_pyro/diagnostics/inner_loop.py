"""The fast loop, step by step, over documents: has it converged, is it long enough?"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy import stats
from torch import Tensor

from ltm_pyro.bounds.sampling import slow_waves
from ltm_pyro.bounds.weights import Array
from ltm_pyro.display.pictures import (
    MEANING,
    Named,
    axis_or_new,
    band,
    dress,
    name_lines,
    zero,
)
from ltm_pyro.inference.local import InnerLoop

QUANTILES = (0.1, 0.5, 0.9)


def inner_loop_frame(inner: InnerLoop) -> pd.DataFrame:
    """A row for each fast step: `lr`, and the median and 10 % / 90 % quantiles over documents.

    Columns `elbo`, `log_likelihood`, `kl` (nats per document), `gradient_norm` and `step_norm`
    with suffixes `_10`, `_50`, `_90`.
    """
    columns: dict[str, object] = {"lr": inner.lr.numpy()}
    for name in ("elbo", "log_likelihood", "kl", "gradient_norm", "step_norm"):
        values = getattr(inner, name).cpu().numpy()
        for quantile in QUANTILES:
            columns[f"{name}_{quantile * 100:.0f}"] = np.quantile(values, quantile, axis=1)
    return pd.DataFrame(columns).rename_axis("step")


LEAST, SHARE = 0.1, 0.025
"""What a loop may still move and be called converged: so many nats per document, or such a share of
what it gained if that is more."""
SURE, TWO_SIDED = 0.05, 0.025
"""Probability of each of two one-sided tests, and on either side of one that has two."""


@dataclass(frozen=True)
class Convergence:
    """How the bound moved in the last part of a fast loop, nats per document.

    `slope` is what the bound gained from the third quarter of the loop to the fourth, averaged
    over documents, `error` its standard error (over documents, paired; where all of them go up and
    down together, that of their mean's slow waves, if it is more) and `freedom` the degrees of
    freedom of that. `gained` is the whole loop's gain, `gained_error` its standard error and
    `kl_change` the KL's change over the same last part. `swing` is by how much the bound goes up
    and down within the last half beyond its noise, as the amplitude of a wave; 0 if no more than
    noise would.
    """

    steps: int
    slope: float
    error: float
    gained: float
    kl_change: float
    swing: float = 0.0
    freedom: float = math.inf
    gained_error: float = 0.0

    @property
    def least(self) -> float:
        """The smallest movement that matters, nats per document."""
        return max(LEAST, SHARE * abs(self.gained))

    @property
    def converged(self) -> bool:
        """Whether the last quarter surely moved by less than `least`, and nothing swings by it.

        An equivalence test: a loop that starts where it should end has converged, one whose trace
        is too noisy to tell has not been shown to.
        """
        reach = self._errors(SURE)
        return abs(self.slope) + reach < self.least and self.swing < self.least

    def _errors(self, chance: float) -> float:
        """What noise adds to the slope with no more than such a probability, Student's t."""
        return float(stats.t.isf(chance, self.freedom)) * self.error

    @property
    def recommendation(self) -> str:
        """What to do, in words, with the evidence."""
        if math.isnan(self.slope):
            return f"Too few steps ({self.steps}) or documents to tell: fit at least 8 steps."
        evidence = (
            f"from the third to the last quarter of {self.steps} steps the bound moved "
            f"{self.slope:+.3f} ± {self.error:.3f} nats per document and the KL "
            f"{self.kl_change:+.3f}; the whole loop gained {self.gained:+.3f} ± "
            f"{self.gained_error:.3f}, and {self.least:.2f} would matter"
        )
        if self.converged and abs(self.gained) <= max(LEAST, 2 * self.gained_error):
            return f"The loop ends where it began, if its rate is high enough to move: {evidence}."
        if self.converged:
            return f"The loop has converged: {evidence}."
        sure, reach = self._errors(TWO_SIDED), self._errors(SURE)
        if self.slope > sure and self.slope + reach > self.least:
            return f"Think longer, say {2 * self.steps} steps: {evidence}."
        if self.slope < -sure and self.slope - reach < -self.least:
            return f"The loop loses what it had, lower the rate: {evidence}."
        if self.swing >= self.least:
            return (
                f"The loop goes up and down by {self.swing:.2f} nats per document, lower the rate: "
                f"{evidence}."
            )
        return f"The trace is too noisy to tell, compare bounds at more steps: {evidence}."


def convergence(inner: InnerLoop) -> Convergence:
    """Judge a fast loop by its own trace, over documents.

    The trace is of the draws that the loop fitted with, each fresh, so a difference between its
    parts is unbiased; a loop of fewer than 8 steps has parts too short to tell.
    """
    elbo, kl = inner.elbo.double().cpu().numpy(), inner.kl.double().cpu().numpy()
    steps = len(elbo)
    if steps < 8:
        return Convergence(steps, math.nan, math.nan, math.nan, math.nan)
    quarter = steps // 4
    late, before = slice(steps - quarter, steps), slice(steps - 2 * quarter, steps - quarter)
    change = elbo[late].mean(0) - elbo[before].mean(0)
    gained = elbo[late].mean(0) - elbo[0]
    swing, error, freedom = _together(elbo[steps - 2 * quarter :])
    if not error > _error(change):
        error, freedom = _error(change), len(change) - 1.0
    return Convergence(
        steps=steps,
        slope=float(change.mean()),
        error=error,
        gained=float(gained.mean()),
        kl_change=float((kl[late].mean(0) - kl[before].mean(0)).mean()),
        swing=swing,
        freedom=freedom,
        gained_error=_error(gained),
    )


def _error(values: Array) -> float:
    """Standard error of the mean over documents."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _together(elbo: Array) -> tuple[float, float, float]:
    """What all documents' bounds do together, beyond noise: (steps, documents), the last half.

    Its amplitude; and about a smooth curve the standard error of one half's mean less the other's,
    with its degrees of freedom. (0, 0, inf) where there is no more than noise.
    """
    steps, documents = elbo.shape
    if documents < 2:
        return 0.0, 0.0, math.inf
    curve, places = elbo.mean(1), np.arange(steps)
    own = elbo - elbo.mean(0) - (curve - curve.mean())[:, None]
    noise = float((own**2).sum() / ((steps - 1) * (documents - 1)) / documents)
    varied, error, freedom = float(curve.var(ddof=1)), 0.0, math.inf
    if varied <= noise * _by_chance(steps - 1):
        return 0.0, error, freedom
    about = curve - np.polynomial.Polynomial.fit(places, curve, 2)(places)
    if steps > 4 and about.var(ddof=3) > noise * _by_chance(steps - 3):
        square, freedom = slow_waves(about, first=3)  # those before are all but the curve's
        error = math.sqrt(4 * square / steps)
    return math.sqrt(2 * (varied - noise)), error, freedom


def _by_chance(freedom: int) -> float:
    """What noise's variance, estimated, is of its own once in a thousand times."""
    return float(stats.chi2.isf(1e-3, freedom)) / freedom


def plot_inner_loop(inner: InnerLoop, ax: Axes | None = None, tokens: Tensor | None = None) -> Axes:
    """What each fast step has gained over the first, and the KL: medians over rows, and 10-90 %.

    Args:
        inner: the loop (`posterior.inner`).
        ax: where to draw.
        tokens: of each row (`posterior.rows.lengths`), of a model that observes tokens alone; then
            all is in nats/token, as figures are. Without them it is in nats per row.
    """
    ax = axis_or_new(ax)
    scale = 1.0 if tokens is None else tokens.cpu().numpy()
    gain = (inner.elbo - inner.elbo[:1]).cpu().numpy() / scale
    kl = inner.kl.cpu().numpy() / scale
    steps, names = np.arange(len(gain)), []
    zero(ax)
    for values, label, kind in ((gain, "ELBO gained", "elbo"), (kl, "KL", "kl")):
        low, middle, high = np.quantile(values, QUANTILES, axis=1)
        color = MEANING[kind][0]
        band(ax, steps, low, high, color)
        ax.plot(steps, middle, color=color)
        names.append(Named(label, steps[-1], middle[-1], color))
    dress(
        ax, "The fast loop", "fast steps taken", "nats/token" if tokens is not None else "nats/row",
        "medians over rows, bands: 10-90 % of them; one draw a step",
    )  # fmt: skip
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    name_lines(ax, names)
    return ax
