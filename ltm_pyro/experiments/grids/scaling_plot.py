"""Pictures of how bounds fall with what is spent, from the cells of a study of scaling."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ltm_pyro.display.pictures import MOST, SERIES, Named, dress, name_lines, with_errors
from ltm_pyro.experiments.grids.paired import CONTROL, Cell, by_recipe, difference, mean_of
from ltm_pyro.experiments.grids.tax_plot import panels

Cells = Sequence[Cell]
SPENT = {
    "tokens": ("training tokens", "control_tokens"),
    "flops": ("training FLOPs", "control_flops"),
    "model_seconds": ("training seconds", "control_seconds"),
}
"""What is spent: in words, and the control's."""


def label(cell: Cell) -> str:
    """A recipe in words: `fast.steps 4, thoughts.slots 2`."""
    told = ", ".join(f"{axis} {value}" for axis, value in cell["place"].items())
    return ": ".join(one for one in (base_of(cell), told) if one)


def base_of(cell: Cell) -> str:
    """The name of a recipe without its place on the axes."""
    place = "_".join(f"{axis}-{value}" for axis, value in cell["place"].items())
    return str(cell["recipe"]).removesuffix(place).removesuffix("_")


def neighbours(cells: Cells) -> list[dict[str, Any]]:
    """For each axis and each two values beside one another, what the step changes, paired.

    `elbo`, `iwae`, `control`: see `Difference`; null where both were not scored on the same
    documents. `flops`: those of training, the second's over the first's.
    """
    recipes = by_recipe(cells)
    found = []
    for axis in dict.fromkeys(axis for cell in cells for axis in cell["place"]):
        for (base, at), along in _along(cells, axis).items():
            for (one, first), (other, second) in itertools.pairwise(along):
                own, before = recipes[second["recipe"]], recipes[first["recipe"]]
                changes = {n: difference(own, before, n) for n in ("elbo", "iwae", CONTROL)}
                others = [base, *(f"{name} {value}" for name, value in at)]
                found.append({
                    "axis": axis, "from": one, "to": other,
                    "at": ", ".join(one for one in others if one),
                    **{n: None if d is None else d.to_dict() for n, d in changes.items()},
                    "flops": second["spent"][-1]["flops"] / first["spent"][-1]["flops"],
                })  # fmt: skip
    return found


def _along(cells: Cells, axis: str) -> dict[Any, list[tuple[Any, Cell]]]:
    """Cells of the first seed there is, by where they lie on the other axes, in rising order."""
    found: dict[Any, list[tuple[Any, Cell]]] = {}
    for own in by_recipe(cells).values():
        cell = own[0]
        if axis in cell["place"]:
            at = tuple((k, v) for k, v in cell["place"].items() if k != axis)
            found.setdefault((base_of(cell), at), []).append((cell["place"][axis], cell))
    for along in found.values():
        if all(not isinstance(value, str) for value, _ in along):
            along.sort(key=lambda one: one[0])
    return found


def draw_training(figure: Figure, cells: Cells) -> None:
    """Bounds at looks against what was spent, a row of panels for every seven recipes."""
    parts = panels(cells)
    axes = figure.subplots(len(parts), len(SPENT), squeeze=False, sharey=True)
    for row, some in zip(axes, parts, strict=True):
        for ax, (spent, (words, controls)) in zip(row, SPENT.items(), strict=True):
            names = _series(ax, some, lambda cell, ax=ax, spent=spent, controls=controls, **like: (
                _at_looks(ax, cell, spent, controls, **like)
            ))  # fmt: skip
            ax.set_xscale("log")
            ax.tick_params(which="minor", labelsize=7)
            dress(ax, words[0].upper() + words[1:], words, "nats/token" if ax is row[0] else "")
            if ax is row[-1]:
                name_lines(ax, names)


def _at_looks(
    ax: Axes, cell: Cell, spent: str, controls: str, like: tuple[str, str]
) -> tuple[float, float] | None:
    known = [
        (one, look) for one, look in zip(cell["spent"], cell["looks"], strict=True)
        if one.get(spent) is not None and one[spent] > 0
    ]  # fmt: skip
    if not known:
        return None
    x = [one[spent] for one, _ in known]
    y = [look["elbo"] for _, look in known]
    with_errors(ax, x, y, [look.get("standard_error", np.nan) for _, look in known], like)
    alone = [(one[controls], look["baseline"]) for one, look in known if "baseline" in look]
    if alone:
        ax.plot(*zip(*alone, strict=True), color=like[0], linestyle="--", linewidth=1.0)
    return x[-1], y[-1]


def draw_inference(figure: Figure, cells: Cells) -> None:
    """Bounds against fast steps, and what the released protocol says, on an axis of its own."""
    parts = panels(cells)
    released = any(not one["is_bound"] for cell in cells for one in cell["inference"])
    axes = figure.subplots(len(parts), 1 + released, squeeze=False, sharex=True)
    titles = (("elbo", "Bound"), ("same_noise", "Released protocol: NO BOUND"))
    for row, some in zip(axes, parts, strict=True):
        for ax, (name, title) in zip(row, titles, strict=False):
            names = _series(ax, some, lambda cell, ax=ax, name=name, **like: (
                _at_steps(ax, cell, name, **like)
            ))  # fmt: skip
            steps = sorted({one["steps"] for cell in cells for one in cell["inference"]})
            ax.set_xticks(range(len(steps)), list(map(str, steps)))
            dress(ax, title, "fast steps at inference", "nats/token")
            if ax is row[-1]:
                name_lines(ax, names)


def _at_steps(ax: Axes, cell: Cell, name: str, like: tuple[str, str]) -> tuple[float, float] | None:
    lines = [one for one in cell["inference"] if one["figure"] == name]
    if not lines:
        return None
    y, bound = [one["nats_per_token"] for one in lines], lines[0]["is_bound"]
    errors = [one["standard_error"] or np.nan for one in lines]
    with_errors(ax, range(len(y)), y, errors, like)
    if bound:
        control = cell["figures"]["baseline"]["nats_per_token"]
        ax.plot([0, len(y) - 1], [control] * 2, color=like[0], linestyle="--", linewidth=1.0)
    else:
        line: Any = ax.containers[-1]
        line.lines[0].set_linestyle(":")
    return len(y) - 1.0, y[-1]


def _series(ax: Axes, cells: Cells, draw: Callable[..., tuple[float, float] | None]) -> list[Named]:
    """A colour for each recipe, a line for each of its seeds; returns names beside the ends."""
    names = []
    for own, like in zip(by_recipe(cells).values(), SERIES, strict=False):
        ends = [end for end in (draw(cell, like=like) for cell in own) if end is not None]
        if ends:
            x, y = np.mean(ends, 0)
            names.append(Named(label(own[0]), float(x), float(y), like[0]))
    return names


def draw_axes(figure: Figure, cells: Cells, axes: Sequence[str]) -> None:
    """The bound and the control along each axis, a line for each place on the others."""
    recipes = by_recipe(cells)
    panels_of = figure.subplots(1, len(axes), squeeze=False, sharey=True)[0]
    for ax, axis in zip(panels_of, axes, strict=True):
        along = _along(cells, axis)
        values = list(dict.fromkeys(value for line in along.values() for value, _ in line))
        if all(not isinstance(one, str) for one in values):
            values.sort()
        names = []
        for ((base, at), line), like in zip(list(along.items())[:MOST], SERIES, strict=False):
            own = [recipes[cell["recipe"]] for _, cell in line]
            x = [values.index(value) for value, _ in line]
            y = [mean_of(one, "elbo") for one in own]
            errors = [cell["figures"]["elbo"]["standard_error"] or np.nan for _, cell in line]
            with_errors(ax, x, y, errors, like)
            control = [mean_of(one, "baseline") for one in own]
            ax.plot(x, control, color=like[0], linestyle="--", linewidth=1.0)
            told = [base, *(f"{name} {value}" for name, value in at)]
            names.append(Named(", ".join(one for one in told if one), x[-1], y[-1] or 0.0, like[0]))
        ax.set_xticks(range(len(values)), list(map(str, values)))
        dress(ax, axis, axis, "nats/token" if ax is panels_of[0] else "")
        name_lines(ax, names)
