"""Thinking longer, honestly: `python -m ltm_pyro.experiments.thinking RUN [RUN ...]`.

For each run, the valid bound and the importance-weighted one against the number of fast steps,
less the control where the run has one, and beside them the released protocol, which is no bound and
falls whatever happens. Runs may differ in anything, such as the number of thoughts (N_z).
`--particles` takes another number of draws a fast step than in training. `--certified N` also
encloses log p(x) of N documents (`ltm.certify`), and says how far above it the bounds of the same
documents are: the gap of the guide.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import ltm_pyro as ltm
from ltm_pyro.bounds import certify, evaluate
from ltm_pyro.bounds.sampling import sampling_error
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.diagnostics import compute_curve
from ltm_pyro.files import write_json
from ltm_pyro.runs.checkpoint import Run

STEPS = (0, 1, 2, 4, 8, 16, 32)
BOUNDS = ("elbo:8", "iwae:32", "same_noise")
SIMULATED = 16
DRAWS = 8
"""A fast step's, for a certificate: on real text importance weights of guides fitted by one draw a
step spread more, and had heavier tails."""


def thinking(
    path: Path,
    rows: int,
    steps: Sequence[int],
    seed: int = 0,
    device: str = "cpu",
    certified: int = 0,
    particles: int | None = None,
    simulated: int = SIMULATED,
) -> dict[str, Any]:
    """Nats per token of the first test rows of a run, by figure and number of fast steps.

    Each fast step has as many draws as in training, or `particles`; `certified` documents are
    enclosed, if so many as `simulated` that the model writes allow it.
    """
    run = ltm.load(path, device=device)
    draws = run.config.fast.particles if particles is None else particles
    fast = run.config.fast.changed(particles=draws)
    corpus = ltm.load_data(run.config, run.tokenizer)
    curve = compute_curve(
        run.model, corpus.test[:rows], steps, BOUNDS, guide=run.guide, fast=fast,
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
        "particles": draws,
        "rows": min(rows, len(corpus.test)),
        "nats_per_token": figures,
        **(
            {"enclosed": enclosed(run, corpus.test[:certified], steps, fast, seed, simulated)}
            if certified
            else {}
        ),
    }


def enclosed(
    run: Run,
    rows: Rows,
    steps: Sequence[int],
    fast: Fast | None = None,
    seed: int = 0,
    simulated: int = SIMULATED,
) -> dict[str, Any]:
    """The certificate of documents, and the nats of their bounds after each number of fast steps.

    log p(x) is one number, whatever is spent on finding it, so it is enclosed once, after the most
    steps of `DRAWS` draws or more. Bounds are of the documents that could be, and so is the
    control, if the run has one. By importance weights alone: annealed ones take minutes a document
    (`ltm evaluate --certify`).
    """
    fast = fast or run.config.fast
    longest = fast.changed(max(steps), max(DRAWS, fast.particles))
    found = certify(
        run.model, rows, guide=run.guide, fast=longest,
        temperatures=1, chains=512, simulated=simulated, seed=seed, progress=False,
    )  # fmt: skip
    summary, here = found.to_dict(), found.certified
    bounds: dict[str, dict[int, float]] = {name: {} for name in BOUNDS[:2]}
    tokens = float(found.tokens[here].sum())
    control: dict[str, float] = {}
    for count in steps if here.any() else ():
        report = evaluate(
            run.model, rows, BOUNDS[:2], guide=run.guide,
            baseline=None if control else run.baseline,  # the same after any number of steps
            fast=dataclasses.replace(fast, steps=count), seed=seed, repeat=0, progress=False,
        )  # fmt: skip
        for name, of_step in bounds.items():
            figure = report[name.partition(":")[0]]
            of_step[count] = float(figure.nats[here].sum()) / tokens
        if "baseline" in report.figures:
            exact = report["baseline"].nats[here]
            gap = -(found.lower + found.upper)[here] / 2 - exact
            error, _ = sampling_error(gap, found.tokens[here], report["baseline"].stream)
            control = {"nats_per_token": float(exact.sum()) / tokens, "standard_error": error}
    del summary["per_document"]
    return {"certificate": summary, "bounds_nats_per_token": bounds, "control": control}


def table(found: dict[str, Any]) -> str:
    """A row for each number of fast steps; the control is subtracted where there is one."""
    figures = found["nats_per_token"]
    control = next(iter(figures.get("baseline", {0: 0.0}).values()))
    less = "less the control" if "baseline" in figures else "nats/token"
    lines = [
        f"{found['run']}: {found['latents']} thoughts, trained with {found['trained_with']} fast "
        f"steps, scored by {found['particles']} draw(s) a step; {found['rows']} test rows",
        f"| fast steps | bound, {less} | iwae:32 | released protocol, no bound |",
        "|---|---|---|---|",
    ]
    for steps in figures["elbo"]:
        cells = (figures[name][steps] - control for name in ("elbo", "iwae", "same_noise"))
        lines.append(f"| {steps} | {' | '.join(f'{one:+.4f}' for one in cells)} |")
    if "enclosed" in found:
        lines += ["", enclosed_table(found["enclosed"])]
    return "\n".join(lines)


def enclosed_table(found: dict[str, Any]) -> str:
    """How far bounds lie above the certified interval of the same documents, nats per token."""
    told = found["certificate"]
    head = f"log p(x) of {told['certified']} of {told['documents']} documents is enclosed"
    refused = [f"refused, {number}: {reason}" for reason, number in told["refused"].items()]
    if not told["certified"]:
        return "\n".join([head, *refused])
    least, most = told["interval_95"]["nats_per_token"]
    lines = [f"{head}: {least:.4f} to {most:.4f} nats/token (95 %)", *refused]
    if found["control"]:
        exact, error = found["control"].values()
        lines.append(
            f"less the control: {least - exact:+.4f} to {most - exact:+.4f}, "
            f"± {error:.4f} over documents"
        )
    lines += [
        "| fast steps | bound above log p(x), at least and at most | iwae:32 above it |",
        "|---|---|---|",
    ]
    elbo, iwae = found["bounds_nats_per_token"].values()
    for steps in elbo:
        gaps = (f"{one[steps] - most:+.4f} to {one[steps] - least:+.4f}" for one in (elbo, iwae))
        lines.append(f"| {steps} | {' | '.join(gaps)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Score, print and save."""
    parser = argparse.ArgumentParser("python -m ltm_pyro.experiments.thinking", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--rows", type=int, default=128, help="test rows to score")
    parser.add_argument("--steps", type=int, nargs="*", default=STEPS, help="fast steps")
    parser.add_argument("--particles", type=int, help="draws a fast step (else as in training)")
    parser.add_argument("--certified", type=int, default=0, help="documents to enclose (minutes)")
    parser.add_argument(
        "--simulated", type=int, default=SIMULATED,
        help="documents that the model writes, which tell whether posteriors are missed",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="where it is computed: cpu, cuda, cuda:1")
    parser.add_argument("--out", type=Path, help="a folder for thinking.json")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = []
    for path in given.runs:
        found.append(
            thinking(
                path, given.rows, given.steps, device=given.device, certified=given.certified,
                particles=given.particles, simulated=given.simulated,
            )
        )  # fmt: skip
        print(table(found[-1]), flush=True)
        if given.out is not None:
            write_json(given.out / "thinking.json", found)


if __name__ == "__main__":
    main()
