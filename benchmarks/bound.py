"""Time to a given valid bound on a small corpus, ours against plain.

Documents are of topics that only thoughts can tell: the decoder's window is two tokens.
"""

import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks.shapes import Shape, plain_like, to_ours
from ltm_pyro.config import Config, Fast, Slow, Warm
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.synthetic import WORDS, topic_rows
from ltm_pyro.experiments.base import DEVICE, RACE, seconds
from ltm_pyro.guides import MeanField
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LatentThoughtModel, TextModel
from ltm_pyro.seeds import generator, seeded


@dataclass(frozen=True)
class Race:
    """A small corpus, a small model, and the ways of training it.

    Ours takes no fast steps of their own: from where a document's last visit ended, the slow step
    moves its local parameters too. A document is visited every eighth iteration.
    """

    config: Config = RACE
    documents: int = 128
    held_out: int = 32
    batch: int = 16
    plain: Fast = field(default_factory=Fast)
    slow: Slow = RACE.slow
    look: int = 4

    @property
    def ways(self) -> dict[str, tuple[Fast, Warm | None]]:
        """Plain torch and our code with the paper's loop; few steps, one and warm, joint ones."""
        two, one, none = (Fast.quick(steps) for steps in (2, 1, 0))
        return {
            "plain": (self.plain, None),
            "the same, our code": (self.plain, None),
            "natural gradient": (two, None),
            "warm": (one, Warm(1)),
            "ours": (none, Warm(0, lr=1.0)),
        }

    def model(self, seed: int = 0) -> LatentThoughtModel:
        """A new model, the same for the same seed."""
        with seeded(seed):
            return LatentThoughtModel(self.config).to(DEVICE)

    def start(
        self, name: str, train: Rows, seed: int
    ) -> tuple[Callable[[Rows], Any], Callable[[], LatentThoughtModel]]:
        """A way of training from the beginning: what takes an iteration, and gives the model."""
        model, (fast, warm) = self.model(seed), self.ways[name]
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
        svi = DualRateSVI(model, fast=fast, slow=self.slow, seed=seed, warm=warm)
        if warm is not None:
            svi.remember(train)
        return svi.step, lambda: model


def valid_bound(model: TextModel, rows: Rows, fast: Fast, particles: int = 8) -> Tensor:
    """Nats per token of each document, from draws that the fit never saw: (documents,)."""
    nats = -infer(model, rows, MeanField, fast).elbo(particles).elbo.mean(0).cpu()
    return nats / rows.lengths


@dataclass(frozen=True)
class Look:
    """The held-out bound after some iterations, nats per token, and the seconds they took."""

    iterations: int
    seconds: float
    bound: float


def reached(looks: list[Look], target: float) -> Look | None:
    """The second of two looks in a row with the bound at the target or lower."""
    for before, look in itertools.pairwise(looks):
        if max(before.bound, look.bound) <= target:
            return look
    return None


def time_to_bound(shape: Shape, race: Race | None = None, longest: int = 200) -> dict[str, Any]:
    """Plain's seconds over ours until the held-out bound is `shape.target` or lower.

    The median over seeds, of weights and batches. For both, the bound is that of the paper's fast
    loop and must be low enough twice, in looks a few iterations apart; looking is not counted.
    Under `ways` stand seconds, iterations, and whether they sufficed, of each way, under `easier`
    the median ratios for bounds that are reached before. Where `longest` iterations were not enough
    for plain, they are what it is charged.
    """
    race = race or Race()
    train = topic_rows(race.documents, race.config.architecture.length, WORDS)
    test = topic_rows(race.held_out, race.config.architecture.length, WORDS, seed=1)
    names = list(race.ways) if shape.seeds > 1 else ["plain", "ours"]
    runs: dict[str, list[list[Look]]] = {name: [] for name in names}
    for seed in range(shape.seeds):
        for name in names:
            runs[name].append(_looks(race, name, train, test, seed, shape.target, longest))
    ratios = _ratios(runs, shape.target)
    easier = [round(shape.target + more, 2) for more in (0.02, 0.05, 0.1)]
    return {
        "median": statistics.median(ratios) if ratios else None,
        **({"low": min(ratios), "high": max(ratios)} if ratios else {}),
        "nats_per_token": shape.target,
        "easier": {
            str(bound): statistics.median(found) if (found := _ratios(runs, bound)) else None
            for bound in easier
        },
        "ways": {
            name: {
                "seconds": [looks[-1].seconds for looks in each],
                "iterations": [looks[-1].iterations for looks in each],
                "there": [reached(looks, shape.target) is not None for looks in each],
            }
            for name, each in runs.items()
        },
    }


def _ratios(runs: dict[str, list[list[Look]]], target: float) -> list[float]:
    """Plain's seconds over ours of each seed; none unless ours was there from all."""
    ratios = []
    for plain, ours in zip(runs["plain"], runs["ours"], strict=True):
        there = reached(ours, target)
        if there is None:
            return []
        ratios.append((reached(plain, target) or plain[-1]).seconds / there.seconds)
    return ratios


def _looks(
    race: Race, name: str, train: Rows, test: Rows, seed: int, target: float, longest: int
) -> list[Look]:
    """Train until the target is reached, for `longest` iterations at most; look every few."""
    step, model = race.start(name, train, seed)
    time, looks = 0.0, list[Look]()
    for done in range(1, longest + 1):
        rows = train.batch(done - 1, race.batch, seed).to(DEVICE)
        time += seconds(lambda rows=rows: step(rows))
        if done % race.look == 0 or done == longest:
            bound = float(valid_bound(model(), test, race.plain).mean())
            looks.append(Look(done, time, bound))
            if reached(looks, target):
                break
    return looks
