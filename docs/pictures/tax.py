"""What thoughts cost after they are grown: `python docs/pictures/tax.py` writes tax.png beside it.

From the results in docs/results: a panel for each text and window, the bound less the control at
looks of training, and what both valid bounds say of test documents at the end.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from ltm_pyro.display.pictures import BLUE, MEANING, dress, new_figure, png, zero

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
PANELS = (
    ("WikiText-2, window of 16", "tax-rested.json", ("wikitext-2", "pairs")),
    ("GSM8K, window of 16", "tax-rested.json", ("gsm8k", "pairs-less-decay")),
    ("WikiText-2, whole row", "tax-whole-rows.json", ("pairs-4e-3-more-decay",)),
    ("GSM8K, whole row", "tax-whole-rows.json", ("pairs-4e-3",)),
)
LOWEST, HIGHEST = -0.06, 0.06
"""Nats per token; thoughts of no use yet, at the first looks, may lie higher."""


def results(file: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """A recipe's results: its figures by seed, and the looks of its training."""
    found = json.loads((RESULTS / file).read_text())
    for key in keys:
        found = found[key]
    return found


def draw(ax: Axes, title: str, found: Mapping[str, Any]) -> None:
    """Looks of each seed, and at the right both bounds on test documents."""
    zero(ax)
    for looks in found["looks"]:
        steps = [look["step"] for look in looks]
        ax.plot(steps, [look["tax"] for look in looks], color=BLUE, linewidth=1, alpha=0.6)
    last = max(steps)
    for place, (bound, name) in enumerate((("elbo", "ELBO"), ("iwae", "iwae:32"))):
        color, marker = MEANING[bound]
        told, x = found[bound], last * (1.12 + 0.13 * place)
        low, high = told["interval_over_documents"]
        reach = [[told["mean"] - low], [high - told["mean"]]]
        ax.errorbar(x, told["mean"], reach, color=color, marker=marker, markersize=5, capsize=3)
        words, side = f"{name}\n{told['mean']:+.4f}", 1 - 2 * place  # above, then below
        ax.annotate(
            words, (x, (low, high)[side > 0]), (0, 4 * side), textcoords="offset points",
            ha="center", va="bottom" if side > 0 else "top", fontsize=7, color=color,
        )  # fmt: skip
    ax.set_ylim(LOWEST, HIGHEST)
    ax.set_xlim(0, last * 1.36)
    ax.set_xticks(np.arange(0, last + 1, 200))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:+.2f}" if y else "0"))
    dress(ax, title, "iteration with thoughts", "")


def main() -> None:
    """Draw all panels."""
    figure = new_figure(11.0, 3.4)
    axes = figure.subplots(1, len(PANELS), sharey=True)
    for ax, (title, file, keys) in zip(axes, PANELS, strict=True):
        draw(ax, title, results(file, keys))
    axes[0].set_ylabel("nats/token: bound less control", fontsize=9)
    figure.supxlabel(
        "a line for each seed: validation rows while it trains; points: test documents at the end, "
        "mean over seeds, bars: 95 % over documents; below zero thoughts earn",
        fontsize=8, color="0.35",
    )  # fmt: skip
    (HERE / "tax.png").write_bytes(png(figure))


if __name__ == "__main__":
    main()
