"""Is the bound the same? `python -m benchmarks.same_bound --of race` trains each way, and scores.

The paper's fast loop, `Fast.quick`, and the same in bf16: from the same weights, on the same
batches, each for as many iterations. `race` is the small model of `benchmarks.bound`, on documents
of topics, where thoughts matter; a shape is trained on real text, the documentation of Python.
Held-out documents are scored by the valid bound, once with the loop a model was trained with, and
once with the paper's, which tells what the decoder is worth. Differences are paired by document.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import ltm_pyro as ltm
from benchmarks.bound import WORDS, Race, topic_rows
from benchmarks.shapes import RESULTS, SHAPES, Shape
from ltm_pyro.config import Fast, Slow
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import MeanField
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LatentThoughtModel


@dataclass(frozen=True)
class Comparison:
    """A model, its text, and how it is trained by the paper's loop."""

    model: Callable[[], LatentThoughtModel]
    train: Rows
    test: Rows
    batch: int
    fast: Fast
    slow: Slow

    @property
    def ways(self) -> dict[str, tuple[Fast, Slow]]:
        """How iterations are taken; the first is what the others are compared with."""
        quick, slow = Fast.quick(min(Fast.quick().steps, self.fast.steps)), self.slow
        low = {"precision": "bf16"}
        return {
            "exact": (self.fast, slow),
            "default": (quick, slow),
            "everything": (dataclasses.replace(quick, **low), dataclasses.replace(slow, **low)),
        }


def of_race(documents: int, race: Race | None = None) -> Comparison:
    """Documents of topics that thoughts alone can tell."""
    race = race or Race()
    tokens = race.config.architecture.length
    train, test = topic_rows(1024, tokens, WORDS), topic_rows(documents, tokens, WORDS, seed=1)
    return Comparison(race.model, train, test, race.batch, race.plain, race.slow)


def of_shape(shape: Shape, documents: int) -> Comparison:
    """Full rows of real text."""
    vocabulary = min(2048, shape.config.architecture.vocabulary)
    corpus = ltm.load_corpus("python-docs", length=shape.tokens, vocabulary=vocabulary)
    train, test = (r[r.lengths == shape.tokens] for r in (corpus.train, corpus.test))
    test = test[torch.linspace(0, len(test) - 1, min(documents, len(test))).long()]
    slow = Slow(lr=2e-3, warmup=10)
    return Comparison(
        lambda: shape.model(shape.tokens), train, test, shape.batch, shape.fast, slow
    )  # fmt: skip


def same_bound(setup: Comparison, iterations: int, note: Any = None) -> dict[str, Any]:
    """Bounds and KL in nats per token, and differences from the first way (positive: worse)."""
    first: dict[str, Tensor] = {}
    found: dict[str, Any] = {}
    for name, (fast, slow) in setup.ways.items():
        svi = DualRateSVI(setup.model(), fast=fast, slow=slow)
        for i in range(iterations):
            svi.step(setup.train.batch(i, setup.batch, 0))
        found[name] = {}
        for loop, how in {"own loop": fast, "exact loop": setup.fast}.items():
            terms = infer(svi.model, setup.test, MeanField, how).elbo(8)
            nats, kl = (x.mean(0).cpu() / setup.test.lengths for x in (-terms.elbo, terms.kl))
            behind = nats - first.setdefault(loop, nats)
            found[name][loop] = {
                "nats_per_token": float(nats.mean()),
                "standard_error": float(nats.std() / len(nats) ** 0.5),
                "behind": float(behind.mean()),
                "behind_error": float(behind.std() / len(nats) ** 0.5),
                "kl": float(kl.mean()),
            }
            if note:
                note(line(name, loop, found[name][loop]))
    return {"iterations": iterations, "documents": len(setup.test), "ways": found}


def line(name: str, loop: str, cell: dict[str, float]) -> str:
    """A result in words."""
    return (
        f"{name:12}{loop:12}{cell['nats_per_token']:.4f} +- {cell['standard_error']:.4f} nats/token"
        f"   behind exact {cell['behind']:+.4f} +- {cell['behind_error']:.4f}   KL {cell['kl']:.4f}"
    )


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser("python -m benchmarks.same_bound", description=__doc__)
    parser.add_argument("--of", choices=["race", *SHAPES], default="race")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--documents", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    race = given.of == "race"
    setup = of_race(given.documents) if race else of_shape(SHAPES[given.of], given.documents)
    found = same_bound(setup, given.iterations, lambda text: print(text, flush=True))
    (RESULTS / f"bound-{given.of}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
