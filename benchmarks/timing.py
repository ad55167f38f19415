"""Times that can be compared: alternating, in one process, as medians of ratios."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ltm_pyro.experiments.base import seconds


@dataclass(frozen=True)
class Ratio:
    """Base over candidate, above 1 where the candidate is faster.

    `low` and `high` are the quartiles of the single ratios; seconds are medians.
    """

    median: float
    low: float
    high: float
    base_seconds: float
    seconds: float

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def compare(
    base: Callable[[], Any], candidates: dict[str, Callable[[], Any]], repeats: int, warm: int = 0
) -> dict[str, Ratio]:
    """The base against each candidate, all in turn, `repeats` times after `warm` unseen ones."""
    names = list(candidates)
    times: list[list[float]] = []
    for _ in range(warm + repeats):
        times.append([seconds(base), *(seconds(candidates[name]) for name in names)])
    times = times[warm:]
    found = {}
    for column, name in enumerate(names, start=1):
        ratios = [row[0] / row[column] for row in times]
        low, high = quartiles(ratios)
        found[name] = Ratio(
            statistics.median(ratios), low, high,
            statistics.median(row[0] for row in times),
            statistics.median(row[column] for row in times),
        )  # fmt: skip
    return found


def quartiles(values: list[float]) -> tuple[float, float]:
    """The first and the third."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third
