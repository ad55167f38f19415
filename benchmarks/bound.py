"""Time to a given valid bound on a small corpus, ours against plain."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from benchmarks.shapes import SUBSET, Shape, plain_like, to_ours
from benchmarks.timing import seconds
from ltm_pyro.config import Fast, Slow
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import MeanField
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import TextModel
from ltm_pyro.seeds import generator

TOPICS = 16
SLOW = Slow(lr=2e-3, warmup=10)
QUICK = Fast(steps=4, lr=0.3, tokens=SUBSET)
"""Our fast loop: what `benchmarks.steps` finds to be enough."""


def topic_rows(rows: int, tokens: int, words: int, seed: int = 0) -> Rows:
    """Documents of one of 16 topics, each a distribution over words (Dirichlet, 0.3)."""
    source = torch.Generator().manual_seed(0)  # the same topics whatever the seed of the documents
    gamma = torch._standard_gamma(torch.full((TOPICS, words), 0.3), generator=source)
    topics = gamma / gamma.sum(1, keepdim=True)
    source = generator(seed)
    which = torch.randint(TOPICS, (rows,), generator=source)
    found = torch.multinomial(topics[which], tokens, replacement=True, generator=source)
    return Rows(found, torch.full((rows,), tokens), torch.arange(rows), torch.full((rows,), tokens))


def valid_bound(model: TextModel, rows: Rows, fast: Fast, particles: int = 4) -> Tensor:
    """Nats per token of each document, from draws that the fit never saw: (documents,)."""
    nats = -infer(model, rows, MeanField, fast).elbo(particles).elbo.mean(0)
    return nats / rows.lengths


def time_to_bound(shape: Shape, iterations: int = 32, look: int = 4) -> dict[str, Any]:
    """Plain's seconds for `iterations` over ours until the held-out bound is as low as plain's.

    Looking (every `look` iterations, between which our time is interpolated) is not counted.
    """
    words = min(128, shape.config.architecture.vocabulary)
    train = topic_rows(64 * shape.batch, shape.tokens, words)
    test = topic_rows(32, shape.tokens, words, seed=1)
    fast = shape.fast
    model = shape.model(shape.tokens)
    plain = plain_like(model, fast, SLOW)
    plain_time = sum(
        seconds(lambda i=i: plain.step(*_tensors(train.batch(i, shape.batch, 0))))
        for i in range(iterations)
    )
    target = valid_bound(to_ours(plain.decoder, shape.model(shape.tokens)), test, fast)
    quick = dataclasses.replace(QUICK, steps=min(QUICK.steps, fast.steps))
    svi = DualRateSVI(model, fast=quick, slow=SLOW)
    time = before = 0.0
    bound = last = valid_bound(model, test, fast)
    while bound.mean() > target.mean() and svi.done < 8 * iterations:
        before, last = time, bound
        for _ in range(look):
            time += seconds(lambda: svi.step(train.batch(svi.done, shape.batch, 0)))
        bound = valid_bound(model, test, fast)
    reached = bool(bound.mean() <= target.mean())
    share = float((last.mean() - target.mean()) / (last.mean() - bound.mean())) if reached else 1.0
    time = before + share * (time - before)
    return {
        "median": plain_time / time if reached and time else None,
        "base_seconds": plain_time,
        "seconds": time,
        "nats_per_token": float(target.mean()),
        "standard_error": float(target.std() / len(target) ** 0.5),
        "iterations": [iterations, svi.done],
    }


def _tensors(rows: Rows) -> tuple[Tensor, Tensor]:
    return rows.tokens, rows.lengths
