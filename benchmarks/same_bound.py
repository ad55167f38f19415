"""Is the bound the same? `python -m benchmarks.same_bound --shape small` trains each way.

The paper's fast loop, `Fast.quick`, and the same in bf16: from the same weights, on the same
batches of real text (the documentation of Python), each for as many iterations. Then held-out rows
are scored by the valid bound, once with the loop a model was trained with, and once with the
paper's, which tells what the decoder is worth. Differences are paired, row by row.
"""

import argparse
import dataclasses
import json
from typing import Any

import torch
from torch import Tensor

import ltm_pyro as ltm
from benchmarks.bound import valid_bound
from benchmarks.shapes import RESULTS, SHAPES, Shape
from ltm_pyro.config import Fast, Slow
from ltm_pyro.data.rows import Rows
from ltm_pyro.inference import DualRateSVI

SLOW = Slow(lr=2e-3, warmup=10)


def ways(shape: Shape) -> dict[str, tuple[Fast, Slow]]:
    """How iterations are taken; the first is what the others are compared with."""
    quick = Fast.quick(min(Fast.quick().steps, shape.fast.steps))
    return {
        "exact": (shape.fast, SLOW),
        "default": (quick, SLOW),
        "everything": (
            dataclasses.replace(quick, precision="bf16"),
            dataclasses.replace(SLOW, precision="bf16"),
        ),
    }


def same_bound(shape: Shape, iterations: int, documents: int, note: Any = None) -> dict[str, Any]:
    """Bounds in nats per token, and differences from the first way (positive: worse)."""
    vocabulary = min(2048, shape.config.architecture.vocabulary)
    corpus = ltm.load_corpus("python-docs", length=shape.tokens, vocabulary=vocabulary)
    train, test = (full(rows, shape.tokens) for rows in (corpus.train, corpus.test))
    test = test[torch.linspace(0, len(test) - 1, min(documents, len(test))).long()]
    first: dict[str, Tensor] = {}
    found: dict[str, Any] = {}
    for name, (fast, slow) in ways(shape).items():
        svi = DualRateSVI(shape.model(shape.tokens), fast=fast, slow=slow)
        for i in range(iterations):
            svi.step(train.batch(i, shape.batch, 0))
        found[name] = {"fast": repr(fast)}
        for loop, how in {"own loop": fast, "exact loop": shape.fast}.items():
            nats = valid_bound(svi.model, test, how)
            behind = nats - first.setdefault(loop, nats)
            found[name][loop] = {
                "nats_per_token": float(nats.mean()),
                "standard_error": float(nats.std() / len(nats) ** 0.5),
                "behind": float(behind.mean()),
                "behind_error": float(behind.std() / len(nats) ** 0.5),
            }
            if note:
                note(f"{name:12} {loop:11} {found[name][loop]}")
    return {"iterations": iterations, "documents": len(test), "ways": found}


def full(rows: Rows, tokens: int) -> Rows:
    """The rows without padding."""
    return rows[rows.lengths == tokens]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser("python -m benchmarks.same_bound", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--documents", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    shape = SHAPES[given.shape]
    found = same_bound(shape, given.iterations, given.documents, lambda x: print(x, flush=True))
    (RESULTS / f"bound-{shape.name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
