"""Pictures of `ltm study probing`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ltm_pyro.display.pictures import (
    BLUE,
    ERRORS,
    GREY,
    MEANING,
    MOST,
    ORANGE,
    SERIES,
    TOLD,
    Named,
    dress,
    name_lines,
    with_errors,
    zero,
)
from ltm_pyro.errors import printable
from ltm_pyro.experiments.studies.base import Found
from ltm_pyro.reports.pictures import points


def reconstruction(figure: Figure, one: Found) -> None:
    """What thoughts of each layer add: the bound, the next token, the text decoded."""
    left, middle, right = figure.subplots(1, 3)
    levels, ablation = one["levels"], one["bound"].get("ablation")
    places = np.arange(len(levels))
    names = ["none", *("0" if i == 0 else f"0-{i}" for i in range(len(levels) - 1))]
    if ablation is not None:
        values = np.array(ablation, float)
        with_errors(left, places, values[:, 0], values[:, 1], MEANING["elbo"])
    for ax, key in ((middle, "over_none"), (right, "over_another")):
        values = np.array([level[key] for level in levels])
        with_errors(ax, places, values[:, 0], values[:, 1], MEANING["elbo"])
    for ax, title, unit in (
        (left, "Bound", "nats/document over prior thoughts"),
        (middle, "Next token right", "share over prior thoughts"),
        (right, "Decoded text", "F1 over another's text"),
    ):
        zero(ax)
        ax.set_xticks(places, names)
        dress(ax, title, "layers inferred", unit, f"bars: {TOLD}, paired")


def interpolation(figure: Figure, places: Sequence[Found]) -> None:
    """Texts and documents along the line."""
    left, right = figure.subplots(1, 2)
    x = [place["share"] for place in places]
    gap = np.array([place["text_first_less_last"] for place in places])
    zero(left)
    with_errors(left, x, gap[:, 0], gap[:, 1], MEANING["elbo"])
    dress(left, "Texts decoded on the line", "place: 0 first, 1 second document",
          "log p under first less second,\nnats/token", f"bars: {TOLD} over pairs")  # fmt: skip
    zero(right)
    names = []
    for i, (name, like) in enumerate((("first", (BLUE, "o")), ("second", (ORANGE, "v")))):
        values = np.array([place["documents"][i] for place in places])
        with_errors(right, x, values[:, 0], values[:, 1], like)
        names.append(Named(name, 1.0, values[-1, 0], like[0]))
    dress(right, "The two documents", "place: 0 first, 1 second document",
          "log p less that at their own mean,\nnats/token", f"bars: {TOLD} over pairs")  # fmt: skip
    name_lines(right, names)


def attribution(figure: Figure, one: Found, names: Sequence[str]) -> None:
    """A heat map: slots by tokens of one document."""
    ax = figure.subplots()
    gain, error = (np.array(one[key], float) for key in ("gain", "error"))
    most = np.abs(gain).max() or 1.0
    image = ax.imshow(gain, aspect="auto", cmap="RdBu_r", vmin=-most, vmax=most)
    slots, tokens = np.nonzero(np.abs(gain) < ERRORS * error)
    ax.plot(tokens, slots, linestyle="", marker=".", markersize=2, color="0.35")
    dress(ax, "What tokens owe to slots", "", "layer.slot")
    ax.grid(False)
    ax.set_yticks(range(len(names)), names)
    words = [as_written(token) for token in one["tokens"]]
    ax.set_xticks(range(len(words)), words, rotation=90, fontsize=7)
    bar = figure.colorbar(image, ax=ax, pad=0.01)
    bar.set_label("nats", fontsize=9)
    bar.ax.tick_params(labelsize=8)


def columns(figure: Figure, columns: Mapping[str, Found]) -> None:
    """Scores of all probes, a line each."""
    ax = figure.subplots()
    names, place = [], 0
    for one in columns.values():
        top = place
        for name, probe in one["probes"].items():
            by_lot, spread = probe["shuffled"]
            ax.barh(place, 2 * ERRORS * spread, left=by_lot - ERRORS * spread, height=0.5,
                    color="0.85")  # fmt: skip
            value, error = probe["score"]
            color, marker = (GREY, "s") if name == "bag of words" else MEANING["elbo"]
            ax.errorbar(value, place, xerr=ERRORS * error, color=color, marker=marker,
                        markersize=5, capsize=2)  # fmt: skip
            names.append(as_written(f"{one['column']}: {name}"))
            place += 1
        ax.vlines(one["chance"][0], top - 0.4, place - 0.6, color="0.35", linestyles="--", lw=1)
    ax.use_sticky_edges = False
    ax.set_yticks(range(place), names)
    ax.invert_yaxis()
    dress(ax, "What a linear probe reads", "accuracy (of numbers R²) on other folds", "",
          f"bars: {TOLD} over documents; grey: labels by lot, ± 2 s.d.")  # fmt: skip
    ax.grid(axis="y", visible=False)


def plane(figure: Figure, found: Found, column: Found | None) -> None:
    """The map, coloured by a column if there is one."""
    ax = figure.subplots()
    places = np.array(found["places"])
    first, second = (f"{share:.0%}" for share in found["shares"])
    if column is None:
        points(ax, places, [0] * len(places), SERIES[:1])
    elif column["values"]:
        _by_value(ax, places, column)
    else:
        numbers = np.array([np.nan if x is None else x for x in column["codes"]], float)
        low, high = np.nanquantile(numbers, [0.05, 0.95])
        image = ax.scatter(
            places[:, 0], places[:, 1], c=numbers, s=16, cmap="cividis", vmin=low, vmax=high
        )
        bar = figure.colorbar(image, ax=ax, extend="both")
        bar.set_label(as_written(column["column"]), fontsize=9)
    dress(ax, "A map of thoughts", f"first principal component ({first} of the variance)",
          f"second ({second})", "a point is a document")  # fmt: skip


def _by_value(ax: Any, places: Any, column: Found) -> None:
    codes, names = np.array(column["codes"]), list(column["values"])
    common = [code for code, _ in Counter(codes[codes >= 0].tolist()).most_common(MOST - 1)]
    rest = len(common)
    groups = [common.index(code) if code in common else rest for code in codes.tolist()]
    marks = [*SERIES[:rest], (GREY, ".")]
    points(ax, places, groups, marks)
    told = [f"{names[code]} ({groups.count(i)})" for i, code in enumerate(common)]
    if rest in groups:
        told.append(f"all else ({groups.count(rest)})")
    for name, (color, mark) in zip(told, marks, strict=False):
        ax.plot([], [], linestyle="", marker=mark, color=color, label=as_written(name))
    legend = ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5),
                       title=as_written(column["column"]))  # fmt: skip
    legend.get_title().set_fontsize(8)


def as_written(text: str, most: int = 24) -> str:
    """A stranger's words in a picture: no mathematics, nothing that drives a terminal, not long."""
    told = printable(text.replace("\n", "⏎"))
    told = told if len(told) <= most else told[: most - 1] + "…"
    return told.replace("$", r"\$").lstrip("_") or "_"
