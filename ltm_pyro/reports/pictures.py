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
from ltm_pyro.reports.page import Picture

INK = "#010203"
"""Stands for the page's own colour of letters while a picture is drawn."""
TAB = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
       "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")  # fmt: skip
COLOURS = {
    INK: "currentColor",
    "#d9d9d9": "var(--faint)",
    **dict.fromkeys(("#999999", "#666666", "#808080"), "var(--grey)"),
    **{colour: f"var(--c{i})" for i, colour in enumerate(TAB)},
}
"""What the page's style sheet calls the colours that are drawn with."""
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ltm_pyro",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}
SIZE = (4.0, 2.9)
"""Inches: small, so that letters can be read on a telephone too."""
MOST = 2000
"""Iterations beyond which a training curve is drawn in points of the screen."""
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
SIGNS = ("●", "■", "▲", "◆", "▼", "✚", "✖", "★")
"""Marks of groups, and the letters that look like them."""


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
        ax.set_title("")  # the caption is one
        handles, labels = ax.get_legend_handles_labels()
        if (legend := ax.get_legend()) is not None:
            legend.remove()
        if labels:
            figure.legend(handles, labels, loc="outside lower center", frameon=False, ncols=2)
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
    colour: str,
    error: str | None = None,
    sign: int = 1,
    line: str = "o-",
) -> None:
    """A figure of looks at held-out text over iterations, with two standard errors about it."""
    found = [look for look in looks if figure in look]
    if not found:
        return
    steps, values = ([one[name] for one in found] for name in ("step", figure))
    middle = sign * np.array(values)
    ax.plot(steps, middle, line, color=colour, markersize=3, label=label)
    if error is not None:
        reach = 2 * np.array([one.get(error, np.nan) for one in found])
        ax.fill_between(
            steps, middle - reach, middle + reach, color=colour, alpha=0.18, linewidth=0
        )


def over_iterations(ax: Axes, what: str, zero: bool = False) -> None:
    """Name the axes of curves over training."""
    if zero:
        ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel="iteration", ylabel=what)


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
