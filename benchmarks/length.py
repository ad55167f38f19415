"""Time against the length of a row at a fixed window: k in time ~ N^k."""

import math
import statistics
from typing import Any

import torch

from benchmarks.shapes import Shape
from ltm_pyro.experiments.base import DEVICE, seconds
from ltm_pyro.models.likelihood import TokenSequence


def length_exponent(shape: Shape) -> dict[str, Any]:
    """The slope of log seconds over log N, of the forward and backward pass of a fast step."""
    model = shape.model(max(shape.lengths)).requires_grad_(False)
    z = torch.randn(1, *model.thoughts.shape, device=DEVICE, requires_grad=True)
    times: dict[int, float] = {}
    for tokens in (shape.lengths[0], *shape.lengths):  # the first once more, as a warm-up
        rows = shape.rows(1, tokens).to(DEVICE)
        prelude = model.read(rows)

        def step(rows=rows, tokens=tokens, prelude=prelude) -> None:  # type: ignore[no-untyped-def]
            likelihood = TokenSequence(model.decoder, z, rows.lengths, tokens, prelude)
            likelihood.log_prob(rows.tokens).sum().backward()

        times[tokens] = min(seconds(step) for _ in range(1 if tokens > 2048 else 2))
    x, y = [math.log(n) for n in times], [math.log(t) for t in times.values()]
    slope = statistics.linear_regression(x, y).slope
    return {"median": slope, "seconds": {str(n): t for n, t in times.items()}}
