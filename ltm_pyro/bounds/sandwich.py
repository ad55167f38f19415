"""How tight the bounds are: log p(x) enclosed from both sides on documents the model wrote."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ltm_pyro.bounds.annealed import CHAINS, Path
from ltm_pyro.bounds.estimate import Task, constant_of, how
from ltm_pyro.bounds.evaluation import evaluate
from ltm_pyro.bounds.importance import log_mean_exp
from ltm_pyro.bounds.report import Report
from ltm_pyro.bounds.weights import Array
from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.checks import check_model, with_gradients
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import Count, Whole, checked
from ltm_pyro.programs.densities import blank, prior_of, simulate
from ltm_pyro.programs.elbo import check_weights, frozen
from ltm_pyro.programs.proper import check_prior_proper
from ltm_pyro.programs.reading import Sites
from ltm_pyro.seeds import Stream, derive

CROSSED = (
    "  the ends cross: the most lies below the least, by Monte Carlo error or because chains miss "
    "a mode; nothing is enclosed"
)


@dataclass(frozen=True)
class Sandwich:
    """Bounds on log p(x) of simulated documents from both sides, in nats.

    Attributes:
        lower: forward AIS, in expectation at most log p(x), shape (documents,).
        upper: reverse AIS from the true z, in expectation at least log p(x), shape (documents,).
        report: other figures (of -log p(x)) for the same documents.
        tokens: tokens of each document, shape (documents,).
        protocol: in words, how it was made.
        seconds: time spent on the two chains.
        constant_error: nats per document by which both ends may be off together, from the constant
            of an energy-based prior; 0 from the prior, where it cancels.
    """

    lower: Array
    upper: Array
    report: Report
    tokens: Array
    protocol: str
    seconds: float = 0.0
    constant_error: float = 0.0

    @property
    def gap(self) -> tuple[float, float]:
        """Mean of upper - lower in nats per document, and its standard error."""
        return _mean(self.upper - self.lower)

    @property
    def nats_per_token(self) -> tuple[float, float]:
        """-log p(x): at least, and at most (in expectation)."""
        total = self.tokens.sum()
        return -float(self.upper.sum() / total), -float(self.lower.sum() / total)

    def slack(self, name: str) -> tuple[float, float]:
        """By how many nats per document a figure lies above the least end, and its error.

        An upper limit, in expectation, of what the bound gives away. The errors of a constant in
        either, which the spread over documents does not show, are in it.
        """
        figure = self.report[name]
        above, error = _mean(self.upper + figure.nats)
        own = figure.constant_error / len(self.lower)
        return above, math.hypot(error, own, self.constant_error)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, all of -log p(x): both ends, and how far above the least one figures
        lie."""
        gap, error = self.gap
        slack = {name: self.slack(name) for name in self.report.figures}
        return {
            "documents": len(self.lower),
            "tokens": int(self.tokens.sum()),
            "nats_per_token": list(self.nats_per_token),
            "gap_per_document": gap,
            "standard_error": error,
            "ends_cross": gap < 0,
            "constant_error_per_document": self.constant_error,
            "above_least_per_document": {
                name: {"nats": nats, "standard_error": its} for name, (nats, its) in slack.items()
            },
            "seconds": round(self.seconds, 3),
            "protocol": self.protocol,
        }

    def __str__(self) -> str:
        least, most = self.nats_per_token
        lines = [
            f"{len(self.lower)} simulated documents, {int(self.tokens.sum())} tokens; "
            f"{self.protocol}, {self.seconds:.1f} seconds",
            f"{'':<14}{'-log p(x), nats/token':>22}{'above the least, nats/document':>38}",
            f"{'reverse AIS':<14}{least:>22.4f}{'(at least)':>38}",
        ]
        gap, error = self.gap
        lines.append(f"{'forward AIS':<14}{most:>22.4f}{f'{gap:.3f} ± {error:.3f}':>38}")
        if self.gap[0] < 0:
            lines.append(CROSSED)
        for name, figure in self.report.figures.items():
            gap, error = self.slack(name)
            lines.append(
                f"{name:<14}{figure.nats_per_token:>22.4f}{f'{gap:.3f} ± {error:.3f}':>38}"
            )
        if self.constant_error:
            lines.append(
                f"both ends may be off together by {self.constant_error:.3f} nats per document "
                "(standard error of the prior's constant)"
            )
        return "\n".join(lines)

    __repr__ = __str__


@checked
@with_gradients
def sandwich(
    model: TextModel,
    lengths: Tensor,
    bounds: Iterable[str] = ("elbo:16", "iwae:64"),
    *,
    temperatures: Count = 200,
    chains: Count = CHAINS,
    guide: MakeGuide = MeanField,
    fast: Fast | None = None,
    start: Literal["prior", "guide"] = "prior",
    columns: Mapping[str, Tensor] | None = None,
    seed: Whole = 0,
    progress: bool = True,
) -> Sandwich:
    """Bidirectional Monte Carlo (Grosse et al. 2015): certify bounds on documents from the model.

    The model draws thoughts and documents of the given lengths; its thoughts are exact posterior
    draws, from which a reverse chain bounds log p(x) from above.

    Args:
        model: the model; nothing is said of other documents than its own.
        lengths: tokens of each document, shape (documents,).
        bounds: figures to hold against the sandwich, as in `evaluate`.
        temperatures: steps of the annealing path.
        chains: chains for each document and direction.
        guide, fast: what the figures' guide is and how it is fitted.
        start: where the path starts, "prior" or "guide".
        columns: columns of each document, (documents,), for a prior that reads them.
        seed: where every draw comes from.
        progress: whether to show a progress bar.

    Raises:
        InputError: for an unknown start or figure, or a prior without a density on the reals.
    """
    check_model(model)
    check_weights(model)
    if len(lengths) < 2:
        raise InputError(
            f"lengths has {len(lengths)} documents: a sandwich needs at least 2 for its "
            "standard error"
        )
    fast = fast or Fast()
    begun = time.perf_counter()
    empty = blank(lengths, columns)
    check_prior_proper(model, empty)
    shared = list(Sites.of(model, empty).of_kind("shared"))
    if shared:
        raise InputError(
            f"the model samples {', '.join(shared)} once for all documents, over which a sandwich "
            "has no path: its figures are elbo and iwae"
        )
    rows, latents = simulate(model, lengths, derive(seed, Stream.DOCUMENTS), columns)
    program = prior_of(model)
    if start == "guide":
        program = Task(model, rows, guide, fast, derive(seed, Stream.FITS)).fitted()[0]
    with frozen(model):
        path = Path(model, program, rows, temperatures, derive(seed, Stream.CHAINS), progress)
        lower, _ = log_mean_exp(path.forward(chains))
        minus_upper, _ = log_mean_exp(-path.reverse(latents, chains))
    upper, constant_error = -_array(minus_upper), 0.0
    if start == "guide":  # from the prior both ends of the path hold its density, and it cancels
        gap, constant_error = constant_of(model)
        upper = upper + gap
    where = "the prior" if start == "prior" else f"the guide ({how(guide, fast)})"
    seconds = time.perf_counter() - begun
    report = evaluate(
        model,
        rows,
        bounds,
        guide=guide,
        fast=fast,
        seed=derive(seed, Stream.BOUNDS),
        progress=progress,
    )
    return Sandwich(
        lower=_array(lower),
        upper=upper,
        report=report,
        tokens=_array(rows.lengths),
        protocol=f"annealed from {where} over {temperatures} temperatures, {chains} chains",
        seconds=seconds,
        constant_error=constant_error,
    )


def _array(values: Tensor) -> Array:
    return np.asarray(values.detach().cpu().to(torch.float64).numpy())


def _mean(values: Array) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
