"""Recipes beside one another, by what they say of the same documents (nats per token)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltm_pyro.bounds.figures import finite, interval
from ltm_pyro.bounds.sampling import combined, sampling_error
from ltm_pyro.bounds.weights import Array

Cell = Mapping[str, Any]
"""What a cell found."""
CONTROL = "control"
ROUNDED = 2.1e-4
"""What two documents' nats may differ by for rounding alone: cells keep 1e-4 of four numbers."""


@dataclass(frozen=True)
class Difference:
    """One recipe's figure less another's, paired by document and by seed.

    Attributes:
        mean: over the seeds that both have, nats per token; below zero the first is better.
        over_documents: standard error of that mean, what other text would change.
        over_seeds: what other starts would change; None for one seed.
        seeds: how many.
        documents: how many; of windows of a stream, as many independent ones as would tell the
            error as well.
    """

    mean: float
    over_documents: float
    over_seeds: float | None
    seeds: int
    documents: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % over documents, Student's t."""
        return interval(self.mean, self.over_documents, self.documents - 1)

    @property
    def verdict(self) -> str:
        """Which is better, where intervals over documents, over seeds and by both leave zero out.

        Of one seed it is by documents alone, and says so.
        """
        documents, sides = (self.over_documents, self.documents - 1), {_side(*self.interval)}
        if self.over_seeds is not None:
            seeds = (self.over_seeds, self.seeds - 1)
            for error in (seeds, combined(documents, seeds)):
                sides.add(_side(*interval(self.mean, *error)))
        told = sides.pop() if len(sides) == 1 else "neither"
        return told + (" (one seed)" if self.over_seeds is None else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "mean": self.mean, "over_documents": finite(self.over_documents),
            "over_seeds": self.over_seeds, "interval": list(map(finite, self.interval)),
            "seeds": self.seeds, "documents": self.documents, "verdict": self.verdict,
        }  # fmt: skip


def _side(low: float, high: float) -> str:
    return "better" if high < 0 else "worse" if low > 0 else "neither"


def by_recipe(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells of each recipe."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell["recipe"], []).append(cell)
    return found


def nats_of(cell: Cell, figure: str) -> Array:
    """Nats of each document by a bound, or by the control."""
    by = cell["by_document"]
    control = np.array(by[CONTROL], float)
    return control if figure == CONTROL else control + np.array(by[figure], float)


def difference(
    cells: Sequence[Cell], others: Sequence[Cell], figure: str, than: str | None = None
) -> Difference | None:
    """The figure of some cells less that of others (less their `than`), seed by seed.

    None where they have no seed in common, were not scored on the same documents, or one lacks the
    figure.
    """
    than = than or figure
    beside = {other["seed"]: other for other in others}
    both = [(cell, beside[cell["seed"]]) for cell in cells if cell["seed"] in beside]
    if not both or not all(_has(a, figure) and _has(b, than) and _same(a, b) for a, b in both):
        return None
    by = both[0][0]["by_document"]
    if any(cell["by_document"]["tokens"] != by["tokens"] for cell, _ in both):
        return None
    tokens = np.array(by["tokens"], float)
    gaps = [nats_of(cell, figure) - nats_of(other, than) for cell, other in both]
    gaps = [np.where(np.abs(gap) < ROUNDED, 0.0, gap) for gap in gaps]
    each = [float(gap.sum() / tokens.sum()) for gap in gaps]
    seeds = float(np.std(each, ddof=1) / math.sqrt(len(each))) if len(each) > 1 else None
    error, freedom = sampling_error(np.mean(gaps, 0), tokens, streamed(by))
    return Difference(float(np.mean(each)), error, seeds, len(each), round(freedom) + 1)


def streamed(by_document: Mapping[str, Any]) -> bool:
    """Whether a cell's documents are windows of one stream."""
    return bool(by_document.keys() & {"stream", "block"})  # cells of before 0.6.0 have blocks


def _has(cell: Cell, figure: str) -> bool:
    return figure in cell["by_document"]


def _same(one: Cell, other: Cell) -> bool:
    """Whether two cells were scored on the same documents, as far as they tell."""
    return bool(
        one["by_document"]["tokens"] == other["by_document"]["tokens"]
        and one["corpus"] == other["corpus"]
    )


def mean_of(cells: Sequence[Cell], figure: str, what: str = "nats_per_token") -> float | None:
    """A number of a figure, its mean over seeds; None where a cell has it not."""
    known = [cell["figures"].get(figure, {}).get(what) for cell in cells]
    return None if not known or None in known else float(np.mean(known))
