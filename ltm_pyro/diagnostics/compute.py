"""What more fast steps buy: the paper's scaling figure, with valid bounds."""

import dataclasses
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from ltm_pyro.bounds import evaluate, paired_difference
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.display.pictures import (
    ERRORS,
    GREY,
    MEANING,
    SERIES,
    TOLD,
    Named,
    axis_or_new,
    band,
    dress,
    name_lines,
    with_errors,
    zero,
)
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.checks import with_gradients
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import Whole, checked

LABELS = {
    "elbo": "bound, fresh draws",
    "same_noise": "released: no bound",
    "prior": "z from the prior",
    "baseline": "no latents, exact",
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

    Columns: `steps`, `figure`, `nats_per_token`, `standard_error`, `difference` (to `prior`, z
    drawn from the prior: paired by document) and `difference_error`, `seconds`, `is_bound`. Figures
    that need no fit (`prior`, `baseline`) are computed once and repeat.

    Raises:
        InputError: for a model that observes more than tokens.
    """
    fast = fast or Fast()
    records = []
    still = evaluate(
        model, rows, ["prior:8"], fast=fast, baseline=baseline, seed=seed, repeat=0, progress=False
    )
    if still["prior"].observed != ("tokens",):
        raise InputError(
            f"the model observes {', '.join(still['prior'].observed)}, and this compares nats per "
            "token: evaluate(model, rows, fast=Fast(steps=...)) has the parts of each site"
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
            gap, error = paired_difference(figure, still["prior"], one_model=name != "baseline")
            records.append(
                {
                    "steps": count,
                    "figure": name,
                    "nats_per_token": figure.nats_per_token,
                    "standard_error": figure.standard_error,
                    "difference": gap,
                    "difference_error": error,
                    "seconds": figure.seconds,
                    "is_bound": figure.is_bound,
                }
            )
    return pd.DataFrame(records)


def plot_compute_curve(curve: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Each figure less the prior's, in nats/token, against fast steps; what is no bound is dashed.

    Paired by document, with two standard errors: lower is better.
    """
    ax, names = axis_or_new(ax), []
    zero(ax)
    last = curve["steps"].max()
    names.append(Named(LABELS["prior"], last, 0.0, "0.35"))
    taken = [MEANING.get(str(name)) for name in curve["figure"]]
    others = iter([like for like in SERIES if like not in taken])
    for name, part in curve.groupby("figure", sort=False):
        if name == "prior":
            continue
        like = MEANING.get(str(name)) or next(others, (GREY, "."))
        bound = bool(part["is_bound"].iloc[0])
        gap, error = part["difference"], part["difference_error"]
        if gap.nunique() == 1 and len(gap) > 1:  # which needs no fit
            reach = ERRORS * error
            band(ax, part["steps"], gap - reach, gap + reach, like[0])
            ax.plot(part["steps"], gap, color=like[0], linewidth=1.4)
        else:
            with_errors(ax, part["steps"], gap, error, like, not bound)
        names.append(Named(LABELS.get(str(name), str(name)), last, part["difference"].iloc[-1],
                           like[0]))  # fmt: skip
    counts = sorted(set(curve["steps"]))
    ax.set_xscale("symlog", base=2, linthresh=1) if 0 in counts else ax.set_xscale("log", base=2)
    ax.set_xticks(counts, [str(count) for count in counts])
    ax.minorticks_off()
    dress(
        ax, "What thinking longer buys", "fast steps", "nats/token less z from the prior",
        f"paired by document, bars and bands: {TOLD}; dashed: no bound",
    )  # fmt: skip
    name_lines(ax, names)
    return ax
