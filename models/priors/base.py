"""What a prior is."""

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.programs.support import flat, is_real, on_the_reals, support_of
from ltm_pyro.programs.thoughts import over_thoughts


class Prior(nn.Module):
    """p(z) of one document; the plate of documents is the model's.

    A subclass defines `distribution`, or a `forward` of its own: to sample one site a layer, or to
    read the columns of the batch. Constructor arguments beyond `thoughts` are kept as attributes
    of the same name, so that a saved model can be built again. A constructor that takes `columns`
    is given the columns of the data, each with the values that are known; they are no option.

    Attributes:
        thoughts: shape of z.
        columns: the columns that this prior reads, each with the values that it knows.

    Example:
        >>> from ltm_pyro.config import Thoughts
        >>> from ltm_pyro.models.priors import StudentT
        >>> StudentT(Thoughts(layers=2, slots=1, dim=3), degrees=5).distribution().event_shape
        torch.Size([2, 1, 3])
    """

    anchor: Tensor
    columns: Mapping[str, Sequence[str]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own: Any = cls.__dict__.get("forward")
        if own is not None and len(inspect.signature(own).parameters) == 1:
            cls.forward = _without_batch(own)  # type: ignore[method-assign]

    def __init__(self, thoughts: Thoughts):
        super().__init__()
        self.thoughts = thoughts
        self.columns = {}
        # Follows the module to its device and dtype; holds no state of its own.
        self.register_buffer("anchor", torch.zeros(()), persistent=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a draw: (layers, slots, dim)."""
        return self.thoughts.shape

    def distribution(self) -> TorchDistribution:
        """p(z), with event shape (layers, slots, dim) and no batch shape.

        Its support may be bounded, positive, or a simplex in the last dimension; von Mises angles,
        (layers, slots, dim / 2), stand for their cosines and sines. See `sample`.
        """
        raise TypeError(f"{type(self).__name__} does not define distribution()")

    def slow_loss(self) -> Tensor | None:
        """What the prior is also to descend in the slow step, nats a row: () or (documents,)."""
        return None

    def constant_gap(self) -> tuple[float, float]:
        """By how much `log_prob` may be too low in expectation, nats, and its error at that end.

        (0, 0) where the constant is known. What bounds log p(x) from above has to hold it.
        """
        return 0.0, 0.0

    def constant_error(self) -> float:
        """Standard error, in nats, of a constant that `log_prob` holds an estimate of; 0 if exact.

        It is one number for all documents, so no spread over them shows it.
        """
        return 0.0

    def forward(self, batch: Rows | None = None) -> Tensor:
        """Sample the site `z` inside the model's plate: (*plates, layers, slots, dim).

        `batch` are the rows whose thoughts these are; a prior may read their columns, not their
        tokens.
        """
        return self.sample("z", over_thoughts(self, self.distribution(), ()), self.shape)

    def sample(self, name: str, law: TorchDistribution, shape: tuple[int, ...]) -> Tensor:
        """Sample a site from a law of any continuous support: (*plates, *shape), on that support.

        The site itself, which guides are to reach, holds real numbers: those that the law's support
        is an image of (`ltm_pyro.programs.support`). `shape` is that of one document's draw.

        Raises:
            InputError: for a support that cannot be carried to the reals, or another event shape.
        """
        real, to_support = on_the_reals(law)
        given = tuple(law.event_shape) == tuple(shape) and is_real(flat(support_of(law)))
        if real is law or given:  # as many angles as thoughts have numbers are refused where scored
            return pyro.sample(name, law)
        if tuple(real.event_shape) != tuple(shape):
            raise InputError(
                f"the law of {name} has the event shape {tuple(law.event_shape)}: expected "
                f"{tuple(shape)}, or half as many angles"
            )
        return to_support(pyro.sample(name, real))


def _without_batch(forward: Any) -> Any:
    """A `forward(self)` that does not look at the batch, as one that is given it."""

    @functools.wraps(forward)
    def call(self: Prior, batch: Rows | None = None) -> Tensor:
        z: Tensor = forward(self)
        return z

    return call
