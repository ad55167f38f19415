"""`python -m benchmarks.shards`: what each process holds, with the slow step shared out or not.

Bytes a parameter at the peak of two iterations on two short rows, beyond what stood before the
model was made, against what `ltm_pyro.experiments.plan` has: weights and gradients whole, and the
optimizer's state whole or in parts. A message of all gradients is a copy of them.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from typing import Any

import torch

from benchmarks.memory import peak
from benchmarks.shapes import RESULTS
from ltm_pyro.config import Architecture, Config, Fast, Slow, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.experiments.plan import weight_bytes
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.processes import here
from ltm_pyro.models import LatentThoughtModel

SAVED = RESULTS / "shards.json"
ROWS, TOKENS = 4, 16


def measure(sharded: bool, width: int) -> dict[str, float]:
    """Bytes a parameter of this process, one of several."""
    architecture = Architecture(
        2048, 0, TOKENS, window=8, layers=8, width=width, heads=8, feedforward=4 * width
    )
    config = Config(architecture, Thoughts(8, 2, 8))
    world = here()
    rows = Rows(
        torch.zeros(ROWS, TOKENS, dtype=torch.long), torch.full((ROWS,), TOKENS),
        torch.arange(ROWS), torch.full((ROWS,), 4 * TOKENS),
    )  # fmt: skip
    small = config.replace(architecture=Architecture(
        64, 0, TOKENS, window=8, layers=1, width=16, heads=2, feedforward=16
    ), thoughts=Thoughts(1, 1, 2))  # fmt: skip
    for one in (small, config):  # the first brings the libraries that all need
        before = peak()
        torch.manual_seed(0)
        model = LatentThoughtModel(one)
        svi = DualRateSVI(model, fast=Fast(steps=1), slow=Slow(sharded=sharded), world=world)
        for _ in range(2):  # with what is kept where a run is saved
            svi.step(rows)
            svi.slowly.gather()
            if world.first:
                svi.state_dict()
    count = model.parameter_count()
    return {
        "parameters": count,
        "bytes_a_parameter": (peak() - before) * 1e6 / count,
        "planned": weight_bytes(world.size, sharded),
    }


def in_processes(sharded: bool, width: int, size: int) -> dict[str, float]:
    """Of the process that holds most, but for the first, which gathers checkpoints."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(size):
        settings = {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "localhost",
                    "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.shards", "--width", str(width), "--measure"]
        command += ["--sharded"] if sharded else []
        started.append(subprocess.Popen(
            command, env=os.environ | settings, stdout=subprocess.PIPE, text=True
        ))  # fmt: skip
    told = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("a process failed")
    first, *rest = (json.loads(one.splitlines()[-1]) for one in told)
    most: dict[str, float] = max(rest, key=lambda one: float(one["bytes_a_parameter"]))
    return {**most, "first": first["bytes_a_parameter"]}


def table(found: dict[str, Any]) -> str:
    """Markdown: a row for each way."""
    lines = [
        "| the slow step | processes | bytes a parameter, each | planned | the first |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['way']} | {one['processes']} | {one['bytes_a_parameter']:.1f} | "
        f"{one['planned']:.1f} | {one['first']:.1f} |"
        for one in found["measured"]
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser("python -m benchmarks.shards", description=__doc__)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--no-save", action="store_true", help="leave benchmarks/results/ alone")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--sharded", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.measure:
        print(json.dumps(measure(given.sharded, given.width)))
        return
    measured: list[dict[str, Any]] = []
    for size in given.processes:
        for way, sharded in {"every process's": False, "shared out": True}.items():
            one = in_processes(sharded, given.width, size)
            measured.append({"way": way, "processes": size, **one})
    found = {"command": " ".join(["python -m benchmarks.shards", *arguments]),
             "torch": torch.__version__, "measured": measured}  # fmt: skip
    if not given.no_save:
        SAVED.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{measured[0]['parameters'] / 1e6:.0f} million parameters\n{table(found)}")


if __name__ == "__main__":
    main(sys.argv[1:])
