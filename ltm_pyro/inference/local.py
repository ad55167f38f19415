"""The fast loop: fit a guide's local parameters to one batch."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.elbo import assert_finite, elbo_terms
from ltm_pyro.guides.base import Guide
from ltm_pyro.inference.schedule import cosine, set_lr
from ltm_pyro.models.base import TextModel
from ltm_pyro.registry import new_optimizer
from ltm_pyro.seeds import Noise

MakeGuide = Callable[..., Guide]
"""A guide class, or a `functools.partial` of one: called with (thoughts, batch_size)."""


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
        """Loops of the same schedule side by side, along documents."""
        return InnerLoop(
            torch.cat([loop.log_likelihood for loop in loops], 1),
            torch.cat([loop.kl for loop in loops], 1),
            torch.cat([loop.gradient_norm for loop in loops], 1),
            torch.cat([loop.step_norm for loop in loops], 1),
            loops[0].lr,
        )


def new_guide(model: TextModel, make: MakeGuide, batch: Rows) -> Guide:
    """A fresh guide for a batch, on the model's device."""
    device = next(model.parameters()).device
    return make(getattr(model, "thoughts", None), len(batch)).to(device)


def fit_guide(
    model: TextModel,
    guide: Guide,
    batch: Rows,
    fast: Fast,
    noise: Noise,
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
) -> InnerLoop:
    """Take `fast.steps` steps up the ELBO in the guide's parameters; the model stays as it is.

    Algorithm 1 of Kong et al. (2025), its inner loop. Every step draws from `noise`. The model's
    parameters are frozen meanwhile, so no gradient of theirs is computed or kept (unless
    `fast.leak`, as in the released code). A `kl_weight` other than 1, or `free_bits`, fit another
    objective than the ELBO (see `Objective`); the trace still records the ELBO's parts.

    Raises:
        NotFinite: if a site's log-probability is NaN or infinite, naming site and documents.
    """
    local = [p for p in guide.parameters() if p.requires_grad]
    records: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    rates: list[float] = []
    if local and fast.steps:
        optimizer = new_optimizer(fast.optimizer, local, fast.lr, fast.options)
    with torch.enable_grad(), nullcontext() if fast.leak else frozen(model):
        # With the weights fixed, what precedes the first look at z is the same in every step.
        fixed = model if fast.leak else functools.partial(model, prelude=model.read(batch))
        for step in range(fast.steps if local else 0):
            lr = cosine(step, fast.steps, fast.lr, fast.final)
            set_lr(optimizer, lr)
            with noise.draw():
                terms = elbo_terms(fixed, guide, batch, fast.particles)
            assert_finite(terms, f"a fast step ({step + 1} of {fast.steps})")
            optimizer.zero_grad()
            (-terms.objective(kl_weight, free_bits).mean(0).sum()).backward()
            gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in local]
            gradient_norm = _norm_by_document(gradients, len(batch))
            before = [p.detach().clone() for p in local]
            optimizer.step()
            moved = [p.detach() - old for p, old in zip(local, before, strict=True)]
            records.append(
                (
                    terms.log_likelihood.mean(0).detach(),
                    terms.kl.mean(0).detach(),
                    gradient_norm,
                    _norm_by_document(moved, len(batch)),
                )
            )
            rates.append(lr)
    if not records:
        none = torch.zeros(0, len(batch))
        return InnerLoop(none, none, none, none, torch.zeros(0))
    likelihoods, kls, norms, steps = (torch.stack(x) for x in zip(*records, strict=True))
    return InnerLoop(likelihoods, kls, norms, steps, torch.tensor(rates))


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """A block in which the module's parameters require no gradient."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _norm_by_document(values: list[Tensor], documents: int) -> Tensor:
    """Length of each document's part, (documents,); what documents share is left out."""
    squares = torch.zeros(documents, device=values[0].device)
    for value in values:
        if value.shape[:1] == (documents,):
            squares = squares + value.flatten(1).square().sum(1)
    return squares.sqrt()
