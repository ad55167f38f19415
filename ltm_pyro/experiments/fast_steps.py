"""What a fast step buys: `python -m ltm_pyro.experiments.fast_steps`.

A tiny model is trained and guides are fitted. For each way of taking fast steps, the valid bound of
held-out documents against their number, as a table and, with `--out`, a figure and JSON. Only
thoughts can tell a document's topic (`data.synthetic`): the decoder's window is too small to.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from ltm_pyro.config import Config, Fast, Slow, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.synthetic import topic_rows
from ltm_pyro.display.pictures import (
    SERIES,
    TOLD,
    Named,
    axis_or_new,
    dress,
    name_lines,
    new_figure,
    png,
    with_errors,
    zero,
)
from ltm_pyro.experiments.base import RACE
from ltm_pyro.files import write, write_json
from ltm_pyro.guides import Guide, MeanField
from ltm_pyro.inference import DualRateSVI, fit_guide
from ltm_pyro.inference.local import new_guide
from ltm_pyro.inference.memory import Memory
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.seeds import Noise, seeded

ADAM = Fast(lr=0.3)
REFERENCE = "Adam 0.3"
VISIT = 4
"""Steps of the visit before, of a warm start."""


@dataclass(frozen=True)
class Way:
    """A way of taking fast steps: how, from where, and whether documents were seen before."""

    fast: Fast
    guide: Callable[..., Guide] = MeanField
    warm: bool = False


@dataclass(frozen=True)
class Study:
    """How much is trained and fitted."""

    iterations: int = 300
    documents: int = 64
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    particles: int = 16
    config: Config = RACE


class Aggregated(MeanField):
    """Starts where the posteriors of training documents lie together: at their mean and spread."""

    def __init__(self, thoughts: Thoughts, batch_size: int, start: tuple[Tensor, Tensor]):
        super().__init__(thoughts, batch_size)
        with torch.no_grad():
            self.loc.add_(start[0])
            self.log_variance.add_(start[1].log())


def aggregated(svi: DualRateSVI, rows: Rows) -> tuple[Tensor, Tensor]:
    """Mean and variance of the mixture of the rows' posteriors, each (layers, slots, dim)."""
    z = svi.infer(rows, steps=32).sample(8).flatten(0, 1)
    return z.mean(0), z.var(0)


def ways(start: tuple[Tensor, Tensor]) -> dict[str, Way]:
    """What is compared."""
    from_all = functools.partial(Aggregated, start=start)

    def adam(**changes: Any) -> Fast:
        return dataclasses.replace(ADAM, **changes)

    def natural(lr: float) -> Fast:
        return Fast(lr=lr, optimizer="NaturalGradient")

    def sgd(lr: float) -> Fast:
        return Fast(lr=lr, optimizer="SGD", options={"momentum": 0.9})

    return {
        REFERENCE: Way(ADAM),
        "Adam 0.1": Way(adam(lr=0.1)),
        "Adam 0.3, half of the tokens": Way(adam(tokens=0.5)),
        "Adam 0.3, a quarter": Way(adam(tokens=0.25)),
        "Adam 0.3, an eighth": Way(adam(tokens=0.125)),
        "Adam 0.3, bf16": Way(adam(precision="bf16")),
        "SGD 0.01, momentum": Way(sgd(0.01)),
        "SGD 0.03, momentum": Way(sgd(0.03)),
        "natural gradient 0.1": Way(natural(0.1)),
        "natural gradient 0.3": Way(natural(0.3)),
        "natural gradient 1": Way(Fast.quick()),
        "natural gradient 1, bf16": Way(dataclasses.replace(Fast.quick(), precision="bf16")),
        "natural gradient 1, a quarter": Way(dataclasses.replace(Fast.quick(), tokens=0.25)),
        "natural gradient 0.3, a quarter": Way(dataclasses.replace(natural(0.3), tokens=0.25)),
        "natural gradient 0.1, momentum": Way(
            dataclasses.replace(natural(0.1), options={"momentum": 0.7})
        ),
        "Adam 0.3, from all posteriors": Way(ADAM, from_all),
        "natural gradient 0.3, from all posteriors": Way(natural(0.3), from_all),
        f"Adam 0.3, seen before ({VISIT} steps)": Way(ADAM, warm=True),
        f"natural gradient 0.3, seen before ({VISIT} steps)": Way(natural(0.3), warm=True),
    }


def bound(model: LatentThoughtModel, rows: Rows, way: Way, steps: int, particles: int) -> Tensor:
    """Nats per token of each document, from draws that the fit never saw: (documents,)."""
    fast = dataclasses.replace(way.fast, steps=steps)
    if not way.warm:
        found = infer(model, rows, way.guide, fast)
        return -found.elbo(particles).elbo.mean(0) / rows.lengths
    memory = Memory(rows)
    for seed, visit in ((1, VISIT), (2, steps)):
        guide = new_guide(model, way.guide, rows)
        some = dataclasses.replace(fast, steps=visit)
        fit_guide(model, guide, rows, some, Noise(seed, rows.key), memory=memory)
    kept = infer(model, rows, functools.partial(_Kept, guide), dataclasses.replace(fast, steps=0))
    return -kept.elbo(particles).elbo.mean(0) / rows.lengths


class _Kept(MeanField):
    """A guide as it has been fitted, of its first documents."""

    def __init__(self, fitted: Guide, thoughts: Thoughts, batch_size: int):
        super().__init__(thoughts, batch_size)
        self.load_state_dict({k: v[:batch_size] for k, v in fitted.state_dict().items()})


def study(setup: Study) -> dict[str, Any]:
    """Bound, its standard error, and the paired difference from the reference, by way and steps."""
    with seeded(0):
        model = LatentThoughtModel(setup.config)
    train = topic_rows(512, setup.config.architecture.length)
    test = topic_rows(setup.documents, setup.config.architecture.length, seed=1)
    slow = Slow(lr=2e-3, warmup=20)
    svi = DualRateSVI(model, fast=dataclasses.replace(ADAM, steps=8), slow=slow)
    svi.fit(train, setup.iterations, 16, progress=False)
    reference: dict[int, Tensor] = {}
    found: dict[str, Any] = {}
    for name, way in ways(aggregated(svi, train[:64])).items():
        found[name] = {}
        for steps in setup.steps:
            nats = bound(model, test, way, steps, setup.particles)
            reference.setdefault(steps, nats)
            behind = nats - reference[steps]
            root = len(test) ** 0.5
            found[name][str(steps)] = {
                "nats_per_token": float(nats.mean()),
                "standard_error": float(nats.std() / root),
                "behind": float(behind.mean()),
                "behind_error": float(behind.std() / root),
            }
    prior = bound(model, test, Way(ADAM), 0, setup.particles)
    return {"prior": float(prior.mean()), "iterations": setup.iterations, "ways": found}


def table(found: dict[str, Any]) -> str:
    """Nats per token; the column's standard error at the end."""
    ways = found["ways"]
    steps = list(ways[REFERENCE])
    lines = [f"{'fast steps':48}" + "".join(f"{s:>8}" for s in steps)]
    for name, row in ways.items():
        lines.append(f"{name:48}" + "".join(f"{row[s]['nats_per_token']:8.3f}" for s in steps))
    errors = "".join(f"{ways[REFERENCE][s]['standard_error']:8.3f}" for s in steps)
    lines += [f"{'standard error, over documents':48}" + errors, f"no step: {found['prior']:.3f}"]
    return "\n".join(lines)


PANELS = {
    "Optimizers and rates": (
        "Adam 0.1", "SGD 0.01, momentum", "SGD 0.03, momentum", "natural gradient 0.1",
        "natural gradient 0.3", "natural gradient 1", "natural gradient 0.1, momentum",
    ),
    "Fewer tokens, lower precision": (
        "Adam 0.3, half of the tokens", "Adam 0.3, a quarter", "Adam 0.3, an eighth",
        "Adam 0.3, bf16", "natural gradient 1, bf16", "natural gradient 1, a quarter",
        "natural gradient 0.3, a quarter",
    ),
    "Other starts": (
        "Adam 0.3, from all posteriors", "natural gradient 0.3, from all posteriors",
        f"Adam 0.3, seen before ({VISIT} steps)",
        f"natural gradient 0.3, seen before ({VISIT} steps)",
    ),
}  # fmt: skip
"""Ways that are drawn together, each less the reference."""


def plot_fast_steps(found: Mapping[str, Any], panel: str, ax: Axes | None = None) -> Axes:
    """The bound after so many steps less that of the reference, for the ways of a panel."""
    ax, names = axis_or_new(ax), []
    zero(ax)
    steps = [int(s) for s in found["ways"][REFERENCE]]
    for way, like in zip(PANELS[panel], SERIES, strict=False):
        cells = list(found["ways"][way].values())
        behind = [cell["behind"] for cell in cells]
        with_errors(ax, steps, behind, [cell["behind_error"] for cell in cells], like)
        names.append(Named(way, steps[-1], behind[-1], like[0]))
    ax.set_xscale("log", base=2)
    ax.set_xticks(steps, [str(s) for s in steps])
    ax.minorticks_off()
    dress(
        ax, panel, "fast steps", f"nats/token: bound less that of {REFERENCE}",
        f"held-out documents, paired, bars: {TOLD}; lower is better",
    )  # fmt: skip
    name_lines(ax, names)
    return ax


def draw(found: Mapping[str, Any], path: Path) -> None:
    """The picture, a panel for each comparison."""
    figure = new_figure(8.0, 3.6 * len(PANELS))
    axes = figure.subplots(len(PANELS), 1, sharex=True, sharey=True)
    for panel, ax in zip(PANELS, axes, strict=True):
        plot_fast_steps(found, panel, ax).tick_params(labelbottom=True)
    write(path, png(figure))


def main(arguments: list[str] | None = None, setup: Study | None = None) -> None:
    """Run, print and save."""
    parser = argparse.ArgumentParser(
        "python -m ltm_pyro.experiments.fast_steps", description=__doc__
    )
    parser.add_argument("--iterations", type=int, default=Study.iterations)
    parser.add_argument("--out", type=Path, help="a folder to save the figure and the JSON in")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = study(setup or Study(iterations=given.iterations))
    if given.out is not None:
        write_json(given.out / "fast-steps.json", found)
        draw(found, given.out / "fast-steps.png")
    print(table(found))


if __name__ == "__main__":
    main()
