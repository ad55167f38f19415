"""Is the bound the same? `python -m ltm_pyro.experiments.same_bound --of race`

The paper's fast loop, also at a third of its rate, `Fast.quick`, the same in bf16, and for half as
many iterations more: from the same weights, on the same batches, from several seeds. `race` is the
small model of `experiments.base`, on documents of topics, where thoughts matter; `topics` is LTM-S,
with all its words and a window of two tokens, on the same; `small` and `ltm-s` are trained on real
text, the documentation of Python; `text` is the preset tiny on it as `ltm train` has it, with a KL
that is paid for little by little, so that thoughts are used. Held-out documents are scored by the
valid bound, once with the loop a model was trained with, and once with the paper's, which tells
what the decoder is worth. Differences are paired by document and averaged over seeds; errors are
over documents, and each seed's is told beside them.
"""

import argparse
import dataclasses
import functools
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds.gathering import by_document
from ltm_pyro.bounds.sampling import ratio_error
from ltm_pyro.bounds.weights import Array
from ltm_pyro.config import Config, Fast, Objective, Slow
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.synthetic import topic_rows
from ltm_pyro.experiments.base import DEVICE, LTM_S, RACE, SMALL, seconds
from ltm_pyro.files import write_json
from ltm_pyro.guides import MeanField
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.seeds import seeded


@dataclass(frozen=True)
class Way:
    """How iterations are taken, and how many for each of the first way."""

    fast: Fast
    slow: Slow
    longer: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """A model, its text, and how it is trained by the paper's loop."""

    model: Callable[[int], LatentThoughtModel]  # of a seed
    train: Rows
    test: Rows
    batch: int
    fast: Fast
    slow: Slow
    objective: Objective = field(default_factory=Objective)

    @property
    def ways(self) -> dict[str, Way]:
        """The first is what the others are compared with."""
        quick, slow = Fast.quick(min(Fast.quick().steps, self.fast.steps)), self.slow
        low: dict[str, Any] = {"precision": "bf16"}
        return {
            "exact": Way(self.fast, slow),
            "lower rate": Way(dataclasses.replace(self.fast, lr=self.fast.lr / 3), slow),
            "default": Way(quick, slow),
            "longer": Way(quick, slow, longer=1.5),
            "everything": Way(dataclasses.replace(quick, **low), dataclasses.replace(slow, **low)),
        }


def of_race(documents: int, config: Config = RACE) -> Comparison:
    """Documents of topics that thoughts alone can tell."""
    return _of_topics(config, documents, config.architecture.length, config.training.batch)


def of_topics(
    documents: int, config: Config = LTM_S, tokens: int = 65, batch: int = 8
) -> Comparison:
    """The same documents for a larger model, which sees two tokens at a time."""
    narrow = dataclasses.replace(config.architecture, window=2, length=tokens)
    config = config.replace(architecture=narrow, slow=Slow(lr=2e-3, warmup=10))
    return _of_topics(config, documents, tokens, batch)


def _of_topics(config: Config, documents: int, tokens: int, batch: int) -> Comparison:
    train, test = topic_rows(1024, tokens), topic_rows(documents, tokens, seed=1)
    make = functools.partial(_model, config)
    return Comparison(make, train, test, batch, config.fast, config.slow)


def _model(config: Config, seed: int) -> LatentThoughtModel:
    """A new model, the same for the same seed."""
    with seeded(seed):
        return LatentThoughtModel(config).to(DEVICE)


def of_text(documents: int, limit: int = 400) -> Comparison:
    """The preset tiny on the first of the documents; the paper's sixteen steps for its four."""
    corpus = ltm.load_corpus("python-docs", length=64, limit=limit)
    config = ltm.preset("tiny", corpus)
    return Comparison(
        functools.partial(_model, config), corpus.train[:], corpus.valid[:documents],
        config.training.batch, dataclasses.replace(config.fast, steps=16), config.slow,
        config.objective,
    )  # fmt: skip


def of_documents(documents: int, config: Config, tokens: int, batch: int) -> Comparison:
    """Full rows of real text."""
    vocabulary = min(2048, config.architecture.vocabulary)
    corpus = ltm.load_corpus("python-docs", length=tokens, vocabulary=vocabulary)
    train, test = (r[r.lengths == tokens] for r in (corpus.train, corpus.test))
    test = test[torch.linspace(0, len(test) - 1, min(documents, len(test))).long()]
    architecture = dataclasses.replace(config.architecture, length=tokens)
    make = functools.partial(_model, config.replace(architecture=architecture))
    return Comparison(make, train, test, batch, config.fast, Slow(lr=2e-3, warmup=10))


CHOICES: dict[str, Callable[[int], Comparison]] = {
    "race": of_race,
    "topics": of_topics,
    "text": of_text,
    "small": lambda documents: of_documents(documents, SMALL, 128, 4),
    "ltm-s": lambda documents: of_documents(documents, LTM_S, 256, 2),
}
"""What `--of` takes: a comparison on so many held-out documents."""


def same_bound(
    setup: Comparison,
    iterations: int,
    seeds: int = 1,
    note: Any = None,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Bounds and KL in nats per token, and differences from the first way (positive: worse).

    `names` are the ways to be compared with the first; all unless given. Under `training` stand
    the iterations of each, and the seconds they took from each seed.
    """
    ways = {n: w for n, w in setup.ways.items() if names is None or n in ("exact", *names)}
    nats: dict[tuple[str, str], list[Array]] = {}
    kls: dict[tuple[str, str], list[Array]] = {}
    tokens = by_document(setup.test.lengths, setup.test)
    count = {name: round(iterations * way.longer) for name, way in ways.items()}
    training: dict[str, Any] = {n: {"iterations": c, "seconds": []} for n, c in count.items()}
    for seed in range(seeds):
        for name, way in ways.items():
            svi = DualRateSVI(
                setup.model(seed), MeanField, way.fast, way.slow, setup.objective, seed
            )
            taken = 0.0
            for i in range(count[name]):
                rows = setup.train.batch(i, setup.batch, seed)
                taken += seconds(functools.partial(svi.step, rows, count[name]))
            training[name]["seconds"].append(taken)
            for loop, how in {"own loop": way.fast, "exact loop": setup.fast}.items():
                terms = infer(svi.model, setup.test, MeanField, how).elbo(8)
                for kept, part in ((nats, -terms.elbo), (kls, terms.kl)):
                    of_document = by_document(part.mean(0), setup.test)
                    kept.setdefault((name, loop), []).append(of_document)
                if note:
                    last = nats[name, loop][-1].sum() / tokens.sum()
                    note(f"seed {seed}: {name}, {loop}: {last:.4f}")
    found: dict[str, Any] = {name: {} for name in ways}
    for (name, loop), runs in nats.items():
        each = np.stack(runs)
        behind = each - np.stack(nats["exact", loop])
        found[name][loop] = {
            "nats_per_token": _per_token(each, tokens),
            "standard_error": ratio_error(each.mean(0), tokens),
            "behind": _per_token(behind, tokens),
            "behind_error": ratio_error(behind.mean(0), tokens),
            "behind_by_seed": [_per_token(one, tokens) for one in behind],
            "kl": _per_token(np.stack(kls[name, loop]), tokens),
        }
    return {
        "iterations": iterations, "documents": len(tokens), "seeds": seeds, "ways": found,
        "training": training,
    }  # fmt: skip


def _per_token(nats: Array, tokens: Array) -> float:
    """Total nats over total tokens, of (documents,) or, a mean over seeds, (seeds, documents)."""
    return float(nats.sum(-1).mean() / tokens.sum())


def line(name: str, loop: str, cell: dict[str, float]) -> str:
    """A result in words."""
    return (
        f"{name:12}{loop:12}{cell['nats_per_token']:.4f} +- {cell['standard_error']:.4f} nats/token"
        f"   minus exact {cell['behind']:+.4f} +- {cell['behind_error']:.4f}   KL {cell['kl']:.4f}"
    )


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        "python -m ltm_pyro.experiments.same_bound", description=__doc__
    )
    parser.add_argument("--of", choices=CHOICES, default="race")
    parser.add_argument(
        "--ways", nargs="+", choices=["lower rate", "default", "longer", "everything"]
    )
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--documents", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a folder to save the results in")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    setup = CHOICES[given.of](given.documents)
    found = same_bound(
        setup, given.iterations, given.seeds, lambda text: print(text, flush=True), given.ways
    )
    for name, loops in found["ways"].items():
        for loop, cell in loops.items():
            print(line(name, loop, cell))
    made = (
        f"python -m ltm_pyro.experiments.same_bound --of {given.of} --iterations {given.iterations}"
    )
    made += f" --documents {given.documents} --seeds {given.seeds}"
    found["command"] = shlex.join([*made.split(), *(["--ways", *given.ways] if given.ways else [])])
    if given.out is not None:
        write_json(given.out / f"bound-{given.of}.json", found)


if __name__ == "__main__":
    main()
