"""The price of thoughts: a valid bound less the exact score of a decoder without latents."""

import math
from dataclasses import dataclass
from typing import Any

from ltm_pyro.bounds.figures import Figure, Interval, finite, interval
from ltm_pyro.bounds.report import Report, paired
from ltm_pyro.errors import InputError

CONTROL = "baseline"


@dataclass(frozen=True)
class Tax:
    """A bound less the control's exact nats, paired by document; below zero thoughts earn.

    Attributes:
        of: the bound's name.
        nats_per_token: total difference over total tokens.
        standard_error: over documents (of the differences, so what makes a document hard for both
            cancels); the draws' own noise is part of it.
        interval: 95 %, Student's t.
        parts: where the bound has parts, what each adds: the tax is the sum of `text`, what the
            decoder scores under the thoughts that were inferred less the control, and `kl`.
        documents: how many.
    """

    of: str
    nats_per_token: float
    standard_error: float
    interval: Interval
    parts: dict[str, float]
    documents: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; null where a number is not known (an error of one document)."""
        return {
            "nats_per_token": self.nats_per_token,
            "standard_error": finite(self.standard_error),
            "interval": list(map(finite, self.interval)),
            **{f"{name}_per_token": value for name, value in self.parts.items()},
            "documents": self.documents,
        }

    def __str__(self) -> str:
        of = "".join(f", {name} {value:+.4f}" for name, value in self.parts.items())
        return (
            f"tax of {self.of}: {self.nats_per_token:+.4f} ± {self.standard_error:.4f} nats/token"
            f"{of} (less the decoder without latents, paired over {self.documents} documents)"
        )

    __repr__ = __str__


def taxes(report: Report) -> dict[str, Tax]:
    """The tax of each bound of a report that has a control (`evaluate(..., baseline=...)`).

    Of the tokens alone; a bound of several observed sites that has no part of theirs has none.

    Raises:
        InputError: if there is no control.
    """
    if CONTROL not in report.figures:
        raise InputError(
            "there is no tax without a control: train the run with --baseline (or --control), or "
            "give evaluate a baseline"
        )
    control = report[CONTROL]
    return {
        name: _tax(figure, control)
        for name, figure in report.figures.items()
        if figure.is_bound and name != CONTROL and math.isfinite(figure.nats_per_token)
    }


def _tax(bound: Figure, control: Figure) -> Tax:
    tax, error, freedom = paired(bound, control)
    return Tax(
        bound.name, tax, error, interval(tax, error, freedom), _parts(bound, control),
        bound.documents,
    )  # fmt: skip


def _parts(bound: Figure, control: Figure) -> dict[str, float]:
    if "kl" not in bound.parts:
        return {}
    kl = bound.parts["kl"]
    text = bound.of_tokens - kl - control.of_tokens
    return {name: float(x.sum() / bound.tokens.sum()) for name, x in (("text", text), ("kl", kl))}
