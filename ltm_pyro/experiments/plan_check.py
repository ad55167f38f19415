"""The cost model beside what runs here: `python -m ltm_pyro.experiments.plan_check`.

Operations against torch's counter; seconds of iterations of several sizes, in one process and in
two, of which the first and the last size tell the machine's numbers and the others are predicted;
and what was measured on a GPU (`benchmarks.throughput`), of which the first line tells its share.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltm_pyro.config import Architecture, Config, Fast, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.experiments.base import seconds
from ltm_pyro.experiments.plan import Cost
from ltm_pyro.experiments.studies.base import markdown
from ltm_pyro.files import write_json
from ltm_pyro.guides import MeanField
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.operations import training_flops
from ltm_pyro.inference.processes import here
from ltm_pyro.runs.build import build_model
from ltm_pyro.seeds import generator

ROWS = 8


def size(layers: int, width: int, steps: int, slots: int, words: int, length: int) -> Config:
    """A configuration of these sizes."""
    architecture = Architecture(
        words, 0, length, window=min(64, length), layers=layers, width=width, heads=4,
        feedforward=int(2.7 * width),
    )  # fmt: skip
    return Config(architecture, Thoughts(layers, slots, 16), fast=Fast(steps=steps))


SIZES = {
    "2 layers of 64": size(2, 64, 4, 2, 512, 32),
    "2 layers of 128": size(2, 128, 4, 2, 2048, 64),
    "4 layers of 128": size(4, 128, 4, 2, 2048, 64),
    "2 layers of 128, 16 fast steps": size(2, 128, 16, 2, 2048, 64),
    "2 layers of 128, 16 slots": size(2, 128, 4, 16, 2048, 64),
    "2 layers of 128, rows of 256": size(2, 128, 4, 2, 2048, 256),
    "4 layers of 256": size(4, 256, 4, 4, 4096, 128),
}
CALIBRATING = ("2 layers of 64", "4 layers of 256")


def rows_of(config: Config, number: int) -> Rows:
    """Full rows of random tokens."""
    a = config.architecture
    tokens = torch.randint(a.vocabulary, (number, a.length), generator=generator(0))
    lengths = torch.full((number,), a.length)
    return Rows(tokens, lengths, torch.arange(number), 4 * lengths)


def measured(name: str, repeats: int) -> float:
    """Seconds of an iteration of a size, of all processes that run this together."""
    torch.set_num_threads(1)
    config, rows = SIZES[name], rows_of(SIZES[name], ROWS)
    svi = DualRateSVI(build_model(config), fast=config.fast, slow=config.slow, world=here())
    svi.step(rows)
    return statistics.median(seconds(lambda: svi.step(rows)) for _ in range(repeats))


def in_two(name: str, repeats: int) -> float:
    """The same, with the rows shared between two processes of one thread each."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", __spec__.name, "--size", name, "--repeats", str(repeats),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return float(json.loads(done.stdout.splitlines()[-1]))


def sends(numbers: int, repeats: int = 5) -> float:
    """Seconds in which one process copies so many numbers of 4 bytes, as a reduction must."""
    values = torch.zeros(numbers)
    return statistics.median(seconds(lambda: values.add_(1)) for _ in range(repeats))


def work(config: Config, rows: int) -> tuple[float, float]:
    """Operations of an iteration, and passes of layers in it."""
    flops = rows * config.architecture.length * Cost(config).flops
    return flops, (2 * config.fast.steps + 3) * config.architecture.layers


def counted() -> list[tuple[str, float, float]]:
    """Of each size, operations a token as the model has them and as torch counts them."""
    found = []
    for name, config in SIZES.items():
        row = rows_of(config, 1)
        told = training_flops(build_model(config), row, MeanField, config.fast)
        found.append((name, Cost(config).flops, told))
    return found


def timed(repeats: int, two: bool) -> dict[str, Any]:
    """Seconds measured and predicted, of each size."""
    one = {name: measured(name, repeats) for name in SIZES}
    known = np.array([work(SIZES[name], ROWS) for name in CALIBRATING])
    rate, launch = np.linalg.solve(known, [one[name] for name in CALIBRATING])
    predicted = {
        name: float(np.dot(work(config, ROWS), (rate, launch))) for name, config in SIZES.items()
    }
    found: dict[str, Any] = {
        "flops_per_second": 1 / rate, "launch": launch, "measured": one, "predicted": predicted,
    }  # fmt: skip
    if two:
        found["two"] = {name: in_two(name, repeats) for name in SIZES}
        half = {
            name: float(np.dot(work(config, ROWS // 2), (rate, launch)))
            + sends(Cost(config).parameters)
            for name, config in SIZES.items()
        }
        found["two_predicted"] = half
    return found


def on_gpu(path: Path) -> list[tuple[str, float, float, float, float]]:
    """Of what `benchmarks.throughput` measured: tokens/s and GB, measured and predicted."""
    from ltm_pyro.experiments.plan import H100
    from ltm_pyro.presets import preset, quick_protocol

    content = json.loads(path.read_bytes())
    rows, found = content["rows"], []
    for way in dict.fromkeys(one["way"] for one in content["measured"]):
        lines = [one for one in content["measured"] if one["way"] == way]
        rate = None
        for one in lines:
            config = preset(one["preset"])
            config = quick_protocol(config) if one["loop"] == "quick" else config
            config = config.replace(
                architecture=dataclasses.replace(config.architecture, length=content["tokens"])
            )
            flops, passes = work(config, rows)
            if rate is None:
                rate = (one["seconds"] - passes * H100.launch) / flops
            spent = flops * rate + passes * H100.launch
            number = 4.0 if way == "fp32" else H100.number
            memory = Cost(config).memory(rows, number) / 1e9
            label = f"{one['preset']}, {one['loop']}, {way}"
            tokens = rows * content["tokens"] / spent
            found.append((label, one["tokens_per_second"], tokens, one["memory_gb"], memory))
    return found


def report(repeats: int, two: bool, gpu: Path | None) -> tuple[str, dict[str, Any]]:
    """Tables, and what they hold."""
    operations = counted()
    found: dict[str, Any] = {"operations": operations}
    texts = [markdown(
        ("size", "operations a token, model", "torch's counter", "ratio"),
        [(n, f"{a:,.0f}", f"{b:,.0f}", a / b) for n, a, b in operations],
    )]  # fmt: skip
    if repeats:
        found |= timed(repeats, two)
        texts.append(markdown(
            ("size", "seconds, one process", "predicted", "ratio"),
            [(n, f"{t:.4f}", f"{found['predicted'][n]:.4f}" + ", told by it" * (n in CALIBRATING),
              f"{found['predicted'][n] / t:.2f}") for n, t in found["measured"].items()],
        ))  # fmt: skip
    if repeats and two:
        texts.append(markdown(
            ("size", "seconds, two processes", "predicted", "ratio"),
            [(n, f"{t:.4f}", f"{found['two_predicted'][n]:.4f}",
              f"{found['two_predicted'][n] / t:.2f}") for n, t in found["two"].items()],
        ))  # fmt: skip
    if gpu is not None:
        found["gpu"] = on_gpu(gpu)
        texts.append(markdown(
            ("on an H100", "tokens/s", "predicted", "GB", "predicted"),
            [(n, f"{a:,.0f}", f"{b:,.0f}", f"{c:.1f}", f"{d:.1f}")
             for n, a, b, c, d in found["gpu"]],
        ))  # fmt: skip
    return "\n\n".join(texts), found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m ltm_pyro.experiments.plan_check")
    parser.add_argument("--repeats", type=int, default=5, help="iterations timed; 0 times none")
    parser.add_argument("--two", action="store_true", help="also two processes")
    parser.add_argument("--gpu", type=Path, help="what benchmarks.throughput --json found")
    parser.add_argument("--out", type=Path, help="a JSON file for what was found")
    parser.add_argument("--size", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.size is not None:
        found = measured(given.size, given.repeats)
        if here().first:
            print(json.dumps(found), flush=True)
        return
    told, results = report(given.repeats, given.two, given.gpu)
    print(told)
    if given.out is not None:
        write_json(given.out, results)


if __name__ == "__main__":
    main()
