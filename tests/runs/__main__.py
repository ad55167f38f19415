"""Kill runs at random moments, and flip bits of one: what was noticed, and what ended the same."""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import torch

from ltm_pyro.commands import cli

from . import damage
from .test_interrupted import SETTINGS, Undisturbed
from .test_kills import BUSY, STAGES, sweep


def main():
    """See `--help`."""
    asked = argparse.ArgumentParser(prog="python -m tests.runs", description=__doc__)
    asked.add_argument("--kills", type=int, default=0, help="SIGKILLs of processes that train")
    asked.add_argument("--flips", type=int, default=0, help="single bits, over all files of a run")
    asked.add_argument("--seed", type=int, default=0)
    options = asked.parse_args()
    torch.set_num_threads(1)
    room = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=room) as name:
        place = Path(name)
        text = place / "documents.txt"
        text.write_text(
            "\n\n".join(f"{'sea' if i % 2 else 'wood'} {i}: " + "wave " * (i % 7)
                        for i in range(60))
        )  # fmt: skip
        given = ["train", "--data", str(text), *SETTINGS, *BUSY]
        if options.flips:
            with open(os.devnull, "w") as stream, contextlib.redirect_stderr(stream):
                assert cli.main([*given, "--out", str(place / "whole-run")]) == 0
            found, unnoticed = damage.sweep(place / "whole-run", place, options.flips, options.seed)
            sys.stdout.write(damage.table(found, unnoticed) + "\n")
            if unnoticed:
                return 1
        if options.kills:
            with open(os.devnull, "w") as stream, contextlib.redirect_stderr(stream):
                whole = Undisturbed(given, place / "whole")
            hits, runs = sweep(whole, place, options.kills, options.seed)
            lines = [f"{f'kills while {stage}':<22}{hits[stage]:>8}" for stage in STAGES]
            total = f"{sum(hits.values())} kills of {runs} runs, which all ended bit for bit equal"
            sys.stdout.write("\n".join([*lines, total]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
