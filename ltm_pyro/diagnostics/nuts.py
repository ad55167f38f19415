"""The guide beside a reference posterior: Pyro's NUTS, for tiny models."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from annotated_types import Ge
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from scipy import stats
from torch import Tensor

from ltm_pyro.bounds.estimate import how
from ltm_pyro.bounds.weights import Array
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.display.pictures import ERRORS, GREY, SERIES, TOLD, axis_or_new, dress, zero
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.checks import with_gradients
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.inference.posterior import infer, with_density
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import Count, Share, Whole, checked
from ltm_pyro.programs.densities import Latents, draw_latents, needs_thoughts
from ltm_pyro.programs.elbo import frozen
from ltm_pyro.seeds import Stream, derive, seeded


@dataclass(frozen=True)
class NutsComparison:
    """Draws of a guide and of NUTS from the same posteriors.

    Attributes:
        guide: draws by site, (draws, documents, dimensions).
        nuts: draws by site, (chains, draws, documents, dimensions).
        shapes: event shape of each site; the dimensions above are its elements in order.
        document: which document a row belongs to, (documents,).
        divergences: transitions of NUTS that diverged, over all chains.
        protocol: in words, how it was made.
    """

    guide: Mapping[str, Array]
    nuts: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]
    document: NDArray[np.int64]
    divergences: int
    protocol: str

    def to_frame(self) -> pd.DataFrame:
        """A line for each row, site and dimension, in units of z unless said otherwise.

        `mean_difference` is guide - NUTS in NUTS standard deviations, `log_sd_ratio` is
        log(guide sd / NUTS sd); both have Monte Carlo standard errors beside them. `wasserstein`
        is the distance W1 of the two marginals. `nuts_ess` and `rhat` judge the reference.
        """
        return pd.concat([self._site(site) for site in self.guide], ignore_index=True)

    @property
    def disagreement(self) -> float:
        """The R-hat that chains of one law stay below, of all marginals together.

        Of two halves of each chain, with as many draws as count in each chain by itself, at the
        marginal with the fewest: the variance between m halves adds about chi-squared(m - 1) / ess
        to the square of R-hat. (Between chains in different modes no draws count, so an effective
        sample size of all together would forgive them anything.)
        """
        chains = [torch.as_tensor(x) for x in self.nuts.values()]
        count = min(float(torch.stack([_ess(one[None]) for one in x]).sum(0).min()) for x in chains)
        halves, marginals = 2 * len(chains[0]), sum(x[0, 0].numel() for x in chains)
        reach = float(stats.chi2.isf(0.01 / marginals, halves - 1))
        return math.sqrt(1 + reach / max(count, 1.0))

    @property
    def verdict(self) -> str:
        """In words how the guide differs from the reference, and whether that can be trusted."""
        frame = self.to_frame()
        rhat, ess = frame["rhat"].to_numpy().max(), frame["nuts_ess"].to_numpy().min()
        reference = f"R-hat {rhat:.3f} at most, effective sample size {ess:.0f} at least, "
        reference += f"{self.divergences} divergences"
        if self.divergences or not rhat <= self.disagreement:  # nan: chains that never moved
            return f"The reference has not converged ({reference}): more warmup, more draws."
        if not (rhat <= 1.05 and ess >= 100):
            return (
                f"The reference is short of draws ({reference}): its chains disagree by no more "
                "than so few draws would; more draws would tell."
            )
        shift, ratio, error = (
            frame[c] for c in ("mean_difference", "log_sd_ratio", "log_sd_error")
        )
        off = int((shift.abs() > 4 * frame["mean_error"]).sum())
        narrow, wide = int((ratio < -4 * error).sum()), int((ratio > 4 * error).sum())
        return (
            f"Of {len(frame)} marginals, guide means differ from NUTS in {off} (root mean square "
            f"{np.sqrt((shift**2).mean()):.2f} of an sd), standard deviations are "
            f"smaller in {narrow} and larger in {wide} (geometric mean {np.exp(ratio.mean()):.2f} "
            f"times; more than 4 standard errors count). Reference: {reference}."
        )

    @np.errstate(divide="ignore", invalid="ignore")  # chains that never moved have no sd
    def _site(self, site: str) -> pd.DataFrame:
        guide, chains = self.guide[site], self.nuts[site]
        nuts = chains.reshape(-1, *chains.shape[2:])
        g, n = _moments(guide[None], independent=True), _moments(chains)
        levels = (np.arange(len(nuts)) + 0.5) / len(nuts)
        quantiles = np.quantile(guide, levels, axis=0), np.quantile(nuts, levels, axis=0)
        rows, dims = np.indices(guide.shape[1:])
        columns = {
            "row": rows,
            "document": self.document[rows],
            "dim": dims,
            "guide_mean": g["mean"],
            "guide_sd": g["sd"],
            "nuts_mean": n["mean"],
            "nuts_sd": n["sd"],
            "mean_difference": (g["mean"] - n["mean"]) / n["sd"],
            "mean_error": np.hypot(g["mean_error"], n["mean_error"]) / n["sd"],
            "log_sd_ratio": np.log(g["sd"] / n["sd"]),
            "log_sd_error": np.hypot(g["log_sd_error"], n["log_sd_error"]),
            "wasserstein": np.abs(quantiles[0] - quantiles[1]).mean(0),
            "nuts_ess": n["ess"],
            "rhat": split_gelman_rubin(torch.as_tensor(chains)).numpy(),
        }
        frame = pd.DataFrame({name: values.ravel() for name, values in columns.items()})
        places = list(np.ndindex(*self.shapes[site]))
        frame.insert(2, "site", site)
        frame.insert(4, "index", [places[d] for d in dims.ravel()])
        return frame

    def __str__(self) -> str:
        return self.verdict

    __repr__ = __str__


Draws = Annotated[int, Ge(4)]


@checked
@with_gradients
def compare_with_nuts(
    model: TextModel,
    rows: Rows,
    guide: MakeGuide = MeanField,
    fast: Fast | None = None,
    *,
    warmup: Count = 300,
    draws: Draws = 500,
    chains: Count = 2,
    guide_draws: Draws = 4000,
    target: Share = 0.8,
    seed: Whole = 0,
    chunk: Count = 4,
    progress: bool = False,
) -> NutsComparison:
    """Hold a guide against the No-U-Turn Sampler (Hoffman & Gelman 2014), row by row.

    For tiny models and a few rows: a draw costs tens of gradients. Rows are independent given the
    model, so some are sampled together.

    Args:
        model: any model with continuous latents; it stays as it is.
        rows: the text.
        guide, fast: what is judged: the guide as this fast loop fits it.
        warmup: NUTS transitions that adapt step size and mass matrix, and are thrown away.
        draws: NUTS transitions kept of each chain.
        chains: run one after another, each from a start of its own.
        guide_draws: draws of the guide.
        target: acceptance probability that the step size is adapted to.
        seed: where every draw comes from.
        chunk: rows in one chain.
        progress: whether to show progress bars.

    Raises:
        InputError: for a model without latents, no rows, or too few draws.
    """
    needs_thoughts(model, ", so no posterior to sample")
    if not len(rows):
        raise InputError("there are no rows to compare on")
    fast = fast or Fast()
    posterior = infer(model, rows, guide, fast, derive(seed, Stream.TASK))
    guided = []
    for fitted, part in posterior.chunks:
        with_density(fitted, part)
        with torch.no_grad(), posterior.noise(part, seed, stream=1).draw():
            guided.append(draw_latents(fitted, part, guide_draws))
    sampled, divergences = [], 0
    for i, part in enumerate(posterior.rows.split(chunk)):
        found = []
        for c in range(chains):
            with frozen(model), seeded(seed, Stream.CHAINS, i, c):
                latents, diverged = _nuts(model, part, warmup, draws, target, progress)
            found.append(latents)
            divergences += diverged
        sampled.append({site: torch.stack([f[site] for f in found]) for site in found[0]})
    sites = list(guided[0])
    return NutsComparison(
        guide={s: _array(torch.cat([g[s] for g in guided], 1).flatten(2)) for s in sites},
        nuts={s: _array(torch.cat([n[s] for n in sampled], 2).flatten(3)) for s in sites},
        shapes={s: tuple(guided[0][s].shape[2:]) for s in sites},
        document=rows.document.cpu().numpy(),
        divergences=divergences,
        protocol=f"{how(guide, fast)}; NUTS, {chains} chains of {draws} after {warmup}",
    )


def plot_nuts(comparison: NutsComparison, ax: Axes | None = None) -> Axes:
    """Each marginal's mean difference and log sd ratio with Monte Carlo errors; (0, 0) agrees.

    Of more than seven sites the rest are grey.
    """
    frame, ax = comparison.to_frame(), axis_or_new(ax)
    zero(ax)
    ax.axvline(0, color="0.45", linewidth=0.8, zorder=1)
    groups = list(frame.groupby("site"))
    for number, (site, part) in enumerate(groups):
        color, marker = SERIES[number] if number < len(SERIES) else (GREY, ".")
        ax.errorbar(
            part["mean_difference"], part["log_sd_ratio"], ERRORS * part["log_sd_error"],
            ERRORS * part["mean_error"], fmt=marker, color=color, markersize=4,
            elinewidth=0.6, ecolor=(*to_rgb(color), 0.35), label=str(site),
        )  # fmt: skip
    if len(groups) > 1:
        ax.legend(frameon=False, fontsize="small", title="site")
    return dress(
        ax, "The guide beside NUTS", "mean: guide less NUTS, in standard deviations of NUTS",
        "log of (sd of guide / sd of NUTS)", f"a marginal a point, bars: Monte Carlo {TOLD}",
    )  # fmt: skip


@torch.enable_grad()
def _nuts(
    model: TextModel, rows: Rows, warmup: int, draws: int, target: float, progress: bool
) -> tuple[Latents, int]:
    """Draws of one chain, (draws, documents, *event) by site, and how many diverged."""
    fixed = model.having_read(rows)
    mcmc = MCMC(NUTS(fixed, target_accept_prob=target), draws, warmup, disable_progbar=not progress)
    mcmc.run(rows)
    return mcmc.get_samples(), len(mcmc.diagnostics()["divergences"]["chain 0"])


def _moments(draws: Array, independent: bool = False) -> dict[str, Array]:
    """Mean, sd, their Monte Carlo errors and the ESS: (chains, draws, ...) -> (...) each.

    The error of a log sd is that of the mean of squares, with an ESS of its own: draws that
    alternate about the mean, as those of NUTS do, say more of it than of the variance.
    """
    x = torch.as_tensor(draws)
    mean = x.mean((0, 1))
    squares = (x - mean).square()
    variance = squares.mean((0, 1))
    sd = variance.sqrt()
    of_mean, of_squares = (
        torch.full_like(mean, float(len(x) * x.shape[1])) if independent else _ess(values)
        for values in (x, squares)
    )
    found = {
        "mean": mean,
        "sd": sd,
        "mean_error": sd / of_mean.sqrt(),
        "log_sd_error": squares.flatten(0, 1).std(0) / of_squares.sqrt() / (2 * variance),
        "ess": of_mean,
    }
    return {name: value.numpy() for name, value in found.items()}


def _ess(chains: Tensor) -> Tensor:
    """Effective sample size, at most n log10(n) as in Stan.

    Pyro's estimate has no such limit and turns negative where draws alternate strongly.
    """
    n = chains.shape[0] * chains.shape[1]
    return n / (n / effective_sample_size(chains)).clamp(min=1 / math.log10(n))


def _array(values: Tensor) -> Array:
    return np.asarray(values.detach().double().cpu().numpy())
