"""How bounds fall with what is spent: training tokens, FLOPs and seconds, and fast steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tyro.conf import UseAppendAction

from ltm_pyro.diagnostics import compute_curve
from ltm_pyro.display.pictures import TOLD
from ltm_pyro.experiments.grids.paired import CONTROL, Cell, by_recipe, difference, mean_of
from ltm_pyro.experiments.grids.scaling_plot import (
    draw_axes,
    draw_inference,
    draw_training,
    label,
    neighbours,
)
from ltm_pyro.experiments.grids.spending import spent_at_looks
from ltm_pyro.experiments.grids.tax import RUN
from ltm_pyro.experiments.grids.tax import Cell as Trained
from ltm_pyro.experiments.grids.tax_plot import panels
from ltm_pyro.experiments.studies.base import Found, Picture, Results, markdown, with_error
from ltm_pyro.experiments.studies.of_grid import OfGrid
from ltm_pyro.options import Whole
from ltm_pyro.runs.checkpoint import load

USUAL = (0, 1, 2, 4, 8, 16)
RELEASED = "same_noise"


@dataclass(frozen=True, kw_only=True)
class Scaling(OfGrid):
    """Train models of many sizes, and tell how their bounds fall with what is spent.

    Against training tokens, training FLOPs, fast steps at inference and seconds; beside each its
    control's curve and, marked as no bound, the released protocol's figure.
    """

    inference_steps: UseAppendAction[tuple[Whole, ...]] = ()
    """A number of fast steps that every model is scored with; may be given several times (default:
    0, 1, 2, 4, 8, 16)."""

    @property
    def inferring(self) -> tuple[int, ...]:
        """The numbers of fast steps, in rising order."""
        return tuple(sorted(set(self.inference_steps or USUAL)))

    @property
    def steps_of_scores(self) -> int:
        """Fast steps that the scores of a row take together."""
        released = RELEASED in self.score.bounds
        return super().steps_of_scores + sum(self.inferring) * (1 + released)

    def more(self, cell: Trained) -> Found:
        """What training spent until each look, and the figures at each number of fast steps."""
        run = load(cell.path / RUN, trust=self.trust, device=self.computed_on)
        corpus, score = self.corpora[cell.recipe][1], self.score
        found = cell.read(score) or {}
        bounds = ["elbo:8", *([f"{RELEASED}:1"] if RELEASED in score.bounds else [])]
        curve = compute_curve(
            run.model, corpus.rows(score.split)[: score.rows], self.inferring, bounds,
            guide=run.guide, fast=run.config.fast, progress=False,
        )  # fmt: skip
        keep = ["steps", "figure", "nats_per_token", "standard_error", "seconds", "is_bound"]
        lines = curve[curve["figure"] != "prior"][keep].to_dict("records")
        return {"spent": self._spent(cell, found["looks"]), "inference": lines}

    def _spent(self, cell: Trained, looks: Sequence[Found]) -> list[dict[str, float]]:
        """What training spent until each look, on the decoder that it began with too."""
        run = load(cell.path / RUN, trust=self.trust)
        spent = spent_at_looks(run, self.corpora[cell.recipe][1], looks)
        if cell.start is None:
            return spent
        (before,) = self._spent(cell.start, (cell.start.read(self.score) or {})["looks"][-1:])
        return [{name: value + before[name] for name, value in look.items()} for look in spent]

    def told(self, cells: Sequence[Cell]) -> Results:
        """A table of cells, one of steps along each axis, and the curves."""
        recipes = by_recipe(cells)
        texts = [
            "Bounds on -log p, nats per token of held-out text, beside what training spent. FLOPs "
            "are those of matrix products and attention, forwards and backwards, of fast and slow "
            "steps, counted; of looks and scores none. Seconds are of the model's iterations "
            "alone, on this machine, and vary with what else it did. Means over seeds.",
            markdown(
                ("recipe", "parameters", "iterations", "tokens", "FLOPs", "seconds",
                 "bound ± documents", "iwae", "less control ± documents", "± seeds",
                 "released protocol, **no bound**", "control, exact", "its FLOPs"),
                [_row(own) for own in recipes.values()],
            ),
            *_steps(cells),
            "The control is a decoder without thoughts, trained beside each model, whose score is "
            "exact. The released protocol scores with the draw that it fitted to: its figure falls "
            "with fast steps whatever the model knows, and is no bound.",
            "How each figure was made:",
            "\n".join(dict.fromkeys(
                f"- {figure['protocol']}" for cell in cells for figure in cell["figures"].values()
            )),
        ]  # fmt: skip
        rows = len(panels(cells))
        pictures = {
            "training": Picture(
                "Held-out bounds at looks of training (solid) and those of their controls "
                f"(dashed), against what training spent so far. Bars: {TOLD} over documents",
                partial(draw_training, cells=cells), (12.0, 0.6 + 3.6 * rows),
            ),
            "inference": Picture(
                f"After training, against fast steps at inference, on {_scored(cells[0])}: bounds "
                "with their controls (dashed); and, on an axis of its own, the released protocol's "
                f"figures, which are no bounds. Bars: {TOLD} over documents",
                partial(draw_inference, cells=cells), (9.6, 0.6 + 3.6 * rows),
            ),
        }  # fmt: skip
        axes = list(dict.fromkeys(axis for cell in cells for axis in cell["place"]))
        if axes:
            pictures["axes"] = Picture(
                f"The bound along each axis of the grid, on {_scored(cells[0])} after "
                f"{cells[0]['made']['score']['fast_steps']} fast steps (solid), and the control's "
                f"score (dashed). Bars: {TOLD} over documents",
                partial(draw_axes, cells=cells, axes=axes), (4.6 * len(axes) + 1.0, 3.8),
            )  # fmt: skip
        kept = [{k: v for k, v in one.items() if k not in ("by_document", "made")} for one in cells]
        return Results({"cells": kept, "steps": neighbours(cells)}, texts, pictures)


def _row(cells: Sequence[Cell]) -> list[Any]:
    """A line of the table, of a recipe's cells."""
    ends = [cell["spent"][-1] for cell in cells]
    spent = {k: _mean([end[k] for end in ends]) for k in ends[0]}
    errors = [cell["figures"]["elbo"]["standard_error"] for cell in cells]
    less = difference(cells, cells, "elbo", CONTROL)
    return [
        label(cells[0]), f"{cells[0]['parameters']['model']:,}", f"{spent['step']:,.0f}",
        f"{spent['tokens']:,.0f}", f"{spent['flops']:.4g}", f"{spent['model_seconds']:,.0f}",
        with_error(mean_of(cells, "elbo"), _mean(errors)), mean_of(cells, "iwae"),
        None if less is None else with_error(less.mean, less.over_documents, "+"),
        None if less is None else less.over_seeds, mean_of(cells, RELEASED),
        mean_of(cells, "baseline"), f"{spent['control_flops']:.4g}",
    ]  # fmt: skip


def _mean(values: Sequence[float | None]) -> float:
    return float(np.mean([np.nan if one is None else one for one in values]))


def _steps(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a step along each axis changes."""
    found = neighbours(cells)
    if not found:
        return []
    rows = [
        (one["axis"], f"{one['from']} to {one['to']}", one["at"], *(
            with_error(one[k]["mean"], one[k]["over_documents"], "+") if one[k] else None
            for k in ("elbo", "iwae", CONTROL)
        ), f"{one['flops']:.2f}")
        for one in found
    ]  # fmt: skip
    columns = ("axis", "from, to", "the others", "elbo ± documents", "iwae ± documents",
               "control ± documents", "FLOPs, ratio")  # fmt: skip
    return [
        "What a step along each axis changes, paired by document (below zero the second is "
        "better), in the model and in its control:",
        markdown(columns, rows),
    ]


def _scored(cell: Cell) -> str:
    score = cell["made"]["score"]
    return f"{len(cell['by_document']['tokens'])} {score['split']} documents"
