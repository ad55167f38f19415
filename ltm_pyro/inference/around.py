"""A guide made of another."""

from typing import Any

from torch import Tensor

from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import Guide


class Around(Guide):
    """A guide that samples what another does, and more; what it does not say itself is the other's.

    Args:
        inner: the other.
        shared: what documents share; that of the other unless given.
    """

    def __init__(self, inner: Guide, shared: Any = None):
        super().__init__(
            inner.thoughts, inner.batch_size, inner.shared if shared is None else shared
        )
        self.inner = inner

    @property
    def innermost(self) -> Guide:
        """That of the other."""
        return self.inner.innermost

    @property
    def has_density(self) -> bool:  # type: ignore[override]
        """As of the other."""
        return self.inner.has_density

    @property
    def path_gradient(self) -> bool:  # type: ignore[override]
        """As of the other."""
        return self.inner.path_gradient

    @property
    def has_natural_gradient(self) -> bool:
        """As of the other, if it has parameters."""
        return self.inner.has_natural_gradient or not list(self.inner.parameters())

    def start(self, model: Any, batch: Rows) -> None:
        """Passed on to the other."""
        self.inner.start(model, batch)

    def finish(self, model: Any, batch: Rows) -> None:
        """Passed on to the other."""
        self.inner.finish(model, batch)

    def natural_gradient(self) -> None:
        """Of the other's parameters."""
        if list(self.inner.parameters()):
            self.inner.natural_gradient()

    def slow_loss(self) -> Tensor | None:
        """As of the other."""
        return self.inner.slow_loss()
