"""One style for all pictures: colours, errors, units, and names beside the lines.

Colours are those of Okabe & Ito (2008), which colour-blind readers tell apart; each has a marker of
its own, so that a grey print does too. What stands for one thing has one colour in every picture.
"""

import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#000000", "#8C8C8C"
MOST = 7
"""Series that one axis tells apart."""
SERIES = ((BLUE, "o"), (RED, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (SKY, "P"),
          (BLACK, "X"))  # fmt: skip
"""Colour and marker of each of several series."""
MEANING = {
    "elbo": (BLUE, "o"),
    "iwae": (SKY, "P"),
    "prior": (ORANGE, "v"),
    "baseline": (GREEN, "^"),
    "same_noise": (RED, "s"),
    "kl": (PURPLE, "D"),
    "predictive": (BLACK, "X"),
}
"""Colour and marker of what stands in several pictures."""
ERRORS = 2.0
"""Standard errors on either side, wherever errors are drawn."""
TOLD = "± 2 s.e."
NOTE = 7.5
"""Size of the words that tell what bands and bars are, in points."""
NOTED = "note"
"""The id of those words."""


@dataclass(frozen=True)
class Named:
    """A name to stand beside a line: where the line ends, and its colour."""

    text: str
    x: float
    y: float
    color: str


def axis_or_new(ax: Axes | None, size: tuple[float, float] = (6.0, 3.6)) -> Axes:
    """The axis that was given, or that of a new figure (in a notebook, one that it shows)."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def new_figure(width: float, height: float) -> Figure:
    """A figure that no window or notebook holds; `png` makes a file of it."""
    return Figure(figsize=(width, height), layout="constrained")


def png(figure: Figure) -> memoryview:
    """A figure as the bytes of a PNG file."""
    held = io.BytesIO()
    figure.savefig(held, dpi=150)
    return held.getbuffer()


def svg(figure: Figure) -> memoryview:
    """A figure as the bytes of an SVG file, without the time at which it was made."""
    held = io.BytesIO()
    figure.savefig(held, format="svg", metadata={"Date": None})
    return held.getbuffer()


def dress(ax: Axes, title: str, x: str, y: str, note: str = "") -> Axes:
    """Give an axis its words: a title, a unit on either side, and what bands and bars are."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)
    ax.tick_params(labelsize=8.5)
    points = ax.get_window_extent().width / ax.figure.dpi * 72
    lines = textwrap.wrap(note, max(20, int(points / NOTE / 0.5)))
    pad = 6 + 1.3 * NOTE * len(lines)
    ax.set_title(title, loc="left", fontsize=10, fontweight="bold", pad=pad)
    if lines:
        told = ax.annotate(
            "\n".join(lines), (0, 1), (0, 5), "axes fraction", textcoords="offset points",
            fontsize=NOTE, color="0.35", gid=NOTED,
        )  # fmt: skip
        told.set_in_layout(False)
    return ax


def undress(ax: Axes) -> None:
    """Take title and note off an axis, where words beside the picture say what they say."""
    ax.set_title("", loc="left")
    for text in list(ax.texts):
        if text.get_gid() == NOTED:
            text.remove()


def write_on(ax: Axes, text: str, x: float, y: float, color: str) -> None:
    """Write beside a point, readable over lines; to its left in the right half of the axis."""
    low, high = ax.get_xlim()
    left = x > (low + high) / 2
    ax.annotate(
        text, (x, y), (-6 if left else 6, 3), textcoords="offset points", color=color,
        ha="right" if left else "left", fontsize=8.5, zorder=5,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )  # fmt: skip


def zero(ax: Axes) -> None:
    """The line where a difference is none."""
    ax.axhline(0, color="0.45", linewidth=0.8, zorder=1)


def with_errors(
    ax: Axes,
    x: Sequence[float] | Any,
    y: Sequence[float] | Any,
    error: Sequence[float] | Any | None,
    like: tuple[str, str],
    dashed: bool = False,
) -> None:
    """Points on a line, with bars of two standard errors; without one where it is not known."""
    color, marker = like
    reach = None if error is None else ERRORS * np.asarray(error, float)
    if reach is not None:
        reach = np.where(np.isfinite(reach), reach, np.nan)
    ax.errorbar(
        x, y, reach, color=color, marker=marker, markersize=4, capsize=2, elinewidth=1,
        linewidth=1.4, linestyle="--" if dashed else "-",
    )  # fmt: skip


def band(ax: Axes, x: Any, low: Any, high: Any, color: str) -> None:
    """What lies between two lines."""
    ax.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)


def name_lines(ax: Axes, names: Iterable[Named]) -> None:
    """Write names to the right of the axis, beside the ends of their lines, none over another.

    To be called last: it goes by the limits of the axis as they are.
    """
    known = sorted((one for one in names if np.isfinite(one.y)), key=lambda one: one.y)
    if not known:
        return
    ax.autoscale_view()
    size = 8.5  # points
    axis = ax.get_window_extent()
    places = ax.transData.transform([(one.x, one.y) for one in known])[:, 1]
    least = size * 1.25 * ax.figure.dpi / 72
    places = _apart(places, least, axis.y0, axis.y1)
    for one, place in zip(known, places, strict=True):
        height = (place - axis.y0) / axis.height
        ax.annotate(
            one.text, (1, height), (6, 0), "axes fraction", textcoords="offset points",
            color=one.color, fontsize=size, va="center", annotation_clip=False,
        )  # fmt: skip


def _apart(places: Any, least: float, low: float, high: float) -> Any:
    """Places in rising order, at least so far from one another, as near as that to where they were.

    Within limits, where there is room.
    """
    moved = np.array(places, float)
    for _ in range(200):
        gaps = np.diff(moved)
        tight = gaps < least - 1e-6
        if not tight.any():
            break
        push = np.where(tight, (least - gaps) / 2, 0.0)
        moved[:-1] -= push
        moved[1:] += push
    over = max(0.0, moved[-1] - high)
    under = max(0.0, low - (moved[0] - over))
    return moved - over + under
