"""What experiments have in common: configurations they train, and their clock."""

import time
from collections.abc import Callable
from typing import Any

import torch

from ltm_pyro.config import Architecture, Config, Fast, Slow, Thoughts, Training
from ltm_pyro.data.synthetic import WORDS
from ltm_pyro.presets import preset

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

RACE = Config(
    Architecture(WORDS, 0, 65, window=2, layers=2, width=64, heads=4, feedforward=172),
    Thoughts(2, 2, 4),
    slow=Slow(lr=5e-3, warmup=10),
    training=Training(batch=16),
)
"""A small model for documents of topics (`data.synthetic`): it sees two tokens at a time."""

SMALL = Config(
    Architecture(2048, 0, 128, window=32, layers=2, width=128, heads=4, feedforward=344),
    Thoughts(2, 2, 16),
    fast=Fast(steps=16),
    slow=Slow(lr=2e-3, warmup=10),
    training=Training(batch=4),
)
"""A small model for real text."""

LTM_S = preset("small")


def now() -> float:
    """Seconds of this process's work where one thread does it all, else of the wall clock.

    On a machine with other work the first is what the wall clock shows on an idle one.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(run: Callable[[], Any]) -> float:
    """How long it takes."""
    start = now()
    run()
    return now() - start
