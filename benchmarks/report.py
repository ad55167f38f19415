"""`python -m benchmarks.report`: the saved results, as docs/results/performance.md and the README
have them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import figures, throughput
from benchmarks.__main__ import MEANING
from benchmarks.memory import WHICH
from benchmarks.shapes import RESULTS, SHAPES

BOUNDS_IN = RESULTS.parent.parent / "docs" / "results"
"""Where `ltm_pyro.experiments.same_bound --out` put them."""
BOUNDS = {
    "race": "the small model of `ltm_pyro.experiments.base`, documents of topics that thoughts "
    "alone tell",
    "topics": "LTM-S with a window of two tokens, the same documents, 8 in a batch",
    "text": "the preset tiny with its rising KL weight, on Python's documentation",
    "small": "the shape small, on Python's documentation",
}
WAYS = {
    "exact": "the paper's, Adam at 0.3",
    "lower rate": "Adam at 0.1",
    "default": "`Fast.quick`",
    "longer": "`Fast.quick`, 1.5 times as many iterations",
    "everything": "`Fast.quick`, decoder in bf16",
}


SUMMARY = (
    "iteration_exact",
    "iteration_default",
    "iteration_joint",
    "pyro_overhead",
    "peak_memory",
    "time_to_bound",
)
"""The rows that the README has."""


def section(folder: Path = RESULTS, bounds_in: Path = BOUNDS_IN) -> str:
    """Markdown: ratios by shape, what they rest on, and bounds by fast loop."""
    found = {name: _load(folder / f"{name}.json") for name in SHAPES}
    shapes = {name: part for name, part in found.items() if part}
    parts = [_ratios(shapes), *(_setting(name, part) for name, part in shapes.items())]
    bounds = {name: _load(bounds_in / f"bound-{name}.json") for name in BOUNDS}
    on_a_gpu = _load(folder / "throughput.json")
    if on_a_gpu:
        parts.append("On a GPU, an iteration of training:\n\n" + throughput.table(on_a_gpu))
    if used := _load(folder / "figures.json"):
        parts.append(
            "What figures use of the peak of a matrix product in fp32 (`python -m "
            "benchmarks.figures`; one thread, other work beside it):\n\n" + figures.table(used)
        )
    if any(bounds.values()):
        parts.append(_bounds({name: part for name, part in bounds.items() if part}))
    return "\n\n".join(parts)


def summary(folder: Path = RESULTS) -> str:
    """Markdown: six of the ratios."""
    found = {name: _load(folder / f"{name}.json") for name in SHAPES}
    return _ratios({name: part for name, part in found.items() if part}, SUMMARY)


def _load(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def _ratios(shapes: dict[str, dict[str, Any]], names: Sequence[str] = tuple(MEANING)) -> str:
    lines = ["| | what it is | " + " | ".join(shapes) + " |", "|---|---|" + "---|" * len(shapes)]
    for name in names:
        cells = [_cell(name, part) for part in shapes.values()]
        lines.append(f"| `{name}` | {MEANING[name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(name: str, part: dict[str, Any]) -> str:
    value = part.get(name)
    if value is None:
        return "-"
    if name in ("pyro_overhead", "utilisation"):
        return f"{value:.1%}"
    operations = part.get("detail", {}).get(name, {}).get("operations")
    return f"{value:.2f}" + (f" ({operations:.2f})" if operations else "")


def _setting(name: str, part: dict[str, Any]) -> str:
    batch, tokens = part["batch"]
    text = (
        f"{name}: `{part['command']}`, {batch} x {tokens} tokens, vocabulary "
        f"{part['vocabulary']:,}, {part['fast_steps']} fast steps; {part['device']}, "
        f"{part['threads']} thread(s), torch {part['versions']['torch']}."
    )
    detail = part.get("detail", {})
    if "utilisation" in detail:
        text += "\n" + _used(detail["utilisation"])
    if "peak_memory" in detail:
        seen = detail["peak_memory"]
        plain, ours, kept = (f"{seen[which]['taken']:,.0f} MB" for which in WHICH)
        text += (
            f"\nMemory at {seen['rows']} x {seen['tokens']} tokens: {plain} plain, {ours} ours, "
            f"{kept} ours without recomputing layers."
        )
    race = detail.get("time_to_bound", {})
    if race.get("median") and "easier" in race:
        seeds = len(race["ways"]["ours"]["seconds"])
        easier = ", ".join(f"{r:.1f} to {b}" for b, r in race["easier"].items() if r is not None)
        text += (
            f"\nThe time to {race['nats_per_token']} nats per token was {race['low']:.1f} to "
            f"{race['high']:.1f} times shorter over {seeds} seed(s); "
            f"that to easier bounds, in the median: {easier}."
        )
    return text


def _used(seen: dict[str, Any]) -> str:
    share = {k: f"{seen[k]['share']:.0%}" for k in seen if k.startswith(("fast", "slow"))}
    peaks = " and ".join(f"{peak / 1e9:,.0f} in {kind}" for kind, peak in seen["peak"].items())
    where = ", ".join(f"{kind} {part:.0%}" for kind, part in seen["profile"]["fast"].items())
    return (
        f"A large matrix product runs at {peaks} GFLOP/s; those of a fast step use "
        f"{share['fast fp32']} of it in fp32 ({share['fast bf16']} in bf16), those of a slow step "
        f"{share['slow fp32']} ({share['slow bf16']}). Where the operations of four fast steps and "
        f"a slow one spend their time: {where}."
    )


def _bounds(found: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| | fast loop | time | bound | minus first | by seed | KL | minus first, scored alike |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, part in found.items():
        times = part["training"]
        for way, loops in part["ways"].items():
            own, alike = loops["own loop"], loops["exact loop"]
            first = way == "exact"
            seeds = "" if first else ", ".join(f"{x:+.3f}" for x in own["behind_by_seed"])
            cells = [
                name,
                WAYS[way],
                f"{sum(times[way]['seconds']) / sum(times['exact']['seconds']):.2f}",
                f"{own['nats_per_token']:.4f} ± {own['standard_error']:.4f}",
                "" if first else f"{own['behind']:+.4f} ± {own['behind_error']:.4f}",
                seeds,
                f"{own['kl']:.4f}",
                "" if first else f"{alike['behind']:+.4f} ± {alike['behind_error']:.4f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    told = "; ".join(
        f"{name}: {BOUNDS[name]}, {part['iterations']} iterations, `{part['command']}`"
        for name, part in found.items()
    )
    return "\n".join(lines) + (
        "\n\nNats per token of held-out documents, after training by that loop; time is that of "
        "training, as a part of the first's; differences are paired, errors over documents (of "
        "text and small, as recorded, over rows, some of which share a document); scored alike is "
        "by the first loop for all. "
        f"{told}."
    )


if __name__ == "__main__":
    print(summary(), section(), sep="\n\n")
