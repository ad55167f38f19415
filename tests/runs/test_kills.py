"""SIGKILLs at random moments of training, saving, looking and resuming: the end stays the same.

`python -m tests.runs --kills 200` tells how many kills hit what.
"""

import collections
import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from ltm_pyro.commands import cli
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.runs.callbacks import Looks
from ltm_pyro.runs.manifest import Manifest
from ltm_pyro.runs.record import CONFIG
from ltm_pyro.runs.trainer import Trainer
from ltm_pyro.runs.verify import verify

from ..processes import FORKS
from .test_interrupted import SETTINGS, Undisturbed, ending, text

__all__ = ["text"]

BUSY = [
    "--steps",
    "8",
    "--check-every",
    "2",
    "--save-every",
    "1",
    "--batch",
    "16",
    "--warm.steps",
    "1",
]
RESUME = ["train", "--resume", "--quiet", "--out"]
STAGES = {
    "saving": (Manifest, "replace"), "looking": (Looks, "after"), "resuming": (Trainer, "resume"),
    "training": (DualRateSVI, "step"),
}  # fmt: skip


def child(arguments, told, delay, stage):
    """The command line, killed a while after it has entered a stage for the first time."""
    torch.set_num_threads(1)
    cls, name = STAGES[stage]
    original = getattr(cls, name)

    def kill_soon():
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGKILL)

    def entered(*given, **options):
        threading.Thread(target=kill_soon, daemon=True).start()
        setattr(cls, name, original)
        return original(*given, **options)

    setattr(cls, name, entered)
    with open(told, "w") as stream, contextlib.redirect_stderr(stream):
        code = cli.main(arguments)
    os._exit(code)  # the thread still waits


def killed(arguments, told, delay, stage):
    """Whether a process was killed before it ended."""
    process = FORKS.Process(target=child, args=(arguments, told, delay, stage))
    process.start()
    process.join(120)
    assert process.exitcode in (0, -9), f"{process.exitcode}: {Path(told).read_text()}"
    return process.exitcode == -9


def sweep(whole, place, count, seed=0, tell=lambda text: None):
    """Kill until `count` processes have died; each run is killed up to three times, then ends."""
    source, hits, number = random.Random(seed), collections.Counter(), 0
    while sum(hits.values()) < count:
        number += 1
        out, told = place / f"run{number}", place / "told"
        for _ in range(source.randint(1, 3)):
            begun = (out / CONFIG).exists()
            stage = source.choice(list(STAGES) if begun else [s for s in STAGES if s != "resuming"])
            command = [*RESUME, str(out)] if begun else [*whole.arguments, "--out", str(out)]
            if not killed(command, told, source.expovariate(1 / 0.02), stage):
                break
            hits[stage] += 1
            tell(f"{sum(hits.values())} kills: {dict(hits)}")
            if (out / CONFIG).exists():
                assert set(verify(out).values()) == {"whole"}
        begun = (out / CONFIG).exists()
        command = [*RESUME, str(out)] if begun else [*whole.arguments, "--out", str(out)]
        with open(told, "w") as stream, contextlib.redirect_stderr(stream):
            assert cli.main(command) == 0
        assert ending(out) == whole.ending
        assert set(verify(out).values()) == {"whole"}
    return hits, number


@pytest.mark.parametrize("count", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_at_random_moments(text, tmp_path, count):
    whole = Undisturbed(["train", "--data", str(text), *SETTINGS, *BUSY], tmp_path / "whole")
    hits, _ = sweep(whole, tmp_path, count)
    assert sum(hits.values()) >= count
