"""What processes send one another: torch's collectives, and the end of another told as such."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ltm_pyro.errors import Lost

# By their names of today, or of before.
GATHER: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
SCATTER: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


@contextmanager
def together() -> Iterator[None]:
    """A block of collectives, in which another process's end is told as such.

    Raises:
        Lost: if another process is gone.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # gloo's and NCCL's own, of closed connections
        raise Lost("another process has ended") from None


def filled(numbers: Tensor, size: int) -> Tensor:
    """A vector, with zeros behind it where it is shorter."""
    return F.pad(numbers, (0, size - len(numbers))) if len(numbers) < size else numbers
