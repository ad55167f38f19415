"""Explicit randomness: every draw follows from a seed and the place it is made at.

Pyro samples from torch's global generators. Here each draw happens inside `seeded`, which sets
them for the length of a block and puts the caller's state back. Nothing needs to be carried from
one step to the next, so a run that resumes at step k draws what it would have drawn anyway.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(seed: int, *keys: int) -> int:
    """A seed of its own for each tuple of non-negative keys, e.g. `derive(seed, step, chunk)`."""
    words = np.random.SeedSequence((seed, *keys)).generate_state(2, np.uint32)
    return int(words[0]) << 31 ^ int(words[1])


def generator(seed: int, *keys: int) -> torch.Generator:
    """A CPU generator seeded with `derive(seed, *keys)`."""
    return torch.Generator().manual_seed(derive(seed, *keys))


@contextmanager
def seeded(seed: int, *keys: int) -> Iterator[None]:
    """Run a block under `derive(seed, *keys)`, and leave the global generators untouched."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(derive(seed, *keys))
        yield


class Noise:
    """The draws of one fit: a stream of seeds, one for each evaluation of the ELBO.

    With `fixed=True` every evaluation sees the same draw. That is the released protocol: the fit
    adapts to that one draw, and the number it ends with is not a bound.
    """

    def __init__(self, seed: int, fixed: bool = False):
        self.seed = seed
        self.fixed = fixed
        self._draws = 0

    @contextmanager
    def draw(self) -> Iterator[None]:
        """A block whose draws are the stream's next (or, if fixed, its only ones)."""
        key = 0 if self.fixed else self._draws
        self._draws += 1
        with seeded(self.seed, key):
            yield
