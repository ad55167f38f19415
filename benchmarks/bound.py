"""Time to a given valid bound on a small corpus, ours against plain.

Documents are of topics that only thoughts can tell: the decoder's window is two tokens.
"""

import dataclasses
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks.shapes import DEVICE, Shape, plain_like, to_ours
from benchmarks.timing import seconds
from ltm_pyro.config import Architecture, Config, Fast, Slow, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import MeanField
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.memory import Memory
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LatentThoughtModel, TextModel
from ltm_pyro.seeds import generator, seeded

TOPICS, WORDS, TOKENS = 16, 32, 65


@dataclass(frozen=True)
class Race:
    """A small corpus, a small model, and the two ways of training it.

    Ours takes one natural-gradient step from where a document's last visit ended: epochs are short.
    With so few words the head costs nothing, so that a part of the tokens would only add noise.
    """

    config: Config = field(
        default_factory=lambda: Config(
            Architecture(WORDS, 0, TOKENS, window=2, layers=2, width=64, heads=4, feedforward=172),
            Thoughts(2, 2, 4),
        )
    )
    documents: int = 128
    held_out: int = 32
    batch: int = 16
    plain: Fast = field(default_factory=Fast)
    slow: Slow = field(default_factory=lambda: Slow(lr=5e-3, warmup=10))
    look: int = 4

    @property
    def ways(self) -> dict[str, Fast]:
        """Fast loops: plain torch and our code with the paper's; ours with and without a memory."""
        natural = dataclasses.replace(Fast.quick(), tokens=1.0)
        return {
            "plain": self.plain,
            "the same, our code": self.plain,
            "natural gradient": dataclasses.replace(natural, steps=2),
            "ours": dataclasses.replace(natural, steps=1),
        }

    def model(self, seed: int = 0) -> LatentThoughtModel:
        """A new model, the same for the same seed."""
        with seeded(seed):
            return LatentThoughtModel(self.config).to(DEVICE)

    def start(
        self, name: str, train: Rows, seed: int
    ) -> tuple[Callable[[Rows], Any], Callable[[], LatentThoughtModel]]:
        """A way of training from the beginning: what takes an iteration, and gives the model."""
        model, fast = self.model(seed), self.ways[name]
        if name == "plain":
            plain = plain_like(model, fast, self.slow)
            noise = generator(seed)

            def step(rows: Rows) -> None:
                shape = (len(rows), *self.config.thoughts.shape)
                plain.step(
                    rows.tokens, rows.lengths,
                    lambda i: torch.randn(shape, generator=noise).to(DEVICE),
                )  # fmt: skip

            return step, lambda: to_ours(plain.decoder, model)
        memory = Memory(train) if name == "ours" else None
        svi = DualRateSVI(model, fast=fast, slow=self.slow, seed=seed, memory=memory)
        return svi.step, lambda: model


def topic_rows(rows: int, tokens: int, words: int, seed: int = 0) -> Rows:
    """Documents of one of 16 topics, each a distribution over words (Dirichlet, 0.3)."""
    source = torch.Generator().manual_seed(0)  # the same topics whatever the seed of the documents
    gamma = torch._standard_gamma(torch.full((TOPICS, words), 0.3), generator=source)
    topics = gamma / gamma.sum(1, keepdim=True)
    source = generator(seed)
    which = torch.randint(TOPICS, (rows,), generator=source)
    found = torch.multinomial(topics[which], tokens, replacement=True, generator=source)
    return Rows(found, torch.full((rows,), tokens), torch.arange(rows), torch.full((rows,), tokens))


def valid_bound(model: TextModel, rows: Rows, fast: Fast, particles: int = 8) -> Tensor:
    """Nats per token of each document, from draws that the fit never saw: (documents,)."""
    nats = -infer(model, rows, MeanField, fast).elbo(particles).elbo.mean(0).cpu()
    return nats / rows.lengths


def time_to_bound(shape: Shape, race: Race | None = None, longest: int = 200) -> dict[str, Any]:
    """Plain's seconds over ours until the held-out bound is `shape.target` or lower.

    The median over seeds, of weights and batches. For both, the bound is that of the paper's fast
    loop and must be low enough twice, in looks a few iterations apart; looking is not counted.
    Under `ways` stand seconds, iterations, and whether they sufficed, of each way. Where `longest`
    iterations were not enough for plain, they are what it is charged.
    """
    race = race or Race()
    train = topic_rows(race.documents, race.config.architecture.length, WORDS)
    test = topic_rows(race.held_out, race.config.architecture.length, WORDS, seed=1)
    names = list(race.ways) if shape.seeds > 1 else ["plain", "ours"]
    found: dict[str, list[tuple[float, int, bool]]] = {name: [] for name in names}
    for seed in range(shape.seeds):
        for name in names:
            step, model = race.start(name, train, seed)
            batches = (train.batch(i, race.batch, seed).to(DEVICE) for i in range(longest))
            found[name].append(_first_passage(step, model, batches, test, race, shape.target))
    ratios = [
        plain / ours
        for (plain, *_), (ours, _, there) in zip(found["plain"], found["ours"], strict=True)
        if there
    ]
    whole = len(ratios) == shape.seeds
    return {
        "median": statistics.median(ratios) if whole else None,
        **({"low": min(ratios), "high": max(ratios)} if whole else {}),
        "nats_per_token": shape.target,
        "ways": {
            name: {
                "seconds": [time for time, _, _ in runs],
                "iterations": [iterations for _, iterations, _ in runs],
                "there": [there for _, _, there in runs],
            }
            for name, runs in found.items()
        },
    }


def _first_passage(
    step: Callable[[Rows], Any], model: Callable[[], TextModel], batches: Iterable[Rows],
    test: Rows, race: Race, target: float,
) -> tuple[float, int, bool]:  # fmt: skip
    """Seconds and iterations to two looks in a row with the bound at the target, and if it was."""
    time, low_enough, done = 0.0, 0, 0
    for done, rows in enumerate(batches, start=1):
        time += seconds(lambda rows=rows: step(rows))
        if done % race.look == 0:
            bound = float(valid_bound(model(), test, race.plain).mean())
            low_enough = low_enough + 1 if bound <= target else 0
            if low_enough == 2:
                return time, done, True
    return time, done, False
