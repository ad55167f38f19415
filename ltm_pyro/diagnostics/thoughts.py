"""What thoughts carry: KL, active units, mutual information, and what is lost without them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from ltm_pyro.bounds.figures import Interval, interval
from ltm_pyro.bounds.gathering import by_document
from ltm_pyro.bounds.sampling import sampling_error
from ltm_pyro.bounds.weights import Array
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.diagnostics.units import active_units, information, part_of
from ltm_pyro.display.pictures import MEANING, TOLD, axis_or_new, dress, with_errors, zero
from ltm_pyro.errors import InputError
from ltm_pyro.guides import NoGuide
from ltm_pyro.inference.posterior import Posterior, infer
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import Count, Whole, checked
from ltm_pyro.programs.reading import Sites, is_plain

MOST_ROWS = 24
"""Latent vectors that are each named in a picture."""
LEAST = 0.1
"""An effect in nats per row below which nothing is said to be earned, or to be paid."""

Measured = Literal["total_kl", "earned", "ahead", "leftover"]
"""What is known with an error."""


@dataclass(frozen=True)
class ThoughtUse:
    """What the thoughts of some rows carry, in nats per row unless said otherwise.

    Attributes:
        kl: KL of each dimension, (layers, slots, dim), mean over rows.
        factorised: whether guide and prior are products over dimensions, so that `kl` is exact and
            sums to the whole; if not, it is that of normals with the moments of the marginals, and
            need not sum to it.
        active: active units, (layers, slots, dim) booleans (Burda et al. 2016), relative to the
            variance of the prior; surely so where means are known from draws alone.
        total_kl: mean KL(q || p) over rows, and its standard error over documents, as all here.
        mutual_information: I(x; z) under q, an estimate from below that cannot exceed log(rows);
            see `information`.
        marginal_kl: KL of the aggregated posterior to the prior: the rest of the KL, which is the
            sum of the two (Hoffman & Johnson 2016). From above, since the other is from below.
        ceiling: log(rows), the most the mutual information estimate can be.
        ablation: what the bound gains over prior thoughts with posterior ones in the first l layers
            and prior ones above, for l = 0..L: mean over rows and paired error, (layers + 1, 2),
            the last the same as `earned`. NaN between the ends where guide or prior is no product
            over dimensions.
        earned: prior score minus bound, mean over rows and standard error.
        ahead: exact score of a baseline without latents minus bound, likewise; None without one.
        leftover: how much the bound improves when the fast loop runs four times as long, mean and
            standard error; None if it was not tried.
        leftover_kl: the KL after that longer loop; None if it was not tried.
        freedom: degrees of freedom of the errors of these means, by name: one less than documents,
            or than what windows of a stream are worth; infinite where it is not said.
    """

    kl: Array
    factorised: bool
    active: NDArray[np.bool_]
    total_kl: tuple[float, float]
    mutual_information: float
    marginal_kl: float
    ceiling: float
    ablation: Array
    earned: tuple[float, float]
    ahead: tuple[float, float] | None = None
    leftover: tuple[float, float] | None = None
    leftover_kl: float | None = None
    freedom: Mapping[Measured, float] = field(default_factory=dict)

    def interval(self, name: Measured) -> Interval:
        """95 % for the mean of that name over documents, Student's t."""
        mean, error = getattr(self, name) or (math.nan, math.nan)
        return interval(mean, error, self.freedom.get(name, math.inf))

    @property
    def information(self) -> tuple[float, float]:
        """I(x; z) from below and above, nats.

        Rows that share a document share thoughts, so what limits the estimate is the log of the
        number of independent documents. Where the KL leaves room for as much, less a nat, it may
        have run into that: then all that is known is that it lies between the estimate and the KL.
        Else both are the estimate.
        """
        kl, found = self.total_kl[0], self.mutual_information
        limit = min(self.ceiling, math.log1p(self.freedom.get("total_kl", math.inf)))
        return (found, max(found, kl) if kl > limit - 1 else found)

    @property
    def marginal(self) -> tuple[float, float]:
        """The KL of the aggregated posterior to the prior from below and above, nats."""
        low, high = self.information
        return (0.0 if high > low else self.marginal_kl, self.marginal_kl)  # nothing left of the KL

    @property
    def verdict(self) -> str:
        """Whether the thoughts are used, in words, with the evidence."""
        kl, kl_error = self.total_kl
        gain, error = self.earned
        least, most = self.interval("earned")
        low, high = self.information
        shared = f"about {_nats(low)}" if high == low else f"between {_nats(low)} and {_nats(high)}"
        evidence = (
            f"KL {_nats(kl)} ± {kl_error:.2f} nats, thoughts earn {_nats(gain, '+')} ± {error:.2f} "
            f"nats over the prior, {int(self.active.sum())} of {self.active.size} units active, "
            f"I(x; z) {shared} (an estimate from these rows is {self.ceiling:.2f} at most)"
        )
        if self.ahead is not None:
            ahead, its_error = self.ahead
            evidence += f"; {_nats(ahead, '+')} ± {its_error:.2f} nats ahead of no latents"
        if self.leftover is not None and self.leftover_kl is not None:
            more, more_error = self.leftover
            surely_more = self.interval("leftover")[0] > 0
            evidence += (
                f"; four times the fast steps: bound {_nats(more, '+')} ± {more_error:.2f}, "
                f"KL {_nats(self.leftover_kl)}"
            )
            if least <= 0 and surely_more and self.leftover_kl < 0.5 * kl:
                return f"The KL here is only the loop's leftover: {evidence}."
        if least > 0 and gain > LEAST:
            return f"The thoughts are used: {evidence}."
        if kl < LEAST:
            return f"The posterior has collapsed to the prior: {evidence}."
        if most < 0 or -LEAST < least <= most < LEAST:
            return f"The thoughts cost more than they give: {evidence}."
        return f"Whether the thoughts earn anything cannot be told from these rows: {evidence}."

    def to_frame(self) -> pd.DataFrame:
        """A row for each layer, from 0: KL, active units, what thoughts up to it earn, nats/row."""
        return pd.DataFrame(
            {
                "layer": np.arange(len(self.kl)),
                "kl": self.kl.sum((1, 2)),
                "active_units": self.active.sum((1, 2)),
                "earned_up_to_here": self.ablation[1:, 0],
                "standard_error": self.ablation[1:, 1],
            }
        )


@checked
def thought_use(
    posterior: Posterior,
    draws: Count = 16,
    longer: Posterior | None = None,
    baseline: TextModel | None = None,
    seed: Whole = 0,
) -> ThoughtUse:
    """Measure what thoughts carry on some rows.

    Args:
        posterior: guides fitted to the rows (`svi.infer(rows)`).
        draws: fresh draws for each row.
        longer: the same rows fitted with more fast steps, to tell a KL that the text pays for from
            one that the loop had no time to undo.
        baseline: the same decoder without latents, to say what the latents are worth beside it.
        seed: where draws come from.

    Of a model that observes more than tokens, what thoughts earn over the prior is of all that it
    observes together; what they are worth beside a baseline is of the tokens alone.

    Raises:
        InputError: if `longer` is of other rows, or for a model with continuous latent sites beside
            thoughts, or with sites that all documents share.
    """
    rows = posterior.rows
    sites = Sites.of(posterior.model, rows)
    latent = [site for site in sites if site.kind in ("local", "shared")]
    others = [site.name for site in latent if not is_plain(site)]
    if others:
        raise InputError(
            f"{type(posterior.model).__name__} samples {', '.join(others)} beside its thoughts, "
            "whose use is not measured apart from theirs: compare figures of models with and "
            "without them"
        )
    if longer is not None and len(longer.rows) != len(rows):
        raise InputError(f"longer has {len(longer.rows)} rows, posterior {len(rows)}: fit the same")
    parts = [part_of(posterior, i, draws, seed) for i in range(len(posterior.chunks))]
    terms = posterior.elbo(draws, seed)
    bound = -terms.elbo.mean(0)
    ablation = torch.cat([part.ablation for part in parts], dim=1)
    carried, kl_of_rows = information(posterior, draws, seed), terms.kl.mean(0)
    ablation[-1] = bound  # all layers' thoughts, whose score is known already
    if not all(part.factorised for part in parts):  # layers' KLs do not add up to the document's
        ablation[1:-1] = torch.nan
    measured: dict[Measured, Tensor] = {"total_kl": kl_of_rows, "earned": ablation[0] - bound}
    leftover_kl = None
    if baseline is not None:
        exact = infer(baseline, rows, NoGuide, Fast(steps=0)).elbo().log_likelihood[0]
        tokens = terms.by_site.get("tokens", terms.log_likelihood)
        measured["ahead"] = -exact - (terms.kl - tokens).mean(0)
    if longer is not None:
        more = longer.elbo(draws, seed)
        measured["leftover"] = bound + more.elbo.mean(0)
        leftover_kl = float(more.kl.mean())
    known = {name: _mean(values, rows) for name, values in measured.items()}
    means = {name: (mean, error) for name, (mean, error, _) in known.items()}
    return ThoughtUse(
        kl=_array(torch.cat([part.kl for part in parts]).mean(0)),
        factorised=all(part.factorised for part in parts),
        active=active_units(parts),
        total_kl=means["total_kl"],
        mutual_information=carried,
        marginal_kl=means["total_kl"][0] - carried,
        ceiling=math.log(len(rows)),
        ablation=np.array([_mean(ablation[0] - score, rows)[:2] for score in ablation]),
        earned=means["earned"],
        ahead=means.get("ahead"),
        leftover=means.get("leftover"),
        leftover_kl=leftover_kl,
        freedom={name: freedom for name, (_, _, freedom) in known.items()},
    )


def plot_kl(use: ThoughtUse, ax: Axes | None = None) -> Axes:
    """KL of each dimension, a row for each latent vector; layers, slots and dimensions from 0."""
    ax = axis_or_new(ax)
    layers, slots, dim = use.kl.shape
    image = ax.imshow(use.kl.reshape(layers * slots, dim), aspect="auto", cmap="cividis", vmin=0)
    names = [f"{layer}.{slot}" for layer in range(layers) for slot in range(slots)]
    every = -(-len(names) // MOST_ROWS)
    dress(ax, "What each dimension carries", "dimension", "layer.slot", "mean over rows")
    ax.grid(False)
    ax.set_yticks(range(0, len(names), every), names[::every])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    bar = ax.figure.colorbar(image, ax=ax)
    bar.set_label("KL, nats/row", fontsize=9)
    bar.ax.tick_params(labelsize=8.5)
    return ax


def plot_ablation(use: ThoughtUse, ax: Axes | None = None) -> Axes:
    """What the bound gains with posterior thoughts in the first layers and prior ones above."""
    ax = axis_or_new(ax)
    layers = np.arange(len(use.ablation))
    zero(ax)
    with_errors(ax, layers, use.ablation[:, 0], use.ablation[:, 1], MEANING["elbo"])
    ax.set_xticks(layers, ["none", "0", *(f"0-{last}" for last in layers[1:-1])])
    return dress(
        ax, "What the thoughts of each layer earn", "layers with inferred thoughts",
        "nats/row over prior thoughts", f"paired by row, bars: {TOLD}",
    )  # fmt: skip


def _nats(value: float, sign: str = "") -> str:
    """Two digits, and no minus before a zero."""
    return f"{round(value, 2) + 0.0:{sign}.2f}"


def _mean(values: Tensor, rows: Rows) -> tuple[float, float, float]:
    """Of a value of each row, the mean, its standard error over documents, and its freedom."""
    sums, numbers = by_document(values, rows), by_document(torch.ones(len(values)), rows)
    error, freedom = sampling_error(sums, numbers, rows.packed)
    return float(sums.sum() / numbers.sum()), error, freedom


def _array(values: Tensor) -> Array:
    return np.asarray(values.detach().cpu().to(torch.float64).numpy())
