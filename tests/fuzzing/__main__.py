"""Give inputs until there are as many as were asked for, and print how they ended."""

import argparse
import faulthandler
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from ltm_pyro import files

from .ends import Ends, offline
from .kinds import KINDS, make_run

GIGABYTES = 3
"""What the process may take beside what it has once all is imported."""
PIECE = 500
"""Inputs of a kind that are given before those of the next."""


def read(path):
    """The ends so far."""
    ends = Ends()
    if path is not None and path.exists():
        held = json.loads(path.read_text())
        ends.counts = {kind: Counter(counts) for kind, counts in held["counts"].items()}
        ends.faults = held["faults"]
    return ends


def write(path, ends):
    """Keep them."""
    if path is not None:
        files.write(path, json.dumps({"counts": ends.counts, "faults": ends.faults}).encode())


def give(ends, kinds, total, until, state=None):
    """Give what is missing of a total, each kind its share, up to a time of the clock."""
    shares = sum(kind.share for kind in kinds.values())
    goals = {name: max(1, round(total * kind.share / shares)) for name, kind in kinds.items()}
    while time.monotonic() < until:
        behind = min(kinds, key=lambda name: ends.of(name) / goals[name])
        piece = min(PIECE, goals[behind] - ends.of(behind), max(1, goals[behind] // 20))
        if piece <= 0:
            break
        for number in range(ends.of(behind), ends.of(behind) + piece):
            ends.give(behind, kinds[behind], number)
        write(state, ends)


def limit_memory():
    """An input that takes all memory is a fault, not the end of the machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + GIGABYTES * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main():
    """See `--help`."""
    asked = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    asked.add_argument("total", type=int, help="inputs in all, those before included")
    asked.add_argument("--state", type=Path, help="a file that keeps counts, to go on from")
    asked.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    asked.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    asked.add_argument("--again", type=int, help="give the one input of this number, of one kind")
    options = asked.parse_args()
    options.state = options.state and options.state.resolve()
    begun, ends = time.monotonic(), read(options.state)
    offline()
    faulthandler.enable()
    torch.set_num_threads(1)
    room = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=room) as name:
        os.environ["LTM_PYRO_CACHE"] = f"{name}/cache"
        os.chdir(name)
        make_run(Path(name))
        kinds = {}
        for kind in options.kinds:
            (Path(name) / kind).mkdir()
            kinds[kind] = KINDS[kind](Path(name) / kind)
        limit_memory()
        if options.again is not None:
            ends = Ends()
            for kind in kinds:
                ends.give(kind, kinds[kind], options.again)
            sys.stdout.write("\n".join(ends.faults) + f"\n{ends.table()}\n")
            return 0
        give(ends, kinds, options.total, begun + options.seconds, options.state)
    sys.stdout.write("\n".join([*ends.faults[-200:], ends.table()]) + "\n")
    return 1 if ends.faults else 0


if __name__ == "__main__":
    sys.exit(main())
