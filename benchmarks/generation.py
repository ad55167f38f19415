"""Tokens a second of generation, with the cache of keys and values and without."""

from typing import Any

import torch

from benchmarks.shapes import Shape
from ltm_pyro.experiments.base import DEVICE, seconds
from ltm_pyro.models.decoders.decode import decode

ROWS, PLACES = 8, 4


def generation(shape: Shape) -> dict[str, Any]:
    """Cached over uncached, eight rows together.

    Without a cache the n-th token takes a pass over n tokens, so that all of them are timed at a
    few places, the middles of as many equal parts of the row.
    """
    model, length = shape.model(shape.generated), shape.generated
    z = torch.randn(ROWS, *model.thoughts.shape, device=DEVICE)
    words = shape.config.architecture.vocabulary
    prompt = torch.randint(words, (ROWS, length), device=DEVICE)

    def uncached(n: int) -> float:
        return seconds(lambda: decode(model.decoder, z, ROWS, n, prompt=prompt[:, : n - 1],
                                      cached=False))  # fmt: skip

    def cached() -> float:
        return seconds(lambda: decode(model.decoder, z, ROWS, length))

    part = length / PLACES
    places = [max(1, round(part * (i + 0.5))) for i in range(PLACES)]
    uncached(places[0])
    slow = part * sum(min(uncached(n) for _ in range(2)) for n in places)
    fast = min(cached() for _ in range(1 if length > 256 else 2))
    return {
        "median": slow / fast,
        "tokens_per_second": ROWS * length / fast,
        "tokens_per_second_without_a_cache": ROWS * length / slow,
        "rows": ROWS,
        "tokens": length,
    }
