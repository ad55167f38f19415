"""How far a guide's importance weights can be trusted, document by document."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from ltm_pyro.bounds.importance import AT_ONCE, log_mean_exp
from ltm_pyro.bounds.tails import FEWEST, pareto_khat
from ltm_pyro.bounds.weights import Array, effective_sample_size, khat_threshold
from ltm_pyro.display.pictures import BLUE, ERRORS, RED, TOLD, Named, axis_or_new, dress, name_lines
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.inference.posterior import Posterior, with_density
from ltm_pyro.options import Count, Whole, checked
from ltm_pyro.programs.densities import draw_latents, log_weights, needs_thoughts

DOZENS = 24
"""Latent dimensions from which a high k-hat is what any approximate guide shows."""

STREAM = 10


@dataclass(frozen=True)
class GuideQuality:
    """What the weights p(x, z) / q(z) say about q, for each row (one set of thoughts).

    Attributes:
        khat: shape of the generalised Pareto fitted to the largest weights, (rows,). Where those
            are equal for all purposes there is no tail, and k-hat is 0.
        ess: effective sample size of the weights, (sum w)^2 / sum w^2, in draws, (rows,).
        elbo: mean log weight, nats, (rows,).
        iwae: log mean weight of the same draws, nats, (rows,).
        gap_error: Monte Carlo standard error of `gap`, nats, (rows,); as little to be trusted as
            the weights where k-hat is high.
        document: which document a row belongs to, (rows,).
        tokens: of each row, (rows,).
        draws: draws of z for each row.
        dimensions: latent dimensions of a row.
    """

    khat: Array
    ess: Array
    elbo: Array
    iwae: Array
    gap_error: Array
    document: NDArray[np.int64]
    tokens: NDArray[np.int64]
    draws: int
    dimensions: int

    @property
    def gap(self) -> Array:
        """iwae - elbo, nats, (rows,): in expectation at most KL(q(z) || p(z | x))."""
        return self.iwae - self.elbo

    @property
    def threshold(self) -> float:
        """k-hat above which these draws are too few: min(1 - 1 / log10(draws), 0.7)."""
        return khat_threshold(self.draws)

    @property
    def tail(self) -> int:
        """How many of the largest weights the Pareto is fitted to."""
        return min(self.draws // 5, int(3 * math.sqrt(self.draws)))

    @property
    def unreliable(self) -> NDArray[np.bool_]:
        """Rows whose k-hat lies above the threshold, or could not be computed, (rows,)."""
        return ~(self.khat <= self.threshold)

    @property
    def surely_unreliable(self) -> NDArray[np.bool_]:
        """Rows whose k-hat lies above the threshold by more than its error over all rows, (rows,).

        The error is that of a Pareto shape from a tail of so many draws, (1 + k) / sqrt(tail), and
        as many errors are allowed as one of the rows reaches by chance once in twenty times.
        """
        chance = float(stats.norm.isf(0.05 / len(self.khat)))
        margin = chance * (1 + self.threshold) / math.sqrt(self.tail)
        return ~(self.khat <= self.threshold + margin)

    @property
    def verdict(self) -> str:
        """In words what these figures allow, with the evidence.

        A k-hat is an estimate: of many reliable rows some exceed the threshold by chance. Weights
        are called unreliable where most rows do, or one does surely.
        """
        rows, bad = len(self.khat), int(self.unreliable.sum())
        kind = "documents" if len(np.unique(self.document)) == rows else "rows"
        evidence = (
            f"k-hat > {self.threshold:.2f} in {bad} of {rows} {kind} ({bad / rows:.0%}), median "
            f"{np.nanmedian(self.khat):.2f}; effective sample size {np.median(self.ess):.0f} of "
            f"{self.draws} draws (median); IWAE {np.mean(self.gap):.2f} nats above the ELBO "
            f"(mean); {self.dimensions} latent dimensions."
        )
        if not bad:
            return (
                f"Importance weights reliable: {evidence} IWAE and weighted means are usable, and "
                "the gap estimates what the guide costs, KL(q || posterior)."
            )
        advice = (
            "There the weights are unreliable, not necessarily the ELBO: it stays a bound, while "
            "IWAE and weighted means rest on a few draws, IWAE is loose and the gap understates "
            "KL(q || posterior). Use ais or a sandwich, which do not rest on these weights."
        )
        if self.dimensions >= DOZENS:
            advice += (
                f" In {self.dimensions} latent dimensions a k-hat of 0.7 or more is expected of "
                "any approximate guide and does not condemn this one."
            )
        sure = int(self.surely_unreliable.sum())
        if not sure and np.nanmedian(self.khat) <= self.threshold:
            return (
                f"Importance weights reliable as far as k-hat tells: {evidence} None of those rows "
                f"exceeds it by more than the error of a k-hat from {self.draws} draws allows for "
                "among so many; more draws would tell."
            )
        extent = "unreliable" if bad == rows else "unreliable in part"
        return f"Importance weights {extent}: {evidence} {advice}"

    def to_frame(self) -> pd.DataFrame:
        """A row for each row of tokens, indexed by its place."""
        return pd.DataFrame(
            {
                "document": self.document,
                "tokens": self.tokens,
                "khat": self.khat,
                "unreliable": self.unreliable,
                "ess": self.ess,
                "elbo": self.elbo,
                "iwae": self.iwae,
                "gap": self.gap,
                "gap_error": self.gap_error,
            }
        ).rename_axis("row")

    def __str__(self) -> str:
        return self.verdict

    __repr__ = __str__


@checked
def guide_quality(
    posterior: Posterior, draws: Count = 256, seed: Whole | None = None
) -> GuideQuality:
    """Importance-weight diagnostics of a fitted guide, from draws the fit never saw.

    Pareto k-hat (Vehtari et al. 2024; for variational inference Yao et al. 2018) of each document
    by itself. The posterior factorises over documents: a weight of all of them together would
    condemn every guide once there are enough documents.

    Args:
        posterior: fitted guides, from `DualRateSVI.infer`.
        draws: of z for each document, `FEWEST` or more.
        seed: where the draws come from; the posterior's own seed unless given.

    Raises:
        InputError: for too few draws, or a model without latents.
        NotFinite: for weights that are NaN or infinite, naming the rows.
    """
    if draws < FEWEST:
        raise InputError(f"draws is {draws}: the tail of the weights needs {FEWEST} or more")
    needs_thoughts(posterior.model, ", so no guide to judge")
    seed = posterior.seed if seed is None else seed
    log_w, dimensions = _log_weights(posterior, draws, seed)
    elbo = log_w.mean(0)
    iwae, _ = log_mean_exp(log_w)
    relative = (log_w - iwae).exp()
    error = (relative - log_w).std(0) / math.sqrt(draws)
    rows = posterior.rows
    return GuideQuality(
        khat=pareto_khat(log_w.numpy()),
        ess=effective_sample_size(log_w.numpy()),
        elbo=elbo.numpy(),
        iwae=iwae.numpy(),
        gap_error=error.numpy(),
        document=rows.document.cpu().numpy(),
        tokens=rows.lengths.cpu().numpy(),
        draws=draws,
        dimensions=dimensions,
    )


def plot_guide_quality(quality: GuideQuality, ax: Axes | None = None) -> Axes:
    """k-hat of each row, the rows sorted by it, with its error and the threshold for the draws."""
    ax = axis_or_new(ax)
    order = np.argsort(np.where(np.isnan(quality.khat), np.inf, quality.khat), kind="stable")
    khat, bad = quality.khat[order], quality.unreliable[order]
    error = (1 + khat.clip(0)) / math.sqrt(quality.tail)
    place = np.arange(len(khat))
    for some, color, marker in ((~bad, BLUE, "o"), (bad, RED, "X")):
        ax.errorbar(
            place[some], khat[some], ERRORS * error[some], fmt=marker, color=color, markersize=4,
            elinewidth=0.6, ecolor=(*to_rgb(color), 0.35),
        )  # fmt: skip
    ax.axhline(quality.threshold, color="0.35", linewidth=0.9, linestyle="--")
    dress(
        ax, "Importance weights of the guide", "rows, sorted by k-hat", r"Pareto k-hat",
        f"bars: {TOLD}; {int(bad.sum())} of {len(bad)} rows above what {quality.draws} draws allow",
    )  # fmt: skip
    name_lines(ax, [Named("threshold", place[-1], quality.threshold, "0.35")])
    return ax


@torch.no_grad()
def _log_weights(posterior: Posterior, draws: int, seed: int) -> tuple[Tensor, int]:
    """Log weights in fp64 on the CPU, (draws, rows), nats; and latent dimensions of a row."""
    found, dimensions = [], 0
    for guide, rows in posterior.chunks:
        with_density(guide, rows)
        model = posterior.model.having_read(rows)
        noise = posterior.noise(rows, seed, STREAM)
        with noise.draw():
            one = draw_latents(guide, rows, 1)
        dimensions = sum(z[0, 0].numel() for z in one.values())
        parts = []
        for start in range(0, draws, AT_ONCE):
            with noise.draw():
                parts.append(log_weights(model, guide, rows, min(AT_ONCE, draws - start)))
        found.append(torch.cat(parts).double().cpu())
    log_w = torch.cat(found, 1)
    bad = ~torch.isfinite(log_w.max(0).values)
    if bad.any():
        raise NotFinite(
            f"log p(x, z) - log q(z) is not finite for rows {bad.nonzero()[:8, 0].tolist()}"
        )
    return log_w, dimensions
