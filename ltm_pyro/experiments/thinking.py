"""Thinking longer, honestly: `python -m ltm_pyro.experiments.thinking RUN [RUN ...]`.

For each run, the valid bound and the importance-weighted one against the number of fast steps,
less the control where the run has one, and beside them the released protocol, which is no bound and
falls whatever happens. Runs may differ in anything, such as the number of thoughts (N_z).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import ltm_pyro as ltm
from ltm_pyro.diagnostics import compute_curve
from ltm_pyro.files import write_json

STEPS = (0, 1, 2, 4, 8, 16, 32)
BOUNDS = ("elbo:8", "iwae:32", "same_noise")


def thinking(
    path: Path, rows: int, steps: Sequence[int], seed: int = 0, device: str = "cpu"
) -> dict[str, Any]:
    """Nats per token of the first test rows of a run, by figure and number of fast steps."""
    run = ltm.load(path, device=device)
    corpus = ltm.load_data(run.config, run.tokenizer)
    curve = compute_curve(
        run.model, corpus.test[:rows], steps, BOUNDS, guide=run.guide, fast=run.config.fast,
        baseline=run.baseline, seed=seed, progress=False,
    )  # fmt: skip
    figures = {
        str(name): {
            int(n): float(v) for n, v in zip(part["steps"], part["nats_per_token"], strict=True)
        }
        for name, part in curve.groupby("figure", sort=False)
    }
    return {
        "run": str(path),
        "latents": run.config.thoughts.count,
        "trained_with": run.config.fast.steps,
        "rows": min(rows, len(corpus.test)),
        "nats_per_token": figures,
    }


def table(found: dict[str, Any]) -> str:
    """A row for each number of fast steps; the control is subtracted where there is one."""
    figures = found["nats_per_token"]
    control = next(iter(figures.get("baseline", {0: 0.0}).values()))
    less = "less the control" if "baseline" in figures else "nats/token"
    lines = [
        f"{found['run']}: {found['latents']} thoughts, trained with {found['trained_with']} fast "
        f"steps; {found['rows']} test rows",
        f"| fast steps | bound, {less} | iwae:32 | released protocol, no bound |",
        "|---|---|---|---|",
    ]
    for steps in figures["elbo"]:
        cells = (figures[name][steps] - control for name in ("elbo", "iwae", "same_noise"))
        lines.append(f"| {steps} | {' | '.join(f'{one:+.4f}' for one in cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Score, print and save."""
    parser = argparse.ArgumentParser("python -m ltm_pyro.experiments.thinking", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--rows", type=int, default=128, help="test rows to score")
    parser.add_argument("--steps", type=int, nargs="*", default=STEPS, help="fast steps")
    parser.add_argument("--device", default="cpu", help="where it is computed: cpu, cuda, cuda:1")
    parser.add_argument("--out", type=Path, help="a folder for thinking.json")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = []
    for path in given.runs:
        found.append(thinking(path, given.rows, given.steps, device=given.device))
        print(table(found[-1]), flush=True)
        if given.out is not None:
            write_json(given.out / "thinking.json", found)


if __name__ == "__main__":
    main()
