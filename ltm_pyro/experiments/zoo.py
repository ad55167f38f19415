"""Every prior with every guide on one small corpus: `python -m ltm_pyro.experiments.zoo`.

Each pair trains a small model of its own, on the same batches, and is scored on the same held-out
documents. What is compared is what a user would get at these settings, not what a prior or a guide
can do at best: the models are small and the training short.
"""

import argparse
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ltm_pyro import guides
from ltm_pyro.bounds import Figure, evaluate, paired_difference
from ltm_pyro.config import Architecture, Config, Data, Fast, Named, Objective, Slow, Thoughts
from ltm_pyro.data import Corpus, Rows, load_corpus
from ltm_pyro.display.progress import bar
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.files import write
from ltm_pyro.guides import Guide
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.models import priors
from ltm_pyro.models.priors import Prior
from ltm_pyro.names import names
from ltm_pyro.runs.build import build_guide, build_model

BATCH = 8
FAST = Fast(steps=8, lr=0.1)
RATES: Mapping[str, Fast] = {
    "langevin": Fast(steps=8, lr=0.05, final=1.0),
    "hamiltonian": Fast(steps=8, lr=0.2, final=1.0),
    "stein": Fast(steps=8, lr=0.1),
}
"""Fast loops of guides whose rate means something else than an optimizer's."""

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "langevin": {"particles": 4},
    "hamiltonian": {"particles": 4, "leapfrogs": 2},
    "stein": {"particles": 4},
}

OF_PRIORS: Mapping[str, Mapping[str, Any]] = {"conditional": {"column": "module"}}

Pair = tuple[str, str]


@dataclass(frozen=True)
class Cell:
    """What became of a prior and a guide.

    Attributes:
        figure: the valid bound on held-out documents; None where the pair was refused.
        seconds: of training and scoring.
        refused: why, where it was.
    """

    figure: Figure | None
    seconds: float
    refused: str = ""


@dataclass(frozen=True)
class Zoo:
    """The table: a cell for each pair of names, and the decoder without latents."""

    cells: Mapping[Pair, Cell]
    documents: int
    protocol: str

    def to_markdown(self) -> str:
        """Three tables: the bound, its paired difference from the paper's pair, and seconds."""
        rows = list(dict.fromkeys(prior for prior, _ in self.cells))
        columns = list(dict.fromkeys(guide for _, guide in self.cells))
        start = self.cells[rows[0], columns[0]].figure

        def bound(cell: Cell) -> str:
            return f"{cell.figure.nats_per_token:.3f}" if cell.figure else "refused"

        def gain(cell: Cell) -> str:
            if cell.figure is None or start is None:
                return "refused"
            difference, error = paired_difference(start, cell.figure)
            return f"{difference:+.3f} ± {error:.3f}"

        def seconds(cell: Cell) -> str:
            return f"{cell.seconds:.0f}"

        def table(show: Callable[[Cell], str]) -> str:
            # Guides are many and priors few, so guides go down and priors across.
            lines = [f"| guide | {' | '.join(rows)} |", "|---" * (len(rows) + 1) + "|"]
            for guide in columns:
                cells = [show(self.cells[prior, guide]) for prior in rows]
                lines.append(f"| {guide} | {' | '.join(cells)} |")
            return "\n".join(lines)

        reasons = {cell.refused: guide for (_, guide), cell in self.cells.items() if cell.refused}
        refused = [f"- `{guide}`: {reason}" for reason, guide in reasons.items()]
        error = f"{start.standard_error:.3f}" if start else "?"
        parts = [
            "# Every prior with every guide",
            self.protocol,
            "## Valid bound, nats/token",
            f"Standard error over documents about {error} each; lower is better.",
            table(bound),
            f"## Nats/token below {rows[0]} with {columns[0]}",
            "Paired over documents, with its standard error; more is better.",
            table(gain),
            "## Seconds of training and scoring",
            table(seconds),
        ]
        if refused:
            parts += ["## Refused", "\n".join(refused)]
        return "\n\n".join(parts) + "\n"


def zoo(
    corpus: Corpus,
    steps: int = 30,
    documents: int = 64,
    of_priors: Sequence[str] = (),
    of_guides: Sequence[str] = (),
    seed: int = 0,
    processes: int = 1,
    progress: bool = True,
) -> Zoo:
    """Train and score every pair.

    Args:
        corpus: the text.
        steps: iterations of training.
        documents: held-out documents that are scored, by their first rows.
        of_priors, of_guides: names; all of them unless given.
        seed: where every draw comes from.
        processes: how many pairs are trained at once, on one thread each.
        progress: whether to show a progress bar.
    """
    pairs = [
        (prior, guide)
        for prior in of_priors or _ordered(names(priors, Prior), "standard-normal")
        for guide in of_guides
        or _ordered(
            names(guides, Guide), "mean-field", without=("no-guide", "sampler")
        )
    ]  # fmt: skip
    work = functools.partial(_cell, corpus, steps, documents, seed)
    told: Any = {"unit": "pair", "shown": progress}
    if processes > 1:
        with ProcessPoolExecutor(
            processes, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            found = list(bar(pool.map(work, pairs), "the zoo", total=len(pairs), **told))
    else:
        found = [work(pair) for pair in bar(pairs, "the zoo", **told)]
    config = _config(corpus, pairs[0])
    protocol = (
        f"{corpus.name}, rows of at most {corpus.length} tokens; {config.architecture.layers} "
        f"layers of width {config.architecture.width}, thoughts of shape {config.thoughts.shape}; "
        f"{steps} iterations of {BATCH} rows with 8 fast steps each (samplers: 4 particles, "
        f"Hamiltonian ones with 2 leapfrogs); scored on the first rows of {documents} held-out "
        f"documents after 8 fast steps with 16 fresh draws; seed {seed}; {processes} at once, on "
        "one thread each. Made by `make zoo`."
    )
    return Zoo(dict(zip(pairs, found, strict=True)), documents, protocol)


def _cell(corpus: Corpus, steps: int, documents: int, seed: int, pair: Pair) -> Cell:
    begun = time.perf_counter()
    config = _config(corpus, pair)
    try:
        model = build_model(config, seed)
        make = build_guide(config.guide, model, seed)
        svi = DualRateSVI(model, make, config.fast, config.slow, config.objective, seed)
        svi.fit(corpus.train, steps, BATCH, progress=False)
        figure = evaluate(
            model,
            _scored(corpus, documents),
            ["elbo:16"],
            guide=make,
            fast=config.fast,
            seed=seed,
            progress=False,
        )["elbo"]
    except (InputError, NotFinite) as error:
        return Cell(None, time.perf_counter() - begun, str(error))
    return Cell(figure, time.perf_counter() - begun)


def _scored(corpus: Corpus, documents: int) -> Rows:
    """The first row of each of that many held-out documents: errors are over documents."""
    rows = corpus.rows("all")
    held_out = torch.arange(len(corpus.train), len(rows))
    first = held_out[rows.document[held_out] != rows.document[held_out - 1]]
    return rows[first[:documents]]


def _config(corpus: Corpus, pair: Pair) -> Config:
    return Config(
        Architecture(
            vocabulary=corpus.vocabulary, begin=corpus.begin, length=corpus.length, window=8,
            layers=2, width=64, heads=4, feedforward=128,
        ),
        Thoughts(layers=2, slots=1, dim=8),
        data=Data(columns=corpus.columns),
        prior=Named(pair[0], OF_PRIORS.get(pair[0], {})),
        guide=Named(pair[1], OPTIONS.get(pair[1], {})),
        fast=RATES.get(pair[1], FAST),
        slow=Slow(lr=3e-3, warmup=10),
        objective=Objective(start=0.1, warmup=0.6),
    )  # fmt: skip


def _ordered(known: Mapping[str, Any], first: str, without: Sequence[str] = ()) -> list[str]:
    """Names, the paper's first."""
    return [first, *(name for name in sorted(known) if name != first and name not in without)]


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m ltm_pyro.experiments.zoo", description=__doc__)
    parser.add_argument("--steps", type=int, default=30, help="iterations of training")
    parser.add_argument("--documents", type=int, default=64, help="held-out documents to score")
    parser.add_argument("--priors", nargs="*", default=(), help="names; all unless given")
    parser.add_argument("--guides", nargs="*", default=(), help="names; all unless given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="pairs trained at once")
    parser.add_argument("--out", type=Path, help="a Markdown file to write the table into")
    options = parser.parse_args(argv)
    corpus = load_corpus("python-docs", length=32, vocabulary=512, limit=1500, columns="module")
    found = zoo(
        corpus, options.steps, options.documents, options.priors, options.guides, options.seed,
        options.processes,
    )  # fmt: skip
    text = found.to_markdown()
    print(text)
    if options.out:
        write(options.out, text.encode())


if __name__ == "__main__":
    main()
