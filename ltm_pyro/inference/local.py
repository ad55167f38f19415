"""The fast loop: fit a guide's local parameters to one batch."""

import functools
import inspect
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Guide
from ltm_pyro.guides.sampled import Sampler
from ltm_pyro.inference.covering import Covering, MakeGuide
from ltm_pyro.inference.interrupts import whole
from ltm_pyro.inference.memory import Memory
from ltm_pyro.inference.optimizers import draws_nothing, local_optimizer, take_step
from ltm_pyro.inference.schedule import cosine, set_lr
from ltm_pyro.models.base import TextModel
from ltm_pyro.models.decoders.computing import computing
from ltm_pyro.models.likelihood import draw_positions
from ltm_pyro.programs.densities import Program, log_joint
from ltm_pyro.programs.elbo import ElboTerms, Finite, elbo_terms, frozen
from ltm_pyro.seeds import Noise

__all__ = ["InnerLoop", "MakeGuide", "fit_guide", "new_guide", "step_along"]


@dataclass(frozen=True)
class InnerLoop:
    """What the fast loop saw, a row for each step, before that step was taken.

    `log_likelihood`, `kl`, `gradient_norm`, `step_norm` have shape (steps, documents), the first
    two in nats and averaged over particles, `step_norm` the length of the step that was taken;
    `lr` has shape (steps,). The estimates are those the loop fitted
    with: they show whether it has converged, they are not the reported bound.
    """

    log_likelihood: Tensor
    kl: Tensor
    gradient_norm: Tensor
    step_norm: Tensor
    lr: Tensor

    @property
    def elbo(self) -> Tensor:
        """(steps, documents), nats."""
        return self.log_likelihood - self.kl

    @staticmethod
    def concatenate(loops: list["InnerLoop"]) -> "InnerLoop":
        """Loops of the same schedule side by side, along documents; of none, no documents."""
        if not loops:
            return _Trace(0).loop()
        return InnerLoop(
            torch.cat([loop.log_likelihood for loop in loops], 1),
            torch.cat([loop.kl for loop in loops], 1),
            torch.cat([loop.gradient_norm for loop in loops], 1),
            torch.cat([loop.step_norm for loop in loops], 1),
            loops[0].lr,
        )


def new_guide(model: TextModel, make: MakeGuide, batch: Rows) -> Guide:
    """A fresh guide for a batch, of the model's device and dtype.

    Raises:
        InputError: for what makes no guide, or covers not the model's sites; see `Covering`.
    """
    return Covering(model, make, batch).guide(len(batch))


def fit_guide(
    model: TextModel,
    guide: Guide,
    batch: Rows,
    fast: Fast,
    noise: Noise,
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
    memory: Memory | None = None,
    leak: bool = False,
) -> InnerLoop:
    """Take `fast.steps` steps up the ELBO in the guide's parameters; the model stays as it is.

    A `Sampler` moves its particles by that many steps instead.

    Algorithm 1 of Kong et al. (2025), its inner loop. Every step draws from `noise`. The model's
    parameters are frozen meanwhile, so no gradient of theirs is computed or kept (unless they
    are to `leak`, as in the released code). With `fast.tokens` below 1 the likelihood is estimated
    from a part of each document's tokens, in the trace too. A `kl_weight` other than 1, or
    `free_bits`, fit another objective than the ELBO (see `Objective`); the trace still records the
    ELBO's parts. With a `memory` documents start where they ended the last time.

    Raises:
        NotFinite: if a site's log-probability is NaN or infinite, naming site and documents.
        InputError: for `fast.tokens` below 1 where model or guide needs them all, and for
            antithetic draws of a guide that draws none.
    """
    if fast.tokens < 1:
        _check_subsampling(model, guide)
    if fast.antithetic and isinstance(guide, Sampler):
        raise InputError(
            f"fast.antithetic pairs the draws of a guide; {type(guide).__name__} moves particles "
            "of its own: set it to False"
        )
    with torch.enable_grad(), ExitStack() as stack:
        if not leak:
            stack.enter_context(frozen(model))
        if guide.shared is not None:
            stack.enter_context(frozen(guide.shared))
        guide.start(model, batch)
        if memory is not None:
            memory.recall(guide, batch)
        # With the weights fixed, what precedes the first look at z is the same in every step.
        fixed: Program = model
        if fast.steps and not leak and (isinstance(guide, Sampler) or _local(guide)):
            fixed = model.having_read(batch)
        with computing(fast, model, fixed=not leak), Finite() as seen:
            if isinstance(guide, Sampler):
                inner = _sample(fixed, guide, batch, fast, noise, seen)
            else:
                inner = _ascend(fixed, guide, batch, fast, noise, seen, kl_weight, free_bits)
        guide.finish(model, batch)
    if memory is not None:
        memory.remember(guide, batch)
    return inner


def _local(guide: Guide) -> list[Tensor]:
    """What fast steps move."""
    return [p for p in guide.parameters() if p.requires_grad]


def step_along(guide: Guide, fast: Fast, lr: float, noise: Noise, kl_weight: float = 1.0) -> None:
    """One step in the guide's local parameters, along gradients that are there already."""
    local = _local(guide)
    optimizer = local_optimizer(fast, guide, local, kl_weight)
    set_lr(optimizer, lr)
    _step(optimizer, fast, noise)


def _step(optimizer: torch.optim.Optimizer, fast: Fast, noise: Noise) -> None:
    """One step of the optimizer; one that may draw does so from streams of documents."""
    # Sites there are none: a block all the same, but its operations are not watched for draws.
    with noise.draw() if draws_nothing(optimizer) else noise.tensors(dim=0):
        take_step(optimizer, fast.optimizer)


def _ascend(
    model: Program,
    guide: Guide,
    batch: Rows,
    fast: Fast,
    noise: Noise,
    finite: Finite,
    kl_weight: float,
    free_bits: float,
) -> InnerLoop:
    """Gradient steps on local parameters."""
    local = _local(guide)
    steps = fast.steps if local else 0
    if steps:
        optimizer = local_optimizer(fast, guide, local, kl_weight)
    trace = _Trace(len(batch))
    for step in range(steps):
        with whole():
            lr = cosine(step, steps, fast.lr, fast.final)
            set_lr(optimizer, lr)
            seen: Any = model
            if fast.tokens < 1:
                with noise.tensors(dim=0):
                    positions = draw_positions(batch.mask, fast.tokens)
                seen = functools.partial(seen, positions=positions)
            with noise.draw(fast.antithetic):
                terms = elbo_terms(seen, guide, batch, fast.particles)
            finite.add(terms, f"a fast step ({step + 1} of {steps})")
            optimizer.zero_grad()
            (-terms.objective(kl_weight, free_bits).mean(0).sum()).backward()
            gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in local]
            norm = _norm_by_document(gradients, len(batch))
            before = [p.detach().clone() for p in local]
            _step(optimizer, fast, noise)
            moved = [p.detach() - old for p, old in zip(local, before, strict=True)]
            length = _norm_by_document(moved, len(batch))
            trace.add(terms.log_likelihood, terms.kl, norm, length, lr)
    return trace.loop()


def _sample(
    model: Program, guide: Sampler, batch: Rows, fast: Fast, noise: Noise, finite: Finite
) -> InnerLoop:
    """Moves of particles towards the posterior; its trace has -log p(z) for a KL."""
    guide.begin(noise)
    trace = _Trace(len(batch))

    def log_joint_of(z: Tensor) -> Tensor:
        prior, likelihood = log_joint(model, {"z": z}, batch)
        seen.append((likelihood.detach(), -prior.detach()))
        return prior + likelihood

    for step in range(fast.steps):
        with whole():
            lr = cosine(step, fast.steps, fast.lr, fast.final)
            seen: list[tuple[Tensor, Tensor]] = []
            before = guide.particles.clone()
            guide.advance(log_joint_of, lr, noise)
            likelihood, kl = seen[0]
            terms = ElboTerms(likelihood, {"z": kl}, None)
            finite.add(terms, f"a fast step ({step + 1} of {fast.steps})")
            moved = (guide.particles - before).square().mean(0).flatten(1).sum(1).sqrt()
            trace.add(likelihood, kl, torch.full_like(moved, torch.nan), moved, lr)
    return trace.loop()


def _check_subsampling(model: TextModel, guide: Guide) -> None:
    kind = None
    if isinstance(guide, Sampler):
        kind = f"{type(guide).__name__} needs the likelihood itself"
    elif "positions" not in inspect.signature(model.forward).parameters:
        kind = f"{type(model).__name__} takes no `positions`, so it observes all tokens or none"
    if kind is not None:
        raise InputError(f"fast.tokens is below 1, but {kind}: leave fast.tokens at 1")


class _Trace:
    """Gathers an `InnerLoop`, a step at a time."""

    def __init__(self, documents: int):
        self.documents = documents
        self.records: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.rates: list[float] = []

    def add(self, likelihood: Tensor, kl: Tensor, norm: Tensor, moved: Tensor, rate: float) -> None:
        """Likelihood and KL of shape (particles, documents); the norms (documents,)."""
        self.records.append((likelihood.mean(0).detach(), kl.mean(0).detach(), norm, moved))
        self.rates.append(rate)

    def loop(self) -> InnerLoop:
        """All steps so far."""
        if not self.records:
            none = torch.zeros(0, self.documents)
            return InnerLoop(none, none, none, none, torch.zeros(0))
        likelihoods, kls, norms, steps = (torch.stack(x) for x in zip(*self.records, strict=True))
        return InnerLoop(likelihoods, kls, norms, steps, torch.tensor(self.rates))


def _norm_by_document(values: list[Tensor], documents: int) -> Tensor:
    """Length of each document's part, (documents,); what documents share is left out."""
    squares = torch.zeros(documents, device=values[0].device)
    for value in values:
        if value.shape[:1] == (documents,):
            squares = squares + value.reshape(documents, -1).square().sum(1)
    return squares.sqrt()
