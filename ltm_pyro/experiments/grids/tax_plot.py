"""A picture of what thoughts cost while a study trains."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ltm_pyro.display.pictures import (
    MOST,
    SERIES,
    TOLD,
    Named,
    axis_or_new,
    dress,
    name_lines,
    with_errors,
    zero,
)

APART = 0.006
"""Between the bars of two cells, of the axis."""
Cells = Sequence[Mapping[str, Any]]


def plot_tax(found: Cells, ax: Axes | None = None) -> Axes:
    """The tax of the ELBO at each look of training: a line for each cell, a colour for each recipe.

    Of the first seven recipes. Thoughts that were grown on another recipe's decoder begin where
    that ended.
    """
    ax, names = axis_or_new(ax), []
    zero(ax)
    recipes = list(dict.fromkeys(cell["recipe"] for cell in found))[:MOST]
    drawn = [cell for cell in found if cell["recipe"] in recipes]
    apart = APART * max((look["step"] for cell in drawn for look in cell["looks"]), default=0)
    for recipe, like in zip(recipes, SERIES, strict=False):
        ends = []
        for place, cell in enumerate(drawn):
            looks = [look for look in cell["looks"] if "tax" in look]
            if cell["recipe"] != recipe or not looks:
                continue
            taxes = [look["tax"] for look in looks]
            errors = [look.get("tax_standard_error", np.nan) for look in looks]
            shift = apart * (place - (len(drawn) - 1) / 2)  # bars are not to lie on one another
            begun = cell.get("before", {}).get("iterations", 0)
            steps = [begun + look["step"] + shift for look in looks]
            with_errors(ax, steps, taxes, errors, like)
            ends.append((steps[-1], taxes[-1]))
        if ends:
            x, y = np.mean(ends, 0)
            names.append(Named(recipe, float(x), float(y), like[0]))
    seeds = len({cell["seed"] for cell in found})
    each = f"a line for each of {seeds} seeds" if seeds > 1 else "one seed"
    dress(
        ax, "What thoughts cost", "iteration", "nats/token: bound less control",
        f"held-out text, paired by document; {each}; bars: {TOLD} over documents",
    )  # fmt: skip
    name_lines(ax, names)
    return ax


def panels(found: Cells) -> list[list[Mapping[str, Any]]]:
    """The cells, of seven recipes in each panel."""
    recipes = list(dict.fromkeys(cell["recipe"] for cell in found))
    parts = [recipes[i : i + MOST] for i in range(0, len(recipes), MOST)]
    return [[cell for cell in found if cell["recipe"] in part] for part in parts]


def draw(found: Cells, figure: Figure) -> None:
    """The picture of a study, with a panel for every seven recipes."""
    parts = panels(found)
    axes = figure.subplots(len(parts), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for some, ax in zip(parts, axes, strict=True):
        plot_tax(some, ax)
