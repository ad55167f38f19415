"""Curves over training, of the log that a run keeps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ltm_pyro.diagnostics import plot_gains, plot_training
from ltm_pyro.display.pictures import MEANING
from ltm_pyro.reports import pictures
from ltm_pyro.reports.page import Group, Picture, Text
from ltm_pyro.reports.pictures import curve, over_iterations, picture
from ltm_pyro.reports.words import within
from ltm_pyro.runs.looks import BOUND

BOUND_ERROR = "held_out_standard_error"
EARNED, TAX, ERROR = "held_out_earned", "held_out_tax", "_standard_error"
Looks = Sequence[Mapping[str, Any]]
"""Looks at held-out text, as `info_run` has them in its history."""


def training(log: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> list[Any]:
    """Curves over training."""
    looks = facts["history"]
    log = [line for line in log if math.isfinite(line.get("nats_per_token", math.nan))]
    if not log:
        return [Text("The log of its training is missing, or holds no iteration yet.")]

    def batches(ax: Any) -> None:
        plot_training(log, ax)
        ax.set_xlim(0, 1.02 * max(line["step"] for line in log))  # the last bar is whole
        if len(log) > pictures.MOST:
            pictures.thin(ax)

    released = (
        " Under this protocol the curve of training batches is NOT A BOUND: it is scored with the "
        "draw that was fitted to."
        if facts["loop"] in ("released", "fixed-noise")
        else ""
    )
    drawn = [
        picture(
            "training",
            batches,
            f"Nats per token over {len(log):,} iterations, ending at "
            f"{log[-1]['nats_per_token']:.3f}",
            "Training batches (grey), their mean over 25 iterations about each and where 80 % of "
            "them lie; and looks at held-out text, with two standard errors of the bound over "
            f"documents.{released}",
        )
    ]
    if looks:
        drawn += [_held_out(looks), *_over_time(looks)]
    return [Group(drawn)]


def _held_out(looks: Looks) -> Picture:
    def draw(ax: Any) -> None:
        names = [
            *curve(ax, looks, "held_out_baseline", "no latents", MEANING["baseline"]),
            *curve(ax, looks, "held_out_prior", "z from the prior", MEANING["prior"]),
            *curve(ax, looks, BOUND, "bound", MEANING["elbo"], BOUND_ERROR),
        ]
        over_iterations(ax, "nats/token", names)

    last = looks[-1]
    return picture(
        "held-out",
        draw,
        f"{len(looks)} looks; the last bound is {last[BOUND]:.4f} nats per token at iteration "
        f"{last['step']:,}",
        "Looks at the same held-out rows, which are few: bars are two standard errors of the "
        "bound over documents, most of which the curves share.",
    )


def _over_time(looks: Looks) -> list[Picture]:
    if not any(TAX in look or EARNED in look for look in looks):
        return []

    last = looks[-1]
    said = [
        f"{within(sign * last[name], last.get(name + ERROR, float('nan')), '+')} {of}"
        for name, sign, of in ((EARNED, 1, "over the prior"), (TAX, -1, "over the control"))
        if name in last
    ]
    return [
        picture(
            "earned",
            lambda ax: plot_gains(looks, ax),
            f"What thoughts earn at the last look, nats per token: {', '.join(said)}",
            "What inferred thoughts earn on held-out text over thoughts from the prior and, where "
            "there is one, over the control: paired by document, with two standard errors. Below "
            "zero they cost.",
        )
    ]
