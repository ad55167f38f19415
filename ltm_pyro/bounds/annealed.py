"""Annealed importance sampling, forward and in reverse (Neal 2001; Grosse et al. 2015)."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from ltm_pyro.bounds.estimate import Estimate, Task, figure
from ltm_pyro.bounds.importance import log_mean_exp
from ltm_pyro.data.rows import Rows
from ltm_pyro.display.progress import bar
from ltm_pyro.inference.interrupts import whole
from ltm_pyro.models.base import TextModel
from ltm_pyro.programs.densities import (
    Latents,
    Program,
    draw_latents,
    log_density,
    log_joint,
    prior_of,
)
from ltm_pyro.programs.elbo import frozen
from ltm_pyro.seeds import Noise, Stream, derive

CHAINS = 4
LEAPFROGS = 2
TARGET_ACCEPTANCE = 0.8


@dataclass(frozen=True)
class State:
    """Where the chains are: latents, and both ends of the path there, with gradients.

    `start` and `end` are log f_0 and log f_1, shape (chains, documents); the gradients are
    dictionaries like `z`.
    """

    z: Latents
    start: Tensor
    end: Tensor
    start_gradient: Latents
    end_gradient: Latents

    def log_f(self, beta: float | Tensor) -> Tensor:
        """The geometric path: (1 - beta) log f_0 + beta log f_1; a beta for all or for each."""
        return (1 - beta) * self.start + beta * self.end

    def force(self, beta: float | Tensor) -> Latents:
        """Its gradient."""
        found = {}
        for site, z in self.z.items():
            b = _like(beta, z) if isinstance(beta, Tensor) else beta
            found[site] = (1 - b) * self.start_gradient[site] + b * self.end_gradient[site]
        return found


class Path:
    """From a normalised distribution f_0 to f_1 = p(x, z), whose normaliser is p(x).

    Args:
        model: the model.
        start: a program that draws f_0: the prior, or a fitted guide.
        rows: the documents.
        temperatures: steps between the two ends.
        seed: where draws come from.
        progress: whether to show a progress bar.
    """

    def __init__(
        self,
        model: TextModel,
        start: Program,
        rows: Rows,
        temperatures: int,
        seed: int,
        progress: bool = False,
    ):
        self.model: Program = model.having_read(rows)
        self.start, self.rows, self.seed, self.progress = start, rows, seed, progress
        # Sigmoidal: most temperatures where the path leaves one end and nears the other.
        places = torch.linspace(-4.0, 4.0, temperatures + 1).sigmoid()
        self.betas: Sequence[float | Tensor] = (
            (places - places[0]) / (places[-1] - places[0])
        ).tolist()
        with torch.no_grad(), Noise(derive(seed, Stream.PILOT, 0), rows.key).draw():
            spread = draw_latents(start, rows, 64)
        self.scale = {site: z.std(0, keepdim=True) + 1e-6 for site, z in spread.items()}
        self.steps = self._adapt()

    def forward(self, chains: int, *run: int) -> Tensor:
        """log weights of chains from f_0 to f_1, (chains, documents): mean of exp is p(x).

        Each `run`, a tuple of numbers, has draws of its own.
        """
        noise = Noise(derive(self.seed, Stream.FORWARD, *run), self.rows.key)
        log_w, _ = self._run(self._draw(noise, chains), self.steps, noise)
        return log_w

    def reverse(self, exact: Latents, chains: int) -> Tensor:
        """log weights of chains from exact posterior draws back to f_0, (chains, documents).

        The mean of exp(-log weight) is 1 / p(x), so minus its log bounds log p(x) from above.
        """
        noise = Noise(derive(self.seed, Stream.REVERSE), self.rows.key)
        z = {site: value.expand(chains, *value.shape[1:]) for site, value in exact.items()}
        state = self._state(z)
        log_w = torch.zeros_like(state.end)
        for t in self._bar(range(len(self.betas) - 1, 0, -1), "reverse annealing"):
            state, _ = self._move(state, self.betas[t], self.steps[t], noise)
            log_w = log_w + state.log_f(self.betas[t]) - state.log_f(self.betas[t - 1])
        return log_w

    def _adapt(self) -> Tensor:
        """Step sizes of each temperature and document, (temperatures + 1, documents).

        Found by chains whose weights are thrown away: chains that count use step sizes fixed
        beforehand, or their weights would not be valid.
        """
        noise = Noise(derive(self.seed, Stream.PILOT, 1), self.rows.key)
        log_step = torch.full((len(self.rows),), -1.0, device=self.rows.lengths.device)
        steps = log_step.exp().expand(len(self.betas), -1)
        _, steps = self._run(self._draw(noise, 2), steps, noise, adapt=True)
        return steps

    def _draw(self, noise: Noise, chains: int) -> Latents:
        with noise.draw():
            return draw_latents(self.start, self.rows, chains)

    def _run(
        self, z: Latents, steps: Tensor, noise: Noise, adapt: bool = False
    ) -> tuple[Tensor, Tensor]:
        state = self._state({site: value.detach() for site, value in z.items()})
        log_w = torch.zeros_like(state.end)
        used = [steps[0]]
        step = steps[0]
        steps_up = range(1, len(self.betas))
        for t in self._bar(steps_up, "finding step sizes" if adapt else "annealing"):
            log_w = log_w + state.log_f(self.betas[t]) - state.log_f(self.betas[t - 1])
            step = step if adapt else steps[t]
            used.append(step)
            state, accepted = self._move(state, self.betas[t], step, noise)
            if adapt:
                step = step * (0.5 * (accepted.mean(0) - TARGET_ACCEPTANCE)).exp()
        return log_w, torch.stack(used)

    @whole()
    def _move(
        self, state: State, beta: float | Tensor, step: Tensor, noise: Noise
    ) -> tuple[State, Tensor]:
        """One HMC transition that leaves the path at `beta` invariant (Neal 2011).

        Returns the state and the acceptance probability, (chains, documents).
        """
        with noise.tensors():
            momentum = {site: torch.randn_like(value) for site, value in state.z.items()}
            uniform = torch.rand_like(state.end)
        kinetic = _energy(momentum)
        new, p = state, momentum
        lost = torch.zeros_like(uniform, dtype=torch.bool)
        for _ in range(LEAPFROGS):
            p = self._kick(p, new.force(beta), step)
            z = {
                site: value + _like(step, value) * self.scale[site] * p[site]
                for site, value in new.z.items()
            }
            for value in z.values():  # a trajectory that leaves the numbers is rejected
                lost = lost | ~torch.isfinite(value).reshape(*value.shape[:2], -1).all(-1)
            new = self._state(_chosen(lost, state.z, z))
            p = self._kick(p, new.force(beta), step)
        log_accept = new.log_f(beta) - _energy(p) - state.log_f(beta) + kinetic
        log_accept = torch.where(torch.isfinite(log_accept) & ~lost, log_accept, -torch.inf)
        accept = uniform.log() < log_accept
        return _where(accept, new, state), log_accept.clamp(max=0.0).exp()

    def _bar(self, temperatures: range, what: str) -> Iterable[int]:
        shown = self.progress
        return bar(temperatures, what, unit="temperature", leave=False, shown=shown)

    def _kick(self, p: Latents, force: Latents, step: Tensor) -> Latents:
        return {
            site: value + 0.5 * _like(step, value) * self.scale[site] * force[site]
            for site, value in p.items()
        }

    def _state(self, z: Latents) -> State:
        z = {site: value.detach().requires_grad_() for site, value in z.items()}
        # A proposal that overflows is rejected, not an error.
        with torch.enable_grad(), pyro.validation_enabled(False):
            start = log_density(self.start, z, self.rows)
            end = sum(log_joint(self.model, z, self.rows), torch.zeros_like(start))
            of_start = torch.autograd.grad(start.sum(), list(z.values()))
            of_end = torch.autograd.grad(end.sum(), list(z.values()))
        return State(
            {site: value.detach() for site, value in z.items()},
            start.detach(),
            end.detach(),
            dict(zip(z, of_start, strict=True)),
            dict(zip(z, of_end, strict=True)),
        )


@figure
def ais(task: Task, temperatures: int = 100) -> Estimate:
    """Annealed importance sampling from the fitted guide to the posterior (Neal 2001).

    For each document -log of the mean weight of 4 chains: in expectation at least -log p(x), and
    tighter the more temperatures.
    """
    guide, rows = task.fitted()
    with frozen(task.model), frozen(guide):
        path = Path(task.model, guide, rows, temperatures, task.seed, task.progress)
        log_w = path.forward(CHAINS)
    return _estimate(log_w, f"{task.how}, then annealed from the guide", temperatures)


@figure
def ais_prior(task: Task, temperatures: int = 100) -> Estimate:
    """Annealed importance sampling from the prior to the posterior: needs no guide."""
    with frozen(task.model):
        start = prior_of(task.model)
        path = Path(task.model, start, task.rows, temperatures, task.seed, task.progress)
        log_w = path.forward(CHAINS)
    # Both ends of the path hold log p(z), and its constant cancels.
    estimate = _estimate(log_w, "annealed from the prior", temperatures)
    return dataclasses.replace(estimate, holds_prior_density=False)


def _estimate(log_w: Tensor, how: str, temperatures: int) -> Estimate:
    mean, variance = log_mean_exp(log_w)
    protocol = f"bound: {how} over {temperatures} temperatures, {len(log_w)} chains"
    return Estimate(-mean, protocol, len(log_w), variance, log_weights=log_w)


def _energy(p: Latents) -> Tensor:
    return sum(
        (0.5 * v.square().reshape(*v.shape[:2], -1).sum(-1) for v in p.values()), torch.zeros(())
    )


def _like(step: Tensor, value: Tensor) -> Tensor:
    """A number for each document, shaped to multiply (chains, documents, *event)."""
    return step.reshape(1, -1, *[1] * (value.dim() - 2))


def _chosen(which: Tensor, a: Latents, b: Latents) -> Latents:
    """`a` where `which`, (chains, documents), holds, else `b`."""
    return {s: torch.where(which.reshape(*which.shape, *[1] * (a[s].dim() - 2)), a[s], b[s])
            for s in a}  # fmt: skip


def _where(accept: Tensor, new: State, old: State) -> State:
    return State(
        _chosen(accept, new.z, old.z),
        torch.where(accept, new.start, old.start),
        torch.where(accept, new.end, old.end),
        _chosen(accept, new.start_gradient, old.start_gradient),
        _chosen(accept, new.end_gradient, old.end_gradient),
    )
