"""Models whose -log p(x), or whose sum over all texts, is known."""

import functools
import itertools
from typing import Any

import torch
from torch import Tensor

from ltm_pyro.bounds.estimate import Task
from ltm_pyro.bounds.importance import grid
from ltm_pyro.config import Architecture, Config, Fast, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import MeanField
from ltm_pyro.models import LatentThoughtModel, LinearGaussianModel
from ltm_pyro.programs.densities import simulate
from ltm_pyro.seeds import generator

LETTERS, LENGTH = 3, 4
"""Symbols, and how many make a text: there are 81."""

POINTS = 48
"""Places in each dimension of the quadrature."""


def every_text(seed: int) -> tuple[LatentThoughtModel, Rows]:
    """A decoder that listens to its thoughts, and every text of `LENGTH` letters that there is."""
    model = _decoder(seed, LETTERS, LENGTH, Thoughts(layers=2, slots=2, dim=4))
    texts = torch.tensor(list(itertools.product(range(LETTERS), repeat=LENGTH)))
    return model, _rows(texts, torch.full((len(texts),), LENGTH))


def small_decoder(seed: int, documents: int) -> tuple[LatentThoughtModel, Rows]:
    """A decoder with two latent dimensions, and texts of 4 to 10 tokens that it wrote."""
    model = _decoder(seed, 5, 10, Thoughts(layers=2, slots=1, dim=1))
    lengths = torch.randint(4, 11, (documents,), generator=generator(seed, 1))
    return model, simulate(model, lengths, seed)[0]


@functools.lru_cache(maxsize=8)
def known_decoder(seed: int, documents: int) -> tuple[LatentThoughtModel, Rows, Tensor]:
    """The same, with their -log p(x) by quadrature, which is kept for the next estimator."""
    model, rows = small_decoder(seed, documents)
    return model, rows, grid(Task(model, rows, MeanField, Fast(), seed), POINTS).nats.double()


def linear_model(
    seed: int, documents: int, gain: float = 1.0
) -> tuple[LinearGaussianModel, Rows, Tensor]:
    """A linear-Gaussian model of 6 latent dimensions, documents it wrote, their -log p(x).

    "Tokens" are real numbers. Its thoughts go separate ways, so a mean-field guide can be the
    posterior, and no slack hides what is missing. The louder they are (`gain`), the more of
    -log p(x) is KL.
    """
    thoughts = Thoughts(layers=2, slots=1, dim=3)
    size = thoughts.count * thoughts.dim
    ways, _ = torch.linalg.qr(torch.randn(8, size, generator=generator(seed, 2)))
    model = LinearGaussianModel(thoughts, 3 * gain * ways, scale=0.8)
    rows, _ = simulate(model, torch.full((documents,), 8), seed)
    with torch.no_grad():
        return model, rows, -model.log_marginal(rows).double()


def _decoder(seed: int, letters: int, length: int, thoughts: Thoughts) -> LatentThoughtModel:
    """With random weights so large that thoughts and tokens matter."""
    config = Config(
        Architecture(
            vocabulary=letters, begin=0, length=length, window=2, layers=thoughts.layers, width=8,
            heads=2, feedforward=8,
        ),
        thoughts,
    )  # fmt: skip
    model = LatentThoughtModel(config)
    source = generator(seed, 4)
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if parameter.dim() == 2:
                scale = 1.0 if "embedding" in name else parameter.shape[1] ** -0.5
                parameter.copy_(scale * torch.randn(parameter.shape, generator=source))
        for layer in model.decoder.layers:
            loud: Any = layer.thought
            loud.out.weight *= 2.0
    return model


def _rows(tokens: Tensor, lengths: Tensor) -> Rows:
    return Rows(tokens, lengths, torch.arange(len(tokens)), torch.zeros_like(lengths))
