"""log p(x) of any document between two ends, by two runs of weights that share no draw.

For any c > 0 that does not depend on the draws of w, an unbiased estimate of p(x), log u <= u - 1
gives log p(x) <= log c + E[w] / c - 1, and Jensen E[log w] <= log p(x). Two runs serve each other
as c, and the means of both directions are the ends:

    lower = (log w1 + log w2) / 2        upper = lower + cosh(log w1 - log w2) - 1

No draw from the true posterior is needed, so it holds for documents that nobody simulated. In
expectation the ends are half the relative variance of a run away from log p(x).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ltm_pyro.bounds.estimate import Task, how
from ltm_pyro.bounds.gate import LIGHT, Gate, gate
from ltm_pyro.bounds.importance import log_mean_exp
from ltm_pyro.bounds.schedule import EvenPath
from ltm_pyro.bounds.tails import FEWEST
from ltm_pyro.bounds.weights import Array
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.display.progress import bar
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.inference.posterior import pieces
from ltm_pyro.models.base import TextModel
from ltm_pyro.programs.densities import Latents, log_density, log_joint, log_weights
from ltm_pyro.programs.elbo import frozen
from ltm_pyro.seeds import Noise, Stream, derive

GROWTH = 4
"""Rows that the gate refuses are annealed over so many times more temperatures."""

HOPE = 4
"""Rows that seem to need more than so many times the most temperatures are not tried further."""


@dataclass(frozen=True)
class Setup:
    """How ends are computed.

    Attributes:
        guide, fast: what is fitted to each row, and how.
        temperatures: the most that a row is annealed over; 1 is importance sampling.
        chains: weights of each run and row; half of it where they are annealed.
        particles: chains of each weight, resampled; see `EvenPath`.
        chunk: rows handled at once.
        progress: whether to show progress bars.
    """

    guide: MakeGuide
    fast: Fast
    temperatures: int
    chains: int
    particles: int
    chunk: int
    progress: bool

    @property
    def protocol(self) -> str:
        """In words: the guide and its loop, the runs, and what is annealed."""
        number, annealed = self.chains, self.weights(2)
        words = f"{how(self.guide, self.fast)}; two runs of {number} weights"
        if self.temperatures > 1:
            words += f" ({annealed} where annealed, over at most {self.temperatures} temperatures"
            words += f", {self.particles} particles a weight)" if self.particles > 1 else ")"
        return words + ", and a third run that chooses"

    def weights(self, temperatures: int) -> int:
        """How many weights a run has."""
        return self.chains if temperatures == 1 else max(self.chains // 2, FEWEST)

    @property
    def levels(self) -> list[int]:
        """Numbers of temperatures that are tried, rising."""
        found = [1]
        while found[-1] < self.temperatures:
            found.append(min(found[-1] * GROWTH, self.temperatures))
        return found


@dataclass(frozen=True)
class Ends:
    """Both ends of log p(x), nats, an entry for each row.

    Attributes:
        lower, upper: the ends.
        variance: of each end, over draws, by the gate's weights.
        temperatures: how many the row was annealed over.
        spread, khat: of the gate's weights.
        reason: why the upper end is not to be believed; "" where it is.
        missed: whether the gate's run missed the exact posterior draw, if there was one.
        light: for each number of temperatures, rows whose weights spread little enough, and how
            many of these passed by k-hat.
    """

    lower: Array
    upper: Array
    variance: Array
    temperatures: Array
    spread: Array
    khat: Array
    reason: list[str]
    missed: Array
    light: dict[int, tuple[int, int]]


class Weights:
    """Runs of weights of a fitted guide at one number of temperatures, one independent of another.

    Guide, temperatures and step sizes are found by draws that no run uses.
    """

    def __init__(self, model: TextModel, rows: Rows, setup: Setup, temperatures: int, seed: int):
        task = Task(model, rows, setup.guide, setup.fast, derive(seed, Stream.TASK))
        self.guide, self.rows = task.fitted()
        self.seed = derive(seed, Stream.FORWARD, temperatures)
        self.model: TextModel = model
        self.path: EvenPath | None = None
        if temperatures > 1:
            with frozen(model), frozen(self.guide):
                self.path = EvenPath(
                    model, self.guide, self.rows, temperatures, self.seed, setup.progress,
                    setup.particles,
                )  # fmt: skip

    def run(self, number: int, chains: int) -> Tensor:
        """Log weights of a run, (chains, rows): the mean of exp is p(x)."""
        if self.path is not None:
            with frozen(self.model), frozen(self.guide):
                parts = enumerate(pieces(chains))
                return torch.cat([self.path.forward(n, number, part) for part, n in parts])
        noise, found = Noise(derive(self.seed, number), self.rows.key), []
        model = self.model.having_read(self.rows)
        with torch.no_grad():
            for n in pieces(chains):
                with noise.draw():
                    found.append(log_weights(model, self.guide, self.rows, n))
        return torch.cat(found)

    def ending_at(self, exact: Latents) -> Tensor:
        """The log weight of a chain that ends at exact posterior draws, (rows,)."""
        if self.path is not None:
            with frozen(self.model), frozen(self.guide):
                return self.path.reverse(exact, 1)[0]
        with torch.no_grad():
            joint = sum(log_joint(self.model, exact, self.rows))
            return (joint - log_density(self.guide, exact, self.rows))[0]


def ends_of(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper end from log weights of two independent runs, (draws, rows) each."""
    one, two = (log_mean_exp(run.double())[0] for run in (first, second))
    lower = (one + two) / 2
    return lower, lower + (one - two).cosh() - 1


def enclose(
    model: TextModel, rows: Rows, setup: Setup, seed: int, exact: Latents | None = None
) -> Ends:
    """Both ends for each row, at the fewest temperatures that its gate allows.

    With `exact` posterior draws, (1, rows, *event), it tells which of them the gate's run missed,
    and computes no ends.
    """
    parts, what = [], "enclosing" if exact is None else "looking for missed posteriors"
    starts = range(0, len(rows), setup.chunk)
    for start in bar(starts, what, unit="chunk", shown=setup.progress):
        here = slice(start, start + setup.chunk)
        z = None if exact is None else {site: value[:, here] for site, value in exact.items()}
        parts.append(_enclose(model, rows[here], setup, seed, z))
    arrays = ("lower", "upper", "variance", "temperatures", "spread", "khat", "missed")
    together = Ends(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays},
        reason=[reason for part in parts for reason in part.reason],
        light={
            level: (sum(p.light.get(level, (0, 0))[0] for p in parts),
                    sum(p.light.get(level, (0, 0))[1] for p in parts))
            for level in setup.levels
        },
    )  # fmt: skip
    for level, (narrow, passed) in together.light.items():
        if passed < LIGHT * narrow:
            for row in np.flatnonzero(together.temperatures == level):
                together.reason[row] = together.reason[row] or (
                    f"at {level} temperature(s) only {passed} of {narrow} pass by k-hat: they may "
                    "do so by chance"
                )
    return together


def _enclose(model: TextModel, rows: Rows, setup: Setup, seed: int, exact: Latents | None) -> Ends:
    n = len(rows)
    lower, upper, variance, used, spread, khat = (np.full(n, np.nan) for _ in range(6))
    reason, missed, waiting = [""] * n, np.zeros(n, bool), torch.arange(n)
    light = {}
    for level in setup.levels:
        weights, number = Weights(model, rows[waiting], setup, level, seed), setup.weights(level)
        log_w = weights.run(Stream.GATE, number)
        seen = gate(log_w)
        light[level] = (int(seen.narrow.sum()), int(seen.allowed.sum()))
        go_on = torch.from_numpy(_go_on(seen, level, setup))
        done = (~go_on).nonzero()[:, 0]
        places = waiting[done].numpy()
        variance[places] = seen.variance[done] / 2  # the mean of two runs
        used[places], spread[places], khat[places] = level, seen.spread[done], seen.khat[done]
        for place, row in zip(places, done.tolist(), strict=True):
            reason[place] = seen.reason(row, level)
        if exact is not None:
            ends_there = weights.ending_at({s: z[:, waiting] for s, z in exact.items()})
            missed[places] = (ends_there > torch.logsumexp(log_w, 0)).cpu().numpy()[done]
        elif len(places):
            if len(places) < len(waiting):
                weights = Weights(model, rows[waiting[done]], setup, level, seed)
            runs = (weights.run(stream, number) for stream in (Stream.FIRST, Stream.SECOND))
            lower[places], upper[places] = (end.cpu().numpy() for end in ends_of(*runs))
        waiting = waiting[go_on]
        if not len(waiting):
            break
    return Ends(lower, upper, variance, used, spread, khat, reason, missed, light)


def _go_on(seen: Gate, level: int, setup: Setup) -> Array:
    """Which rows are to be annealed over more temperatures."""
    if level >= setup.temperatures:
        return np.zeros(len(seen.spread), bool)
    hope = seen.needed(level) <= HOPE * setup.temperatures
    return np.asarray(~seen.allowed & hope)
