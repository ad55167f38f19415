"""`python -m benchmarks --shape small`: each figure as a ratio, printed and saved."""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch

from benchmarks.bound import time_to_bound
from benchmarks.generation import generation
from benchmarks.iteration import against_plain, pyro_overhead
from benchmarks.length import length_exponent
from benchmarks.memory import peak_memory
from benchmarks.shapes import RESULTS, SHAPES, Shape
from benchmarks.utilisation import utilisation
from ltm_pyro.experiments.base import DEVICE

MEASURES: dict[str, Callable[[Shape], dict[str, Any]]] = {
    "pyro_overhead": pyro_overhead,
    "peak_memory": peak_memory,
    "length_exponent": length_exponent,
    "generation": generation,
    "time_to_bound": time_to_bound,
    "utilisation": utilisation,
}
MEANING = {
    "iteration_exact": "plain / ours, the same mathematics in fp32",
    "iteration_tokens": "plain / ours, as many fast steps on a quarter of the tokens",
    "iteration_default": "plain / ours with `Fast.quick`: 4 natural-gradient steps, all tokens",
    "iteration_bf16": "plain / ours, the mathematics of exact, decoder in bf16",
    "iteration_everything": "plain / ours with `Fast.quick`, decoder in bf16 (compiled on a GPU)",
    "iteration_joint": "plain / ours under the protocol joint: warm, one pass for both, fp32",
    "pyro_overhead": "(ours - the same kernels without Pyro) / the latter",
    "peak_memory": "plain / ours, what an iteration takes, layers recomputed",
    "length_exponent": "k in seconds ~ tokens^k at a fixed window",
    "generation": "without a cache / with it",
    "time_to_bound": "plain / joint, seconds to a bound, a toy model and corpus for both shapes",
    "utilisation": "a fast step's FLOP/s over those of a matrix product, in fp32",
}


def measure(shape: Shape, only: str | None = None, note: Any = None) -> dict[str, Any]:
    """All figures of a shape: a number or None for each, and under `detail` how they came about."""
    start = time.perf_counter()
    detail: dict[str, Any] = {}
    if only is None or only.startswith("iteration"):
        detail |= against_plain(shape)
    for name, run in MEASURES.items():
        if only is None or only == name:
            detail[name] = run(shape)
            if note:
                note(f"{name}: {detail[name]['median']}")
    figures = {name: detail[name]["median"] if name in detail else None for name in MEANING}
    return {**figures, "detail": detail, "minutes": (time.perf_counter() - start) / 60}


def setting(shape: Shape, arguments: list[str]) -> dict[str, Any]:
    """Where the figures were made."""
    return {
        "shape": shape.name,
        "command": " ".join(["python -m benchmarks", *arguments]),
        "batch": [shape.batch, shape.tokens],
        "vocabulary": shape.config.architecture.vocabulary,
        "fast_steps": shape.fast.steps,
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "clock": "process" if torch.get_num_threads() == 1 else "wall",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "pyro-ppl", "ltm-pyro")},
        },
    }


def with_part(saved: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Saved results, with the figures of a part measured again, in the same place."""
    for name in ("device", "threads", "versions", "batch"):
        if saved[name] != part[name]:
            raise SystemExit(
                f"{name} is {part[name]}, that of the saved results {saved[name]}: measure all of "
                "them again, without --only, or add --no-save"
            )
    new = {name: part[name] for name in MEANING if part[name] is not None}
    return {**saved, **new, "detail": {**saved["detail"], **part["detail"]}}


def table(found: dict[str, Any]) -> str:
    """The figures with their quartiles, a line each."""
    lines = []
    for name, meaning in MEANING.items():
        if found[name] is not None:
            part = found["detail"][name]
            spread = f"({part['low']:.3g} to {part['high']:.3g})" if "low" in part else ""
            lines.append(f"{name:22} {found[name]:8.3g} {spread:20} {meaning}")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--only", choices=["iteration", *MEASURES], help="a part, the saved rest left"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-save", action="store_true", help="leave benchmarks/results/ alone")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    shape = SHAPES[given.shape]
    quiet = (lambda text: None) if given.json else (lambda text: print(text, flush=True))
    found = measure(shape, given.only, quiet)
    found |= setting(shape, arguments)
    if not given.no_save:
        RESULTS.mkdir(exist_ok=True)
        file = RESULTS / f"{shape.name}.json"
        kept = (
            with_part(json.loads(file.read_text()), found)
            if given.only and file.exists()
            else found
        )
        file.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(found) if given.json else table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
