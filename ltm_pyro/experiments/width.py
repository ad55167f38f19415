"""How narrow an enclosure is for its seconds. `python -m ltm_pyro.experiments.width RUN`

Documents of a run's held-out text are enclosed by weights of the fitted guide, more and more of
them, and annealed over more and more temperatures, with resampling and without; no document is left
out. Width is the mean of the upper end less the lower one, over documents; the gate says of how
many these weights would be believed. Seconds are of one process, everything included: fit, pilot
chains, the gate's run and the two that make the ends.
"""

import argparse
import dataclasses
import itertools
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

import ltm_pyro as ltm
from ltm_pyro.bounds.enclosed import Setup, Weights, ends_of
from ltm_pyro.bounds.gate import gate
from ltm_pyro.bounds.tails import FEWEST
from ltm_pyro.bounds.weights import Array
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.display.pictures import (
    ERRORS,
    SERIES,
    TOLD,
    Named,
    axis_or_new,
    dress,
    name_lines,
    new_figure,
    png,
)
from ltm_pyro.experiments.base import now
from ltm_pyro.files import write, write_json
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


def plot_width(study: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Width of the enclosure against seconds, for one run: a line for each kind of way."""
    ax, names = axis_or_new(ax), []
    kinds = dict.fromkeys(way["kind"] for way in study["ways"])
    for kind, like, above in zip(kinds, SERIES, itertools.cycle((True, False)), strict=False):
        points = [way for way in study["ways"] if way["kind"] == kind]
        x = [way["seconds_per_document"] for way in points]
        y = [max(way["width"], 1e-5) for way in points]
        reach = [ERRORS * way["width_error"] for way in points]
        low = [min(0.999 * value, r) for value, r in zip(y, reach, strict=True)]
        ax.errorbar(
            x, y, (low, reach), color=like[0], marker=like[1], markersize=4, capsize=2,
            elinewidth=0.8, linewidth=1.4,
        )  # fmt: skip
        for way, a, b in zip(points, x, y, strict=True):
            many = f"{way['chains']}" if way["temperatures"] == 1 else f"T={way['temperatures']}"
            ax.annotate(
                many, (a, b), (4, 4 if above else -4), textcoords="offset points",
                fontsize="x-small", color=like[0], va="bottom" if above else "top",
            )  # fmt: skip
        names.append(Named(kind, x[-1], y[-1], like[0]))
    least = min(max(way["width"], 1e-5) for way in study["ways"])
    ax.margins(x=0.12)
    ax.set(xscale="log", yscale="log", ylim=(least / 4, None))  # a bar may reach to zero
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_locator(NullLocator())
    dress(
        ax,
        f"{study['run']}: {study['parameters'] / 1e6:.1f} M parameters, "
        f"{study['latent_dimensions']:,} latent dimensions",
        "CPU seconds/document", "nats/document: upper end less lower end",
        f"{study['documents']} documents of {study['tokens']} tokens; beside points: weights, or "
        f"temperatures T; bars: {TOLD}",
    )  # fmt: skip
    name_lines(ax, names)
    return ax


def draw(studies: list[dict[str, Any]], path: Path) -> None:
    """The picture of several runs, a panel for each."""
    figure = new_figure(6.4 * len(studies), 4.2)
    axes = figure.subplots(1, len(studies), squeeze=False)[0]
    for one, ax in zip(studies, axes, strict=True):
        plot_width(one, ax)
    write(path, png(figure))


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
        draw([json.loads(path.read_text()) for path in saved], given.out / "width.png")


if __name__ == "__main__":
    main()
