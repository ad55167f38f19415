"""Does compiling pay here? `python -m benchmarks.compiled --shape ltm-s`: as it is over compiled.

One iteration with `Fast.quick`, in fp32 and in bf16; compiling itself, a minute or so, is left out.
"""

import argparse
import dataclasses
from typing import Any

import torch

from benchmarks.shapes import SHAPES, Shape
from benchmarks.timing import compare
from ltm_pyro.config import Fast
from ltm_pyro.experiments.base import DEVICE


def compiled(shape: Shape) -> dict[str, Any]:
    """Seconds as it is over seconds compiled, by precision."""
    rows = shape.rows().to(DEVICE)
    found = {}
    for precision in ("fp32", "bf16"):
        quick = dataclasses.replace(Fast.quick(), precision=precision)
        slow = dataclasses.replace(shape.config.slow, precision=precision)
        plain = shape.ours(quick, slow)
        ours = shape.ours(
            dataclasses.replace(quick, compile=True), dataclasses.replace(slow, compile=True)
        )
        runs = {"compiled": lambda svi=ours: svi.step(rows)}
        found[precision] = compare(lambda svi=plain: svi.step(rows), runs, 5, warm=1)["compiled"]
    return {precision: ratio.report() for precision, ratio in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m benchmarks.compiled", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for kind, ratio in compiled(SHAPES[given.shape]).items():
        print(f"{kind}: {ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})")
