"""`python -m benchmarks.figures`: how much of this machine's arithmetic the figures use.

A figure's matrix products, counted while it is computed, over its seconds, as a share of what the
best large matrix product reaches, measured beside it, as `benchmarks.utilisation` has it of
training.
"""

import argparse
import json
from typing import Any

import torch

from benchmarks.shapes import RESULTS, SHAPES, Shape
from benchmarks.utilisation import count, matrix_peak
from ltm_pyro.bounds import evaluate
from ltm_pyro.experiments.base import DEVICE, seconds

FIGURES = ("prior:16", "elbo:16", "iwae:64", "ais:8", "predictive:8")
SAVED = RESULTS / "figures.json"


def figures(shape: Shape, names: tuple[str, ...] = FIGURES, size: int = 2048) -> dict[str, Any]:
    """Of each figure of a batch its operations, seconds, and share of the peak, in fp32."""
    model, rows = shape.model(), shape.rows().to(DEVICE)
    found: dict[str, Any] = {"peak": matrix_peak("fp32", size)}
    for name in names:

        def run(name: str = name) -> None:
            evaluate(model, rows, name, fast=shape.fast, repeat=0, progress=False)

        flops = count(run)
        spent = min(seconds(run) for _ in range(2))
        found[name] = {
            "flops": flops, "seconds": spent, "share": flops / spent / found["peak"],
            "tokens_per_second": rows.token_count / spent,
        }  # fmt: skip
    return found


def table(found: dict[str, Any]) -> str:
    """Markdown: a row for each figure."""
    shapes = [name for name in SHAPES if name in found]
    names = [name for name in found[shapes[0]] if name != "peak"] if shapes else []
    head = " | ".join(f"{shape}, tokens/s | of the peak" for shape in shapes)
    lines = [f"| figure | {head} |", "|---" * (1 + 2 * len(shapes)) + "|"]
    for name in names:
        cells = (
            f"{found[s][name]['tokens_per_second']:,.0f} | {found[s][name]['share']:.0%}"
            for s in shapes
        )
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures")
    parser.add_argument("--shape", nargs="+", choices=list(SHAPES), default=["small", "ltm-s"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: figures(SHAPES[name]) for name in asked.shape}
    SAVED.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
