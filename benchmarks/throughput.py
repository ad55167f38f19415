"""`python -m benchmarks.throughput`: the paper's sizes in training, tokens per second on a device.

An iteration is the fast loop on a batch of full rows and one slow step. Operations are those of
matrix products (attention's are not among them), the peak is that of the best large matrix product
in the same precision, measured here.
"""

import argparse
import dataclasses
import json
import shlex
import statistics
import sys
from typing import Any

import torch

from benchmarks.shapes import RESULTS
from benchmarks.utilisation import count, matrix_peak
from ltm_pyro.config import Config
from ltm_pyro.data.rows import Rows
from ltm_pyro.experiments.base import DEVICE, seconds
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.presets import preset, quick_protocol
from ltm_pyro.runs.build import build_model
from ltm_pyro.seeds import generator

SAVED = RESULTS / "throughput.json"
LOOPS = {"paper": lambda config: config, "quick": quick_protocol}
"""The paper's fast loop, and `Fast.quick`."""
WAYS = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "bf16, compiled": {"precision": "bf16", "compile": True},
}


def full_rows(config: Config, rows: int, tokens: int) -> Rows:
    """Rows of random tokens; times do not depend on what they say."""
    found = torch.randint(config.architecture.vocabulary, (rows, tokens), generator=generator(0))
    lengths = torch.full((rows,), tokens)
    return Rows(found, lengths, torch.arange(rows), 4 * lengths).to(DEVICE)


def training(config: Config, **changes: Any) -> DualRateSVI:
    """Training of a new model."""
    fast = dataclasses.replace(config.fast, **changes)
    slow = dataclasses.replace(config.slow, **changes)
    return DualRateSVI(build_model(config).to(DEVICE), fast=fast, slow=slow)


def throughput(
    config: Config, rows: int, tokens: int, repeats: int, peak: float, **changes: Any
) -> dict[str, float]:
    """Tokens per second of an iteration, the share of `peak` FLOP/s, and the memory it takes."""
    flops = count(lambda: training(config).step(full_rows(config, 1, tokens))) * rows
    svi, batch = training(config, **changes), full_rows(config, rows, tokens)
    for _ in range(2):  # the first compiles and makes the optimizer's state
        svi.step(batch)
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    spent = statistics.median(seconds(lambda: svi.step(batch)) for _ in range(repeats))
    return {
        "seconds": spent,
        "tokens_per_second": rows * tokens / spent,
        "flops_per_token": flops / (rows * tokens),
        "share_of_peak": flops / spent / peak,
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if DEVICE == "cuda" else float("nan"),
    }


def beside(saved: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What was saved, if it was measured on the same device in the same way."""
    same = ("device", "torch", "rows", "tokens")
    if any(saved[name] != found[name] for name in same):
        return {}
    return {"peak": saved["peak"], "measured": saved["measured"]}


def added(measured: list[dict[str, Any]], one: dict[str, Any]) -> list[dict[str, Any]]:
    """Lines with another, which takes the place of what was measured of the same."""
    same = ("preset", "loop", "way")
    places = [i for i, old in enumerate(measured) if all(old[n] == one[n] for n in same)]
    return [*(x for i, x in enumerate(measured) if i not in places), one]


def table(found: dict[str, Any]) -> str:
    """Markdown, a line for each size, loop and way."""
    lines = [
        "| preset | fast loop | decoder | tokens/s | share of the peak | memory, GB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['preset']} | {one['loop']}, {one['fast_steps']} steps | {one['way']} | "
        f"{one['tokens_per_second']:,.0f} | {one['share_of_peak']:.0%} | {one['memory_gb']:.1f} |"
        for one in found["measured"]
    ]
    peaks = " and ".join(f"{peak / 1e12:,.0f} in {kind}" for kind, peak in found["peak"].items())
    made = dict.fromkeys(one["command"] for one in found["measured"])
    commands = " and ".join(f"`{command}`" for command in made)
    return "\n".join(lines) + (
        f"\n\n{commands}: batches of {found['rows']} x {found['tokens']} tokens, "
        f"{found['device']}, torch {found['torch']}; a large matrix product runs at {peaks} "
        "TFLOP/s."
    )


def main(arguments: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser("python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["small", "medium", "large"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS])
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=[*LOOPS])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-save", action="store_true", help="leave benchmarks/results/ alone")
    given = parser.parse_args(arguments)
    peak = {
        kind: matrix_peak(kind, 8192 if DEVICE == "cuda" else 1024) for kind in ("fp32", "bf16")
    }
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "CPU",
        "torch": torch.__version__,
        "rows": given.rows,
        "tokens": given.tokens,
        "peak": peak,
        "measured": [],
    }
    if not given.no_save and SAVED.exists():
        found |= beside(json.loads(SAVED.read_text()), found)
        peak = found["peak"]
    for name in given.presets:
        for loop in given.loops:
            config = LOOPS[loop](preset(name))
            for way in given.ways:
                changes = WAYS[way]
                one = throughput(
                    config, given.rows, given.tokens, given.repeats,
                    peak[changes.get("precision", "fp32")], **changes,
                )  # fmt: skip
                about = {"preset": name, "loop": loop, "way": way, "fast_steps": config.fast.steps}
                about["command"] = shlex.join(["python", "-m", "benchmarks.throughput", *arguments])
                found["measured"] = added(found["measured"], about | one)
                print(json.dumps(found["measured"][-1]), flush=True)
                if not given.no_save:  # each as it comes: the last ones take longest
                    SAVED.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
