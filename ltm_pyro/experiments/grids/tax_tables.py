"""Tables of what thoughts cost, from the cells of a study."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ltm_pyro.bounds.figures import Interval, finite, interval
from ltm_pyro.bounds.sampling import combined, sampling_error
from ltm_pyro.experiments.grids.paired import streamed
from ltm_pyro.experiments.grids.tax import cost_of

Table = dict[str, dict[str, dict[str, Any]]]
"""By recipe and bound."""
COSTS = ("iterations", "passes", "model_seconds")


def summary(found: Sequence[Mapping[str, Any]]) -> Table:
    """By recipe and bound: the tax of each seed, their mean, and its two errors.

    `over_documents` is of the mean over the seeds, paired by document; `over_seeds` the spread of
    the seeds over the root of their number, null for one. `interval` is 95 % by the seeds, and
    `interval_over_documents` by the documents, both Student's t.
    """
    table: Table = {}
    for recipe in dict.fromkeys(cell["recipe"] for cell in found):
        cells = [cell for cell in found if cell["recipe"] == recipe]
        tokens = np.array(cells[0]["by_document"]["tokens"], float)
        table[recipe] = {}
        for bound in cells[0]["tax"]:
            of = [cell["tax"][bound]["nats_per_token"] for cell in cells]
            nats = np.mean([cell["by_document"][bound] for cell in cells], 0)
            n, mean = len(of), float(np.mean(of))
            seeds = float(np.std(of, ddof=1) / math.sqrt(n)) if n > 1 else None
            stream = streamed(cells[0]["by_document"])
            documents, freedom = sampling_error(nats, tokens, stream)
            by_documents = interval(mean, documents, freedom)
            by_seeds = by_both = None
            if seeds is not None:
                by_seeds = interval(mean, seeds, n - 1)
                by_both = interval(mean, *combined((documents, freedom), (seeds, n - 1)))
            table[recipe][bound] = {
                "mean": mean,
                "over_documents": documents,
                "over_seeds": seeds,
                "interval": None if by_seeds is None else list(by_seeds),
                "interval_over_documents": list(map(finite, by_documents)),
                "by_seed": of,
                "errors_by_seed": [cell["tax"][bound]["standard_error"] for cell in cells],
                "seeds": [cell["seed"] for cell in cells],
                "parts": {
                    part: float(
                        np.mean([cell["tax"][bound][f"{part}_per_token"] for cell in cells])
                    )
                    for part in ("text", "kl")
                    if f"{part}_per_token" in cells[0]["tax"][bound]
                },
                "control": float(
                    np.mean([cell["figures"]["baseline"]["nats_per_token"] for cell in cells])
                ),
                "verdict": verdict(by_documents, by_seeds, by_both),
            }
    return table


def verdict(over_documents: Interval, over_seeds: Interval | None, by_both: Interval | None) -> str:
    """Whether thoughts earn or cost: all intervals lie on the same side of zero.

    By both errors together, too: of five seeds or more, each alone would err up to 10 % of the time
    where none is the larger.
    """
    if over_seeds is None or by_both is None:
        return "one seed"
    each = over_documents, over_seeds, by_both
    if all(high < 0 for _, high in each):
        return "earn"
    return "cost" if all(low > 0 for low, _ in each) else "neither"


def in_words(table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A Markdown table, nats per token."""
    lines = [
        "| recipe | control | bound | tax | ± documents | ± seeds | by seed | thoughts |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for recipe, bounds in table.items():
        for bound, row in bounds.items():
            seeds = "" if row["over_seeds"] is None else f"{row['over_seeds']:.4f}"
            each = ", ".join(f"{one:+.4f}" for one in row["by_seed"])
            errors = f"{row['over_documents']:.4f} | {seeds}"
            start = f"| {recipe} | {row['control']:.4f} | {bound} | {row['mean']:+.4f}"
            lines.append(f"{start} | {errors} | {each} | {row['verdict']} |")
    return "\n".join(lines)


def traced(table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A Markdown table of where the nats go, per token, means over seeds.

    With thoughts from the prior the decoder lies `at prior thoughts` above its control: what it
    lost. Thoughts of the text change that to `at inferred ones`; `KL` pays for them, and the sum is
    the tax of the ELBO. What importance weighting takes off it is `gap` of the guide, at least.
    """
    lines = [
        "| recipe | at prior thoughts | at inferred ones | KL | tax of the ELBO | gap |",
        "|---|---|---|---|---|---|",
    ]
    for recipe, row in table.items():
        if "elbo" not in row:
            continue
        parts = row["elbo"]["parts"]
        means = [row[name]["mean"] if name in row else math.nan for name in ("prior", "iwae")]
        elbo = row["elbo"]["mean"]
        cells = (means[0], parts["text"], parts["kl"], elbo, elbo - means[1])
        told = ("" if math.isnan(one) else f"{one:+.4f}" for one in cells)
        lines.append(f"| {recipe} | {' | '.join(told)} |")
    return "\n".join(lines)


def controls(found: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of the controls' curves: whether they have flattened, or risen again.

    Held-out nats per token at the looks of training, means over seeds: the last look, how much it
    lies below the one two thirds of the way, and how far above the lowest of all.
    """
    lines = [
        "| recipe | control, last look | fell in the last third | above its best |",
        "|---" * 4 + "|",
    ]
    for recipe in dict.fromkeys(cell["recipe"] for cell in found):
        curves, before = [], []
        for cell in found:
            looks = [look for look in cell["looks"] if "baseline" in look]
            if cell["recipe"] == recipe and looks:
                steps = [look["step"] for look in looks]
                curves.append([look["baseline"] for look in looks])
                before.append(np.interp(2 / 3 * steps[-1], steps, curves[-1]))
        if not curves:
            continue
        last = float(np.mean([curve[-1] for curve in curves]))
        fell = float(np.mean(before)) - last
        above = float(np.mean([curve[-1] - min(curve) for curve in curves]))
        lines.append(f"| {recipe} | {last:.4f} | {fell:+.4f} | {above:+.4f} |")
    return "\n".join(lines)


def costs(found: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of what each recipe spent until a bound that all cells reach.

    Of the held-out bound at the looks of training; means over seeds. Seconds are those of the
    iterations, looks left out. What the control needs for the same nats stands in the last two
    columns, where it reached them, in iterations of its own. Of thoughts that were grown on another
    recipe's decoder both begin with what that cost.
    """
    bound = max(cell["looks"][-1]["elbo"] for cell in found)
    lines = [
        f"| until the bound is {bound:.3f} | iterations | passes | seconds "
        "| control | its seconds |",
        "|---|---|---|---|---|---|",
    ]
    for recipe in dict.fromkeys(cell["recipe"] for cell in found):
        cells = [cell for cell in found if cell["recipe"] == recipe]
        spent = [one for one in (cost_of(cell, bound) for cell in cells) if one is not None]
        means = [np.mean([one[name] for one in spent]) for name in COSTS]
        alone: list[Mapping[str, Any]] = [
            next((look for look in cell["looks"] if look.get("baseline", np.inf) <= bound), {})
            for cell in cells
        ]
        begun = [cell.get("before", {}) for cell in cells]
        for name, before in (("step", "iterations"), ("control_seconds", "model_seconds")):
            pairs = zip(alone, begun, strict=True)
            means.append(np.mean([a.get(name, np.nan) + b.get(before, 0) for a, b in pairs]))
        shown = " | ".join("" if np.isnan(one) else f"{one:,.0f}" for one in means)
        lines.append(f"| {recipe} | {shown} |")
    return "\n".join(lines)
