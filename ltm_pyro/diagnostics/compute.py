"""What more fast steps buy: the paper's scaling figure, with valid bounds."""

import dataclasses
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from ltm_pyro.bounds import evaluate
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.checks import with_gradients
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import Whole, checked

COLORS = {"elbo": "C0", "same_noise": "C3", "prior": "C1", "baseline": "C2"}
LABELS = {
    "elbo": "valid bound (fresh noise)",
    "same_noise": "released protocol (not a bound)",
    "prior": "z from the prior",
    "baseline": "without latents (exact)",
}


@checked
@with_gradients
def compute_curve(
    model: TextModel,
    rows: Rows,
    steps: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    bounds: Sequence[str] = ("elbo:8", "same_noise"),
    *,
    guide: MakeGuide = MeanField,
    fast: Fast | None = None,
    baseline: TextModel | None = None,
    seed: Whole = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Figures against the number of fast steps, on the same rows with the same seed.

    Columns: `steps`, `figure`, `nats_per_token`, `standard_error`, `seconds`, `is_bound`. Figures
    that need no fit (`prior`, `baseline`) are computed once and repeat.
    """
    fast = fast or Fast()
    records = []
    still = evaluate(
        model, rows, ["prior:8"], fast=fast, baseline=baseline, seed=seed, repeat=0, progress=False
    )
    for count in steps:
        report = evaluate(
            model,
            rows,
            bounds,
            guide=guide,
            fast=dataclasses.replace(fast, steps=count),
            seed=seed,
            repeat=0,
            progress=progress,
        )
        for name, figure in {**report.figures, **still.figures}.items():
            records.append(
                {
                    "steps": count,
                    "figure": name,
                    "nats_per_token": figure.nats_per_token,
                    "standard_error": figure.standard_error,
                    "seconds": figure.seconds,
                    "is_bound": figure.is_bound,
                }
            )
    return pd.DataFrame(records)


def plot_compute_curve(curve: pd.DataFrame, ax: Axes) -> Axes:
    """Nats per token against fast steps; what is not a bound is dashed."""
    for name, part in curve.groupby("figure", sort=False):
        bound = bool(part["is_bound"].iloc[0])
        ax.plot(
            part["steps"],
            part["nats_per_token"],
            "o-" if bound else "o--",
            color=COLORS.get(str(name)),
            markersize=3,
            label=LABELS.get(str(name), str(name)),
        )
    ax.set_xscale("log", base=2)
    ax.set(xlabel="fast steps", ylabel="nats/token", title="What thinking longer buys")
    ax.legend(frameon=False)
    return ax
