"""Time to a given valid bound on a small corpus, ours against plain.

Documents are of topics that only thoughts can tell: the decoder's window is two tokens.
"""

import dataclasses
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

    Ours takes one natural-gradient step from where a document's last visit ended. With so few
    words the head costs nothing, so that a part of the tokens would only add noise.
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
    ours: Fast = field(default_factory=lambda: dataclasses.replace(Fast.quick(1), tokens=1.0))
    slow: Slow = field(default_factory=lambda: Slow(lr=5e-3, warmup=10))
    look: int = 4

    def model(self) -> LatentThoughtModel:
        """A new model, the same each time."""
        with seeded(0):
            return LatentThoughtModel(self.config).to(DEVICE)


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


def time_to_bound(shape: Shape, race: Race | None = None) -> dict[str, Any]:
    """Plain's seconds for `shape.target` iterations over ours to a held-out bound as low.

    The bound is that of the paper's fast loop for both, and must be as low twice, in looks a few
    iterations apart; looking is not counted.
    """
    race = race or Race()
    tokens = race.config.architecture.length
    train = topic_rows(race.documents, tokens, WORDS)
    test = topic_rows(race.held_out, tokens, WORDS, seed=1)
    plain = plain_like(race.model(), race.plain, race.slow)
    plain_time = 0.0
    with seeded(0):
        for i in range(shape.target):
            rows = train.batch(i, race.batch, 0).to(DEVICE)
            plain_time += seconds(lambda rows=rows: plain.step(rows.tokens, rows.lengths))
    target = valid_bound(to_ours(plain.decoder, race.model()), test, race.plain)
    model = race.model()
    svi = DualRateSVI(model, fast=race.ours, slow=race.slow, memory=Memory(train))
    time, as_low, trace = 0.0, 0, []
    while as_low < 2 and svi.done < 4 * shape.target:
        for _ in range(race.look):
            rows = train.batch(svi.done, race.batch, 0)
            time += seconds(lambda rows=rows: svi.step(rows))
        bound = valid_bound(model, test, race.plain)
        as_low = as_low + 1 if bound.mean() <= target.mean() else 0
        trace.append([svi.done, time, float(bound.mean())])
    return {
        "median": plain_time / time if as_low == 2 else None,
        "base_seconds": plain_time,
        "seconds": time,
        "nats_per_token": float(target.mean()),
        "standard_error": float(target.std() / len(target) ** 0.5),
        "iterations": [shape.target, svi.done],
        "trace": trace,
    }
