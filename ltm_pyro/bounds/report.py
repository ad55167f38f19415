"""Tables of figures, and differences between them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ltm_pyro.bounds.by_site import table_by_site
from ltm_pyro.bounds.figures import Figure, finite, interval
from ltm_pyro.bounds.in_html import alike, figure_table
from ltm_pyro.bounds.sampling import combined, sampling_error
from ltm_pyro.errors import unknown


@dataclass(frozen=True)
class Report:
    """Figures of the same documents, by name; printing it shows the table."""

    figures: Mapping[str, Figure]

    def __getitem__(self, name: str) -> Figure:
        """A figure by its name, as `elbo`, without its draws.

        Raises:
            InputError: for one that is not there.
        """
        if name not in self.figures:
            raise unknown("figure", name, self.figures)
        return self.figures[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, an object for each figure."""
        return {name: figure.to_dict() for name, figure in self.figures.items()}

    def to_frame(self) -> pd.DataFrame:
        """A row for each figure."""
        return pd.DataFrame.from_dict(self.to_dict(), orient="index")

    def difference(self, worse: str, better: str) -> tuple[float, float]:
        """Nats per token by which `better` is lower than `worse`, and its paired standard error."""
        return paired_difference(self[worse], self[better], one_model=True)

    def __str__(self) -> str:
        told = unfitted(self.figures)
        return self._table() + (f"\n{told}" if told else "")

    def _table(self) -> str:
        if not self.figures:
            return "no figures"
        one = next(iter(self.figures.values()))
        if any(figure.observed != ("tokens",) for figure in self.figures.values()):
            return table_by_site(self.figures.values())
        head = f"{'':<14}{'nats/token':>12}{'± s.e.':>9}{'± MC':>9}{'perplexity':>12}"
        lines = [f"{head}{'bits/byte':>11}{'seconds':>9}  protocol"]
        for figure in self.figures.values():
            error = figure.monte_carlo_error
            monte_carlo = "" if math.isnan(error) else f"{error:.4f}"
            lines.append(
                f"{figure.name:<14}{figure.nats_per_token:>12.4f}{figure.standard_error:>9.4f}"
                f"{monte_carlo:>9}{figure.perplexity:>12.2f}{figure.bits_per_byte:>11.4f}"
                f"{figure.seconds:>9.1f}  {figure.protocol}"
            )
            for name, part in figure.parts.items():
                lines.append(f"  {name:<12}{part.sum() / figure.tokens.sum():>12.4f}")
            if figure.mean_perplexity is not None:
                lines.append(
                    f"  mean over rows of exp(nats/token), which this protocol calls perplexity: "
                    f"{figure.mean_perplexity:.2f}"
                )
            if figure.weights:
                lines.append(f"  {figure.weights}")
        lines.append(
            f"{one.documents} documents{alike(self.figures.values())}, "
            f"{int(one.tokens.sum())} tokens, {int(one.bytes.sum())} bytes; lower is better"
        )
        if not one.bytes.sum():
            lines.append(
                "bits per byte are nan: the text has no bytes that are known, as where a tokenizer "
                "loses some of it (`Corpus.notes` says how much)"
            )
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return figure_table("-log p(x)", list(self.figures.values()), unfitted(self.figures))


def unfitted(figures: Mapping[str, Figure]) -> str:
    """Says in words where a fitted guide's bound lies above that of the prior; else nothing.

    Thoughts from the prior are a guide too, that nobody fitted, so a loop that ends above it does
    harm, and what it gives is loose.
    """
    if not {"elbo", "prior"} <= figures.keys():
        return ""
    elbo, prior = figures["elbo"], figures["prior"]
    if not (np.isfinite(elbo.nats).all() and np.isfinite(prior.nats).all()):
        return ""
    gap = elbo.nats - prior.nats
    error, freedom = sampling_error(gap, np.ones_like(gap), elbo.stream)
    if not interval(float(gap.mean()), error, freedom)[0] > 0:
        return ""
    return (
        f"elbo lies {gap.mean():.3f} ± {error:.3f} nats/document above prior: the fitted guide is "
        "worse than none, so the bound is loose; take a loop that suits the model (a lower "
        "fast.lr, more fast.steps, particles), train longer if it was trained for a moment, and "
        "compare models by the lower of their bounds"
    )


def paired_difference(
    worse: Figure, better: Figure, one_model: bool = False
) -> tuple[float, float]:
    """Nats per token by which `better` is below `worse`, and the standard error of that.

    Of the tokens alone, as `Figure.of_tokens` has them: nan where a figure has no part that tells.

    See `paired`, which also tells how well that error is known.

    Raises:
        ValueError: if the two were not computed on the same documents.
    """
    gap, error, _ = paired(worse, better, one_model)
    return gap, error


def paired(worse: Figure, better: Figure, one_model: bool = False) -> tuple[float, float, float]:
    """Nats per token by which `better` is below `worse`, its standard error, degrees of freedom.

    The error is of the difference document by document, so what makes a document hard for both
    cancels; so does the error of a prior's constant, where both figures hold that of `one_model`.
    What else documents share stays.

    Raises:
        ValueError: if the two were not computed on the same documents.
    """
    other_text = worse.text and better.text and worse.text != better.text
    if other_text or not np.array_equal(worse.tokens, better.tokens):
        raise ValueError(f"{worse.name} and {better.name} were not scored on the same documents")
    gap, tokens = worse.of_tokens - better.of_tokens, float(worse.tokens.sum())
    constants = (worse.constant_error, better.constant_error)
    constant = abs(constants[0] - constants[1]) if one_model else math.hypot(*constants)
    error, freedom = combined(
        sampling_error(gap, worse.tokens, worse.stream),
        (constant / tokens, math.inf),
        *((one.shared_error / tokens, one.shared_freedom) for one in (worse, better)),
    )
    return float(gap.sum()) / tokens, error, freedom


def differences(better: Report, worse: Report) -> dict[str, dict[str, Any]]:
    """Paired differences of all figures that two reports of the same documents share.

    For each, nats per token by which `better` is below `worse`, the standard error of that and its
    95 % interval.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, figure in better.figures.items():
        if name in worse.figures:
            gap, error, freedom = paired(worse[name], figure)
            between = list(map(finite, interval(gap, error, freedom)))
            found[name] = {"difference": gap, "standard_error": error, "interval": between}
    return found
