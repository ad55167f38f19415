"""Pictures as SVG within a page: in the page's colours, by day and by night, and with its letters.

Nothing that a stranger wrote is drawn: names of columns, values and runs stand in the page beside.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.style
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ltm_pyro.bounds.weights import Array
from ltm_pyro.display.pictures import (
    GREY,
    SERIES,
    Named,
    dress,
    name_lines,
    undress,
    with_errors,
)
from ltm_pyro.reports.page import Picture

INK = "#010203"
"""Stands for the page's own colour of letters while a picture is drawn."""
COLOURS = {
    INK: "currentColor",
    **dict.fromkeys(("#c7c7c7", "#ebebeb"), "var(--faint)"),
    **dict.fromkeys(("#595959", "#737373", GREY.lower()), "var(--grey)"),
    **{colour.lower(): f"var(--c{i})" for i, (colour, _) in enumerate(SERIES)},
}
"""What the page's style sheet calls the colours that are drawn with."""
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ltm_pyro",
    "font.size": 9,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}
SIZE = (4.0, 2.9)
"""Inches: small, so that letters can be read on a telephone too."""
MOST = 2000
"""Iterations beyond which a training curve is drawn in points of the screen."""
SIGNS = ("●", "■", "▲", "◆", "▼", "✚", "✖")
"""Letters that look like the marks of `SERIES`."""


def picture(
    name: str,
    draw: Callable[[Axes], Any],
    shows: str,
    caption: str,
    size: tuple[float, float] = SIZE,
) -> Picture:
    """Draw on an axis.

    Args:
        name: of the picture, one of its kind on the page.
        draw: what draws.
        shows: what is to be seen in words, for who cannot see it.
        caption: stands below.
        size: inches.
    """
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=size, layout="constrained")
        ax = figure.subplots()
        draw(ax)
        undress(ax)  # the caption is its title
        held = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(held, format="svg", transparent=True, metadata=nothing)
    return Picture(_in_page(held.getvalue(), name, shows), caption)


def _in_page(svg: str, name: str, shows: str) -> Markup:
    """An SVG file as a part of a page: names of its own, the page's colours, and said in words."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\b(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for drawn, called in COLOURS.items():
        svg = svg.replace(drawn, called)
    head, body = re.match(r'<svg[^>]*viewBox="([^"]*)"[^>]*>', svg), svg.partition(">")[2]
    assert head is not None
    start = f'<svg role="img" aria-label="{escape(shows)}" viewBox="{head[1]}">'
    return Markup(start + re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL))


def thin(ax: Axes) -> None:
    """Draw a long curve in points of the screen: its lines would take megabytes."""
    for drawn in (*ax.lines[:1], *ax.collections):
        drawn.set_rasterized(True)


def curve(
    ax: Axes,
    looks: Sequence[Mapping[str, Any]],
    figure: str,
    label: str,
    like: tuple[str, str],
    error: str | None = None,
    sign: int = 1,
    dashed: bool = False,
) -> list[Named]:
    """A figure of looks at held-out text over iterations, with its errors; the curve's name."""
    found = [look for look in looks if figure in look]
    if not found:
        return []
    steps, values = ([one[name] for one in found] for name in ("step", figure))
    middle = sign * np.array(values)
    reach = None if error is None else [one.get(error, np.nan) for one in found]
    with_errors(ax, steps, middle, reach, like, dashed)
    return [Named(label, steps[-1], middle[-1], like[0])]


def over_iterations(ax: Axes, what: str, names: Sequence[Named]) -> None:
    """Name the axes of curves over training, and the curves."""
    dress(ax, "", "iteration", what)
    name_lines(ax, names)


def sparse_ticks(ax: Axes, most: int = 16) -> None:
    """Leave names at some of the places of a grid's vertical axis, whole numbers at the other's."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    places, names = ax.get_yticks(), [one.get_text() for one in ax.get_yticklabels()]
    step = -(-len(places) // most)
    ax.set_yticks(places[::step], names[::step])


def points(
    ax: Axes, places: Array, groups: Sequence[int], marks: Sequence[tuple[str, str]]
) -> None:
    """Points in a plane, (points, 2): each with its group's mark and colour."""
    of = np.asarray(groups)
    for i, (colour, mark) in enumerate(marks):
        some = places[of == i]
        ax.plot(
            some[:, 0], some[:, 1], linestyle="none", marker=mark, color=colour, markersize=4,
            alpha=0.8, markeredgewidth=0,
        )  # fmt: skip
