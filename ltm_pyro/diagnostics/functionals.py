"""Functionals of thoughts: what calibration ranks."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ltm_pyro.bounds.weights import Array
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.models.base import TextModel
from ltm_pyro.programs.densities import Latents, joined, log_joint
from ltm_pyro.seeds import Noise

COORDINATES = 3
"""How many single coordinates of z are ranked by default."""


@dataclass(frozen=True)
class Draws:
    """What a functional sees: draws of some rows' thoughts, true ones or the guide's.

    `noise` is for the values of discrete sites, where thoughts follow from them.
    """

    model: TextModel
    latents: Latents
    rows: Rows
    noise: Noise

    @functools.cached_property
    def z(self) -> Tensor:
        """Shape (draws, documents, layers, slots, dim)."""
        return joined(self.model, self.latents, self.rows, self.noise)

    @property
    def log_likelihood(self) -> Tensor:
        """log p(x | z), nats, (draws, documents)."""
        return log_joint(self.model, self.latents, self.rows)[1]


Functional = Callable[[Draws], Tensor]
"""From draws to one number for each, shape (draws, documents)."""


def default_functionals(shape: tuple[int, ...]) -> dict[str, Functional]:
    """The first coordinates of z, its sum of squares, and log p(x | z)."""
    found: dict[str, Functional] = {}
    for i in range(min(COORDINATES, math.prod(shape))):
        index = ",".join(str(n) for n in np.unravel_index(i, shape))
        found[f"z[{index}]"] = functools.partial(_coordinate, i)
    found["|z|^2"] = lambda drawn: drawn.z.flatten(2).square().sum(-1)
    found["log p(x|z)"] = lambda drawn: drawn.log_likelihood
    return found


@torch.no_grad()
def evaluate_functional(name: str, functional: Functional, drawn: Draws) -> Array:
    """A functional's values in fp64, (draws, documents).

    Raises:
        InputError: for values of another shape.
        NotFinite: for values that are NaN.
    """
    expected = next(iter(drawn.latents.values())).shape[:2]
    values = functional(drawn)
    if values.shape != expected:
        raise InputError(
            f"functional {name!r} has shape {tuple(values.shape)}: expected (draws, documents), "
            f"here {tuple(expected)}"
        )
    if values.isnan().any():
        raise NotFinite(f"functional {name!r} is NaN")
    return np.asarray(values.double().cpu().numpy())


def _coordinate(i: int, drawn: Draws) -> Tensor:
    return drawn.z.flatten(2)[..., i]
