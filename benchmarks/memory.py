"""Peak memory of an iteration, each in a process of its own.

The peak is the largest resident set the kernel has seen (`VmHWM`, or `ru_maxrss` where there is
none), on a GPU what torch has allocated. What stands before the first iteration (libraries,
weights) is told apart; the second is measured too, as only then AdamW's moments stand beside
activations. Ours runs layers again in the backward pass (`recompute`); `kept` is ours without.
"""

import dataclasses
import functools
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.shapes import SHAPES, Shape
from ltm_pyro.experiments.base import DEVICE, seconds

WHICH = ("plain", "ours", "kept")


def peak_memory(shape: Shape) -> dict[str, Any]:
    """Plain over ours: of what an iteration takes beyond what stands before it, and in all."""
    found = {}
    for which in WHICH:
        command = [sys.executable, "-m", "benchmarks.memory", which, shape.name]
        command.append(str(torch.get_num_threads()))
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[which] = json.loads(out.splitlines()[-1])
    plain, ours = found["plain"], found["ours"]
    return {
        "median": plain["taken"] / max(1.0, ours["taken"]),
        "in_all": plain["peak"] / ours["peak"],
        **found,
        "rows": shape.memory[0],
        "tokens": shape.memory[1],
    }


def measure(which: str, shape: Shape) -> dict[str, float]:
    """Megabytes before and at the peak of two iterations of one fast step, in this process."""
    rows = shape.rows(*shape.memory).to(DEVICE)
    fast = dataclasses.replace(shape.fast, steps=1)  # each step takes what the one before gave back
    step: Callable[[], Any]
    if which == "plain":
        plain = dataclasses.replace(shape, config=shape.config.replace(fast=fast)).plain()
        step = functools.partial(plain.step, rows.tokens, rows.lengths)
    else:
        again = which == "ours"
        slow = dataclasses.replace(shape.config.slow, recompute=again)
        svi = shape.ours(dataclasses.replace(fast, recompute=again), slow)
        step = functools.partial(svi.step, rows)
    before = peak()
    step()
    spent = seconds(step)
    return {"before": before, "peak": peak(), "taken": peak() - before, "seconds": spent}


def peak() -> float:
    """Peak so far, in MB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # a child's ru_maxrss may be its parent's
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1e3
    kilo = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kilo


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(json.dumps(measure(sys.argv[1], SHAPES[sys.argv[2]])))
