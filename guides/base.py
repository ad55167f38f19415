"""What a guide is."""

import functools
from typing import Any, ClassVar

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.programs.thoughts import over_thoughts


class Guide(nn.Module):
    """q(z | local parameters) for each document of one batch.

    A guide is made anew for every batch and owns its local parameters, whose leading dimension is
    the document; the fast loop fits them and nothing else keeps them. A subclass makes its
    parameters in `__init__` and defines `distribution`, which must be reparameterised; one that
    samples a site for each layer (`z_0`, `z_1`, ...) overrides `forward`.

    Everything below `forward` is optional.

    Args:
        thoughts: layers, slots and size of the thoughts.
        batch_size: number of documents.
        shared: a module with parameters that all documents share, such as an encoder. It is
            trained in the slow step, so it is not among the guide's own parameters.

    Example:
        >>> from ltm_pyro.config import Thoughts
        >>> from ltm_pyro.guides import MeanField
        >>> q = MeanField(Thoughts(layers=2, slots=1, dim=3), batch_size=5).distribution()
        >>> q.batch_shape, q.event_shape
        (torch.Size([5]), torch.Size([2, 1, 3]))
    """

    has_density: ClassVar[bool] = True
    """Whether q has a density; if not, no bound can be made of it."""

    rate: ClassVar[float | None] = None
    """The fast loop's rate where an optimizer's would not do; the command line's default then."""

    path_gradient: ClassVar[bool] = True
    """Whether log q(z) may be computed anew at its own draw, for a gradient with less noise; an
    inverse that takes long, or that only the draw's own distribution remembers, speaks against."""

    def __init__(self, thoughts: Thoughts, batch_size: int, shared: nn.Module | None = None):
        super().__init__()
        self.thoughts, self.batch_size = thoughts, batch_size
        self._shared = (shared,)  # in a tuple, so that it is not registered here

    @property
    def innermost(self) -> "Guide":
        """The guide that this one is made of in the end: itself, unless it is around another."""
        return self

    def distribution(self) -> TorchDistribution:
        """q(z): batch shape (documents,), event shape (layers, slots, dim)."""
        raise TypeError(f"{type(self).__name__} does not define distribution()")

    def forward(self, batch: Rows) -> Tensor:
        """Sample `z` in the plate `documents`: (*plates, documents, layers, slots, dim)."""
        with pyro.plate("documents", self.batch_size, dim=-1):
            made = over_thoughts(self, self.distribution(), (self.batch_size,))
            return pyro.sample("z", made)

    def start(self, model: Any, batch: Rows) -> None:
        """Called once before the first fast step, with the rows that are to be explained."""

    def finish(self, model: Any, batch: Rows) -> None:
        """Called once after the last fast step."""

    def natural_gradient(self) -> None:
        """Turn the gradients of the parameters into natural ones, in place (Gaussian guides)."""
        raise TypeError(f"{type(self).__name__} does not define natural_gradient()")

    @property
    def has_natural_gradient(self) -> bool:
        """Whether `natural_gradient` is defined: whether q knows its Fisher information."""
        return type(self).natural_gradient is not Guide.natural_gradient

    @property
    def shared(self) -> Any:
        """The module that all documents share, or None."""
        return self._shared[0]

    def slow_loss(self) -> Tensor | None:
        """What the shared module is also to descend in the slow step, (documents,), nats."""
        return None

    @classmethod
    def make_shared(cls, model: Any, **options: Any) -> nn.Module | None:
        """A new shared module for a model, if guides of this class have one."""
        return None

    @classmethod
    def of(cls, model: Any, **options: Any) -> "functools.partial[Guide]":
        """This class with its options, and a new shared module where it has one, bound.

        What it returns is a guide for `DualRateSVI`, `infer` and `evaluate`.
        """
        shared = cls.make_shared(model, **options)
        bound: dict[str, Any] = {} if shared is None else {"shared": shared}
        return functools.partial(cls, **options, **bound)


class NoGuide(Guide):
    """The guide of a model without latent sites: nothing to sample, nothing to fit."""

    def __init__(self, thoughts: Any = None, batch_size: int = 0):
        super().__init__(thoughts, batch_size)

    def forward(self, batch: Rows) -> None:  # type: ignore[override]
        """Samples nothing."""
