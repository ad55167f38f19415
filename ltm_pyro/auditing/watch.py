"""Which random numbers a computation draws, and whether any was drawn before."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Draws(TorchDispatchMode):
    """Digests of the real numbers that torch draws, since the last backward pass and before it.

    Attributes:
        before, after: of draws before the last `backward()`, and after it.
        fitted: whether there was one.
        differentiated: whether `torch.autograd.grad` was called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before: list[bytes] = []
        self.after: list[bytes] = []
        self.fitted = self.differentiated = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        random = torch.Tag.nondeterministic_seeded in func.tags
        if random and isinstance(found, Tensor) and found.is_floating_point():
            values = found.detach().cpu().contiguous().numpy().tobytes()
            if len(values) > 4:  # one number may come again by chance
                self.after.append(hashlib.blake2b(values, digest_size=12).digest())
        return found

    def backward(self) -> None:
        """A backward pass begins."""
        self.before += self.after
        self.after, self.fitted = [], True

    @property
    def reused(self) -> int:
        """Draws after the fit that are those of the fit."""
        seen = set(self.before)
        return sum(draw in seen for draw in self.after)


@contextmanager
def watched() -> Iterator[Draws]:
    """A block whose draws are watched."""
    draws, backward, grad = Draws(), torch.autograd.backward, torch.autograd.grad

    def seen(*arguments: Any, **options: Any) -> Any:
        draws.backward()
        return backward(*arguments, **options)

    def differentiated(*arguments: Any, **options: Any) -> Any:
        draws.differentiated = True
        return grad(*arguments, **options)

    with (
        patch("torch.autograd.backward", seen),
        patch("torch.autograd.grad", differentiated),
        draws,
    ):
        yield draws
