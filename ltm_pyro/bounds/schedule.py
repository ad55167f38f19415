"""Annealing at temperatures that each document needs, with resampling if wanted."""

import math

import torch
from torch import Tensor

from ltm_pyro.bounds.annealed import TARGET_ACCEPTANCE, Path, State
from ltm_pyro.bounds.importance import log_mean_exp
from ltm_pyro.data.rows import Rows
from ltm_pyro.models.base import TextModel
from ltm_pyro.programs.densities import Latents, Program
from ltm_pyro.seeds import Noise, Stream, derive

LADDER, PILOTS = 8, 8
"""Temperatures and chains of the pilot, whose weights are thrown away."""


class EvenPath(Path):
    """A path on which every step costs a document's chains as much.

    Of the chains at beta, a step to beta' leaves a conditional effective sample size of about
    1 / (1 + (beta' - beta)^2 s^2), where s is the standard deviation at beta of log f_1 - log f_0
    (Zhou, Johansen & Aston 2016). Pilot chains find s along a first ladder; temperatures stand at
    equal parts of its integral over beta, `length`, so log weights of chains that mix have a
    standard deviation of about length / sqrt(temperatures).

    Args:
        model, start, rows, temperatures, seed, progress: as for `Path`.
        particles: with more than one, each weight is that of a population of so many chains,
            resampled (systematically) where fewer than half of them are effective: the normalising
            constant of a sequential Monte Carlo sampler (Del Moral, Doucet & Jasra 2006), whose
            mean is p(x) too.
    """

    def __init__(
        self,
        model: TextModel,
        start: Program,
        rows: Rows,
        temperatures: int,
        seed: int,
        progress: bool = False,
        particles: int = 1,
    ):
        self.particles, self.temperatures = particles, temperatures
        super().__init__(model, start, rows, LADDER, seed, progress)

    def forward(self, chains: int, *run: int) -> Tensor:
        """log weights, (chains, documents): the mean of exp is p(x). Each `run` draws its own."""
        noise = Noise(derive(self.seed, Stream.FORWARD, *run), self.rows.key)
        state = self._state(self._draw(noise, chains * self.particles))
        log_w = torch.zeros_like(state.end)
        for t in self._bar(range(1, len(self.betas)), "annealing"):
            log_w = log_w + state.log_f(self.betas[t]) - state.log_f(self.betas[t - 1])
            if t + 1 < len(self.betas):
                if self.particles > 1:
                    state, log_w = self._resampled(state, log_w, noise)
                state, _ = self._move(state, self.betas[t], self.steps[t], noise)
        return log_mean_exp(self._populations(log_w))[0]

    def _adapt(self) -> Tensor:
        """Sets `betas`, (temperatures + 1, documents), and `length`; returns step sizes there."""
        noise = Noise(derive(self.seed, Stream.PILOT, 1), self.rows.key)
        state = self._state(self._draw(noise, PILOTS))
        step = torch.full((len(self.rows),), math.exp(-1.0), device=state.end.device)
        spreads, steps = [_spread(state)], [step]
        for beta in self._bar(range(1, len(self.betas)), "finding temperatures"):
            state, accepted = self._move(state, self.betas[beta], step, noise)
            step = step * (0.5 * (accepted.mean(0) - TARGET_ACCEPTANCE)).exp()
            spreads.append(_spread(state))
            steps.append(step)
        ladder = torch.tensor(self.betas, device=step.device)[:, None].expand(-1, len(step))
        spread = torch.stack(spreads)
        spread = torch.maximum(spread, 1e-3 * spread.amax(0) + 1e-6)  # each document's own
        pieces = 0.5 * (spread[1:] + spread[:-1]) * (ladder[1:] - ladder[:-1])
        travelled = torch.cat([torch.zeros_like(step)[None], pieces.cumsum(0)])
        self.length = travelled[-1]
        parts = torch.linspace(0, 1, self.temperatures + 1, device=step.device)[:, None]
        betas = _between(parts * self.length, travelled, ladder)
        betas[0], betas[-1] = 0.0, 1.0
        self.betas = list(betas)
        return _between(betas, ladder, torch.stack(steps))

    def _populations(self, log_w: Tensor) -> Tensor:
        """(chains * particles, documents) -> (particles, chains, documents)."""
        return log_w.reshape(-1, self.particles, log_w.shape[-1]).transpose(0, 1)

    def _resampled(self, state: State, log_w: Tensor, noise: Noise) -> tuple[State, Tensor]:
        """Populations with few effective particles drawn anew from themselves."""
        each = self._populations(log_w)
        share = each.softmax(0)
        few = 1 / share.square().sum(0) < self.particles / 2
        with noise.tensors():
            uniform = torch.rand_like(log_w[: len(log_w) // self.particles])
        number = torch.arange(self.particles, device=log_w.device)[:, None, None]
        places = (uniform + number) / self.particles
        parents = (places[:, None] > share.cumsum(0)[None]).sum(1).clamp(max=self.particles - 1)
        parents = torch.where(few, parents, number)
        first = torch.arange(parents.shape[1], device=log_w.device)[:, None] * self.particles
        index = (first + parents).transpose(0, 1).reshape(log_w.shape)
        even = log_mean_exp(each)[0].expand_as(each)
        log_w = torch.where(few, even, each).transpose(0, 1).reshape(log_w.shape)
        return _chosen(state, index), log_w


def _spread(state: State) -> Tensor:
    """Standard deviation over chains of log f_1 - log f_0, (documents,); 1 where not finite."""
    return (state.end - state.start).std(0).nan_to_num(1.0, 1.0, 1.0)


def _between(x: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """Linear interpolation, document by document: (n, D) at increasing (m, D) -> (n, D)."""
    right = torch.searchsorted(known.T.contiguous(), x.T.contiguous()).T.clamp(1, len(known) - 1)
    x0, x1 = known.gather(0, right - 1), known.gather(0, right)
    y0, y1 = values.gather(0, right - 1), values.gather(0, right)
    return y0 + (y1 - y0) * ((x - x0) / (x1 - x0)).clamp(0, 1)


def _chosen(state: State, index: Tensor) -> State:
    """The chains that `index`, (chains, documents), names for each place."""

    def choose(value: Tensor) -> Tensor:
        wide = index.reshape(*index.shape, *[1] * (value.dim() - 2)).expand_as(value)
        return value.gather(0, wide)

    def each(latents: Latents) -> Latents:
        return {site: choose(value) for site, value in latents.items()}

    return State(
        each(state.z), choose(state.start), choose(state.end), each(state.start_gradient),
        each(state.end_gradient),
    )  # fmt: skip
