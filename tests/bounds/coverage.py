"""How often the printed Monte Carlo interval holds what a figure is on average over repetitions.

`python -m tests.bounds.coverage [REPETITIONS]` prints the table: a linear-Gaussian model of 2, 6,
24 and 96 latent dimensions, 48 documents, each repetition an evaluation from a seed of its own.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds.figures import Figure
from ltm_pyro.config import Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.models import LinearGaussianModel
from ltm_pyro.programs.densities import simulate
from ltm_pyro.seeds import generator

DIMENSIONS = (2, 6, 24, 96)
FIGURES = ("elbo:16", "iwae:64", "ais:10", "prior:16")


@dataclass(frozen=True)
class Coverage:
    """Repetitions of a figure: its values, and each one's printed error and interval."""

    values: Any
    errors: Any
    reach: Any

    @property
    def ratio(self) -> float:
        """True standard deviation over the printed one."""
        return float(self.values.std(ddof=1) / np.sqrt(np.mean(self.errors**2)))

    @property
    def covered(self) -> float:
        """Share of intervals that hold the mean of the other repetitions, with its own error."""
        n = len(self.values)
        others = (self.values.sum() - self.values) / (n - 1)
        return float(np.mean(abs(self.values - others) <= self.reach * math.sqrt(n / (n - 1))))

    @property
    def squares(self) -> Any:
        """Squared distances from the mean in printed errors; about 1 on average."""
        n = len(self.values)
        return (self.values - self.values.mean()) ** 2 * n / (n - 1) / self.errors**2


def case(dimensions: int, documents: int = 48) -> tuple[LinearGaussianModel, Rows]:
    """A model whose figures get looser with its dimensions, and documents it wrote."""
    weight = 0.7 * torch.randn(8, dimensions, generator=generator(0, dimensions))
    thoughts = Thoughts(2, 1, dimensions // 2)
    model = LinearGaussianModel(thoughts, weight * min(1.0, (6 / dimensions) ** 0.5), scale=0.8)
    return model, simulate(model, torch.full((documents,), 8), 0)[0]


def repeat(
    dimensions: int, figures: Any, repetitions: int, documents: int = 48, **options: Any
) -> dict[str, Coverage]:
    """A figure's evaluations of the same documents under the same model."""
    model, rows = case(dimensions, documents)
    found: dict[str, list[Figure]] = {}
    for seed in range(repetitions):
        report = ltm.evaluate(model, rows, figures, seed=100 + seed, progress=False, **options)
        for name, figure in report.figures.items():
            found.setdefault(name, []).append(figure)
    return {
        name: Coverage(
            np.array([f.nats_per_token for f in each]),
            np.array([f.monte_carlo_error for f in each]),
            np.array([f.monte_carlo_interval[1] - f.nats_per_token for f in each]),
        )
        for name, each in found.items()
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print("| dimensions | figure | true sd / printed | 95 % interval covers |\n|---|---|---|---|")
    for size in DIMENSIONS:
        for name, one in repeat(size, FIGURES, number).items():
            print(f"| {size} | {name} | {one.ratio:.2f} | {one.covered:.1%} |", flush=True)
