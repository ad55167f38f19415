"""What each part of the method is worth: recipes beside a reference, paired by document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ltm_pyro.display.pictures import ERRORS, MEANING, TOLD, dress
from ltm_pyro.errors import unknown
from ltm_pyro.experiments.grids.paired import (
    CONTROL,
    Cell,
    Difference,
    by_recipe,
    difference,
    mean_of,
)
from ltm_pyro.experiments.grids.tax import cost_of
from ltm_pyro.experiments.studies.base import Part, Picture, Results, markdown, with_error
from ltm_pyro.experiments.studies.of_grid import OfGrid

REFERENCE = "reference"
RELEASED = "same_noise"
CONTROLS = {
    "decoder": "the same decoder, the same batches",
    "parameters": "as many parameters",
    "flops": "as many FLOPs",
}
"""What each control is."""


@dataclass(frozen=True, kw_only=True)
class Ablations(OfGrid):
    """Train variants of a recipe, and tell what each change is worth: paired errors.

    Every recipe of the grid is compared with one of them, document by document and seed by seed.
    """

    reference: str | None = None
    """The recipe that others are compared with (default: the one called reference, else the
    first)."""

    def told(self, cells: Sequence[Cell]) -> Results:
        """One table of differences, one of what each recipe is, one of controls, and a picture."""
        recipes = by_recipe(cells)
        name = self._reference(recipes)
        recipes = {name: recipes[name], **recipes}
        found = {one: _row(own, recipes[name]) for one, own in recipes.items()}
        lost = [one for one, row in found.items() if row["elbo"] is None]
        texts = [
            f"Each recipe's bound on -log p of {_scored(cells[0])}, less that of `{name}`, paired "
            "by document and by seed: nats per token, below zero the recipe is better. Two errors "
            "apart: over documents, what other text would change, and over seeds, what another "
            "start would. A recipe is called better or worse where the 95 % intervals of both (of "
            f"one seed that over documents) leave zero out; of {max(1, len(found) - 1)} recipes "
            "one in twenty is so by chance alone.",
            markdown(
                ("recipe", "elbo less reference ± documents", "± seeds", "iwae less reference ± "
                 "documents", "± seeds", "by elbo it is", "less its own control ± documents"),
                [_compared(one, row) for one, row in found.items()],
            ),
            "A lower ELBO may be a better model or a tighter guide; `iwae`, which forgives a loose "
            "guide more, tells the two apart where it moves less.",
            *([f"Not compared, for want of the same documents or seeds: {', '.join(lost)}."]
              if lost else []),
            markdown(
                ("recipe", "bound", "iwae", "KL", "earned: prior less bound",
                 "released protocol, **no bound**", "parameters", "passes", "seconds", "seeds"),
                [_described(one, recipes[one], row) for one, row in found.items()],
            ),
            "`passes`: what an iteration costs in FLOPs, in iterations of the decoder alone. "
            "Seconds are of the model's training.",
            "The controls, decoders without thoughts whose score is exact; the bound of the "
            f"`{name}` less each:",
            markdown(
                ("control", "trained beside", "parameters", "nats/token",
                 f"bound of {name} less control ± documents", "± seeds"),
                _controls(recipes, name),
            ),
            *_protocols(cells),
        ]  # fmt: skip
        summary = {
            "reference": name,
            "recipes": {
                one: {k: v.to_dict() if isinstance(v, Difference) else v for k, v in row.items()}
                for one, row in found.items()
            },
        }
        picture = Picture(
            f"Bounds less those of {name}, paired by document; left of the line the recipe is "
            f"better. Bars: {TOLD} over documents",
            lambda figure: _draw(figure, {k: v for k, v in found.items() if k != name}),
            (7.2, 1.6 + 0.42 * len(found)),
        )
        return Results(summary, texts, {"less-reference": picture} if len(found) > 1 else {})

    def parts(self) -> Sequence[Part]:
        """See `OfGrid.parts`; a reference that the grid has not is told first."""
        if self.reference is not None and self.reference not in self.asked.recipes:
            raise unknown("reference", self.reference, self.asked.recipes)
        return super().parts()

    def _reference(self, recipes: Mapping[str, Any]) -> str:
        """What to compare with, of what is there: the first, until the reference is trained."""
        name = self.reference or REFERENCE
        return name if name in recipes else next(iter(recipes))


def _row(own: Sequence[Cell], reference: Sequence[Cell]) -> dict[str, Any]:
    """What is told of a recipe."""
    return {
        "elbo": difference(own, reference, "elbo"),
        "iwae": difference(own, reference, "iwae"),
        "less_control": difference(own, own, "elbo", CONTROL),
        "bound": mean_of(own, "elbo"),
        "tight": mean_of(own, "iwae"),
        "kl": mean_of(own, "elbo", "kl_per_token"),
        "prior": mean_of(own, "prior"),
        "released": mean_of(own, RELEASED),
        "parameters": own[0]["parameters"]["model"],
        "passes": float(np.mean([cell["passes"] for cell in own])),
        "seconds": float(np.mean([(cost_of(cell) or {})["model_seconds"] for cell in own])),
        "seeds": len(own),
    }


def _compared(name: str, row: Mapping[str, Any]) -> list[Any]:
    elbo, iwae, control = row["elbo"], row["iwae"], row["less_control"]
    is_reference = elbo is not None and not elbo.mean and not elbo.over_documents
    if is_reference:
        return [name, "the same", None, "the same", None, "", _told(control)]
    return [
        name, _told(elbo), _seeds(elbo), _told(iwae), _seeds(iwae),
        "" if elbo is None else elbo.verdict, _told(control),
    ]  # fmt: skip


def _told(one: Difference | None) -> str:
    return "" if one is None else with_error(one.mean, one.over_documents, "+")


def _seeds(one: Difference | None) -> float | None:
    return None if one is None else one.over_seeds


def _described(name: str, cells: Sequence[Cell], row: Mapping[str, Any]) -> list[Any]:
    errors = [cell["figures"]["elbo"]["standard_error"] for cell in cells]
    error = None if None in errors else float(np.mean(errors))
    earned = None if row["prior"] is None else row["prior"] - row["bound"]
    return [
        name, with_error(row["bound"], error), row["tight"], row["kl"], earned, row["released"],
        f"{row['parameters']:,}", f"{row['passes']:.2f}", f"{row['seconds']:,.0f}", row["seeds"],
    ]  # fmt: skip


def _controls(recipes: Mapping[str, Sequence[Cell]], name: str) -> list[list[Any]]:
    """A row for each control that says something else than those above it."""
    rows, seen = [], set()
    for recipe, cells in recipes.items():
        score = mean_of(cells, "baseline")
        if score in seen:
            continue
        seen.add(score)
        less = difference(recipes[name], cells, "elbo", CONTROL)
        kind = cells[0]["made"]["config"]["training"]["control"]
        parameters = f"{cells[0]['parameters']['control']:,}"
        rows.append([CONTROLS[kind], recipe, parameters, score, _told(less), _seeds(less)])
    return rows


def _scored(cell: Cell) -> str:
    score = cell["made"]["score"]
    return f"{len(cell['by_document']['tokens'])} {score['split']} documents"


def _protocols(cells: Sequence[Cell]) -> list[str]:
    """How figures were made, and of which recipes each protocol is."""
    of: dict[str, list[str]] = {}
    for recipe, own in by_recipe(cells).items():
        for figure in own[0]["figures"].values():
            of.setdefault(figure["protocol"], []).append(recipe)
    every = len(by_recipe(cells))
    lines = [
        f"- {protocol}" + ("" if len(names) == every else f" ({', '.join(names)})")
        for protocol, names in of.items()
    ]
    return ["How each figure was made:", "\n".join(lines)]


def _draw(figure: Figure, rows: Mapping[str, Mapping[str, Any]]) -> None:
    ax = figure.subplots()
    for shift, name in ((-0.12, "elbo"), (0.12, "iwae")):
        color, marker = MEANING[name]
        known = [(i, row[name]) for i, row in enumerate(rows.values()) if row[name] is not None]
        ax.errorbar(
            [one.mean for _, one in known], [i + shift for i, _ in known],
            xerr=[ERRORS * one.over_documents for _, one in known], color=color, marker=marker,
            linestyle="", markersize=5, capsize=2, label=name,
        )  # fmt: skip
    ax.axvline(0, color="0.45", linewidth=0.8)
    scale = ""
    apart = sorted(abs(r["elbo"].mean) for r in rows.values() if r["elbo"] and r["elbo"].mean)
    if apart and apart[-1] > 10 * (middle := apart[len(apart) // 2]):
        ax.set_xscale("symlog", linthresh=middle)  # else one recipe hides what the others do
        scale = ", logarithmic away from zero"
    ax.set_yticks(range(len(rows)), list(rows))
    ax.invert_yaxis()
    dress(ax, "What each change is worth", f"nats/token: recipe less reference{scale}", "")
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
