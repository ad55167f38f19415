"""What a guide is."""

from typing import Any

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.data.rows import Rows


class Guide(nn.Module):
    """q(z | local parameters) for each document of one batch.

    A guide is made anew for every batch and owns its local parameters, whose leading dimension is
    the document; the fast loop fits them and nothing else keeps them. A subclass makes its
    parameters in `__init__` and defines `distribution`, which must be reparameterised.
    """

    def __init__(self, thoughts: Thoughts, batch_size: int):
        super().__init__()
        self.thoughts, self.batch_size = thoughts, batch_size

    def distribution(self) -> TorchDistribution:
        """q(z): batch shape (documents,), event shape (layers, slots, dim)."""
        raise TypeError(f"{type(self).__name__} does not define distribution()")

    def forward(self, batch: Rows) -> Tensor:
        """Sample `z` in the plate `documents`: (*plates, documents, layers, slots, dim)."""
        with pyro.plate("documents", self.batch_size, dim=-1):
            return pyro.sample("z", self.distribution())


class NoGuide(Guide):
    """The guide of a model without latent sites: nothing to sample, nothing to fit."""

    def __init__(self, thoughts: Any = None, batch_size: int = 0):
        super().__init__(thoughts, batch_size)

    def forward(self, batch: Rows) -> None:  # type: ignore[override]
        """Samples nothing."""
