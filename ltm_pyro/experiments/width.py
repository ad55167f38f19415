"""How narrow an enclosure is for its seconds. `python -m ltm_pyro.experiments.width RUN`

Documents of a run's held-out text are enclosed by weights of the fitted guide, more and more of
them, and annealed over more and more temperatures, with resampling and without; no document is left
out. Width is the mean of the upper end less the lower one, over documents; the gate says of how
many these weights would be believed. Seconds are of one process, everything included: fit, pilot
chains, the gate's run and the two that make the ends.
"""

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds.enclosed import Setup, Weights, ends_of
from ltm_pyro.bounds.gate import gate
from ltm_pyro.bounds.tails import FEWEST
from ltm_pyro.bounds.weights import Array
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.experiments.base import now
from ltm_pyro.files import write_json
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models.base import TextModel
from ltm_pyro.seeds import Stream


@dataclass(frozen=True)
class Way:
    """Weights of a run, the temperatures that each is annealed over, and chains behind it."""

    chains: int
    temperatures: int = 1
    particles: int = 1

    @property
    def kind(self) -> str:
        """What a line of the figure is of."""
        if self.temperatures == 1:
            return "importance weights"
        return "annealed" if self.particles == 1 else f"annealed, {self.particles} particles"

    def __str__(self) -> str:
        over = f" over {self.temperatures} temperatures" if self.temperatures > 1 else ""
        return f"{self.kind}{over}, {self.chains} weights"


def ways(chains: int, temperatures: list[int], particles: int) -> list[Way]:
    """As many chains for each number of temperatures, and as many weights' work without any."""
    found = [Way(chains * number) for number in (1, 4, 16) if chains * number <= 4096]
    for number in temperatures:
        found.append(Way(chains, number))
        if particles > 1:
            found.append(Way(max(chains // particles, FEWEST), number, particles))
    return found


def enclosed(
    model: TextModel, rows: Rows, guide: MakeGuide, fast: Fast, way: Way, seed: int = 0
) -> dict[str, Any]:
    """One way's ends for each of the rows, and what they cost."""
    setup = Setup(guide, fast, way.temperatures, way.chains, way.particles, len(rows), False)
    begun = now()
    weights = Weights(model, rows, setup, way.temperatures, seed)
    seen = gate(weights.run(Stream.GATE, way.chains))
    runs = [weights.run(stream, way.chains) for stream in (Stream.FIRST, Stream.SECOND)]
    lower, upper = (np.asarray(end.cpu(), np.float64) for end in ends_of(*runs))
    spent = now() - begun
    return {
        **dataclasses.asdict(way), "kind": way.kind,
        "seconds_per_document": spent / len(rows),
        "width": float((upper - lower).mean()),
        "width_median": float(np.median(upper - lower)),
        "width_error": _error(upper - lower),
        "monte_carlo_error": float(np.sqrt(seen.variance / 2).mean()),
        "spread_median": float(np.median(seen.spread)),
        "allowed": float(seen.allowed.mean()),
        "nats_per_token": [-float(end.sum()) / rows.token_count for end in (upper, lower)],
    }  # fmt: skip


def _error(values: Array) -> float | None:
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None


def study(run: ltm.Run, rows: Rows, fast: Fast, tried: list[Way]) -> Iterator[dict[str, Any]]:
    """All ways on the same rows of a run's text: what is known after each of them."""
    sizes, found = run.config.architecture, []
    about = {
        "run": run.path.name, "parameters": run.model.parameter_count(), "iterations": run.step,
        "layers": sizes.layers, "model_width": sizes.width, "vocabulary": sizes.vocabulary,
        "latent_dimensions": run.config.thoughts.count * run.config.thoughts.dim,
        "documents": len(rows), "tokens": rows.token_count, "fast_steps": fast.steps,
    }  # fmt: skip
    for way in tried:
        found.append(enclosed(run.model, rows, run.guide, fast, way))
        yield {**about, "ways": list(found)}


def line(one: dict[str, Any]) -> str:
    """A way in words."""
    way = Way(one["chains"], one["temperatures"], one["particles"])
    return (
        f"{way!s:<60}{one['seconds_per_document']:9.1f} s{one['width']:12.4f} nats "
        f"(allowed {one['allowed']:.0%})"
    )


def plot(studies: list[dict[str, Any]], path: Path) -> None:
    """Width against seconds, a panel for each run."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(studies), figsize=(5.5 * len(studies), 4.5), layout="constrained", squeeze=False
    )
    for axis, one in zip(axes[0], studies, strict=True):
        for kind in dict.fromkeys(way["kind"] for way in one["ways"]):
            points = [way for way in one["ways"] if way["kind"] == kind]
            x = [way["seconds_per_document"] for way in points]
            y = [max(way["width"], 1e-5) for way in points]
            axis.plot(x, y, "o-", ms=4, label=kind)
            for way, a, b in zip(points, x, y, strict=True):
                label = way["chains"] if way["temperatures"] == 1 else f"T={way['temperatures']}"
                axis.annotate(str(label), (a, b), (4, 4), textcoords="offset points", fontsize=7)
        title = (
            f"{one['run']}: {one['parameters'] / 1e6:.1f} M parameters, {one['documents']} "
            f"documents,\n{one['tokens']} tokens, {one['latent_dimensions']:,} latent dimensions"
        )
        axis.set(
            xscale="log", yscale="log", xlabel="CPU seconds a document",
            ylabel="upper end less lower end, nats a document", title=title,
        )  # fmt: skip
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Run, print, save, and draw what the folder holds of all runs."""
    parser = argparse.ArgumentParser("python -m ltm_pyro.experiments.width", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--documents", type=int, default=12)
    parser.add_argument("--fast-steps", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.5, help="of natural-gradient steps")
    parser.add_argument("--chains", type=int, default=256)
    parser.add_argument("--temperatures", type=int, nargs="*", default=[4, 16, 64])
    parser.add_argument("--particles", type=int, default=8, help="1 for no resampling")
    parser.add_argument("--out", type=Path, help="a folder to save the figure and the JSON in")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    run = ltm.load(given.run)
    corpus = ltm.load_data(run.config, run.tokenizer)
    rows = (corpus.test if len(corpus.test) >= given.documents else corpus.valid)[: given.documents]
    fast = Fast(given.fast_steps, lr=given.lr, optimizer="NaturalGradient", particles=2)
    tried = ways(given.chains, given.temperatures, given.particles)
    typed = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "ltm_pyro.experiments.width", *typed])
    for found in study(run, rows, fast, tried):
        print(line(found["ways"][-1]), flush=True)
        if given.out is not None:
            place = given.out / f"width-{run.path.name}.json"
            write_json(place, {**found, "command": command})
    if given.out is not None:
        saved = sorted(given.out.glob("width-*.json"))
        plot([json.loads(path.read_text()) for path in saved], given.out / "width.png")


if __name__ == "__main__":
    main()
