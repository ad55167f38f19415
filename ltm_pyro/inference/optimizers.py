"""Optimizers: what takes the steps of the fast loop, and of the slow step.

One is made for every batch, as `make(parameters, lr=..., **options)`, and steps after each gradient
of the negative ELBO, summed over documents. Any class of `torch.optim` is one, by name; so are
those below, and `package.module:callable`.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ltm_pyro.config import Fast, Slow
from ltm_pyro.errors import InputError, first_line
from ltm_pyro.guides import Guide
from ltm_pyro.inference.shards import Shards
from ltm_pyro.names import new_optimizer
from ltm_pyro.options import shown

PAPER_OPTIONS: dict[Any, dict[str, Any]] = {"AdamW": {"betas": (0.9, 0.95)}}
"""Options of the slow optimizer where the paper's differ from torch's."""
IMPLEMENTATIONS = {"foreach", "fused", "differentiable", "capturable"}
"""Options of AdamW that say how it is computed; without any it is fused, in one pass."""
LEAST_WEIGHT = 0.01
"""A KL weighted by less leaves nothing to step towards: a natural gradient takes it for this."""


class NaturalGradient(torch.optim.SGD):
    """Steps along the natural gradient, F^-1 times the plain one (Amari 1998; Salimbeni 2018).

    F is the Fisher information of q, so a step does not depend on how q is parameterised. For
    Gaussian guides, which know their F (`Guide.natural_gradient`). Where a document's step would
    change q by more than `reach` nats, it is shortened: the KL between q before and after a short
    step is half its squared length under F, so one bound serves 16 dimensions and 12,000.

    A step of rate 1 on a Gaussian likelihood lands on the posterior. Where the KL has a weight in
    the objective, it would go that fraction of the way alone, so it is divided by the weight.

    Args:
        parameters: of the guide.
        lr: step size, at most 1.
        guide: the guide.
        reach: radius of the trust region: the longest step of a document, nats of KL.
        kl_weight: weight of the KL in what is ascended, above 0.
        options: of `torch.optim.SGD`, such as momentum.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        guide: Guide,
        reach: float = 2.0,
        kl_weight: float = 1.0,
        **options: Any,
    ):
        if not guide.has_natural_gradient:
            whose = type(guide.innermost).__name__
            raise InputError(
                f"NaturalGradient needs a guide that knows its Fisher information; {whose} does "
                "not: choose MeanField, or Adam"
            )
        super().__init__(parameters, lr=lr, **options)
        self.guide, self.reach, self.kl_weight = guide, reach, max(kl_weight, LEAST_WEIGHT)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step."""
        group = self.param_groups[0]
        plain = [p.grad.clone() for p in group["params"]]
        self.guide.natural_gradient()
        pairs = list(zip(plain, group["params"], strict=True))
        squares = torch.stack([(g * p.grad).reshape(len(g), -1).sum(1) for g, p in pairs]).sum(0)
        length = group["lr"] * squares.clamp(min=1e-12).sqrt() / self.kl_weight  # (documents,)
        scale = ((2 * self.reach) ** 0.5 / length).clamp(max=1) / self.kl_weight
        for _, p in pairs:
            p.grad *= scale.reshape(-1, *[1] * (p.dim() - 1))
        return super().step(closure)


class Langevin(torch.optim.Optimizer):
    """Unadjusted Langevin steps: p <- p - lr * gradient + sqrt(2 lr) * noise (Parisi 1981).

    With the guide `Point` this draws from p(z | x), up to the error of its step size: the paper's
    ablation (Kong et al. 2025). `temperature` scales the noise's variance.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, temperature: float = 1.0):
        super().__init__(parameters, {"lr": lr, "temperature": temperature})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; noise from torch's global generator."""
        for group in self.param_groups:
            scale = (2 * group["lr"] * group["temperature"]) ** 0.5
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(-group["lr"] * p.grad + scale * torch.randn_like(p))


def draws_nothing(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its steps are known to need no randomness; streams cost time at every operation."""
    if type(optimizer) is NaturalGradient:  # its guide takes part
        return type(optimizer.guide.innermost).__module__.startswith("ltm_pyro.")
    return type(optimizer).__module__.startswith("torch.optim.")


def take_step(optimizer: torch.optim.Optimizer, named: Any) -> None:
    """One step.

    Args:
        optimizer: what takes it.
        named: what the user knows it by.

    Raises:
        InputError: if the optimizer cannot take it, as one of sparse gradients.
    """
    try:
        optimizer.step()
    except InputError:
        raise
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except (RuntimeError, TypeError, ValueError, AssertionError, LookupError) as error:
        raise InputError(
            f"optimizer {named if isinstance(named, str) else shown(named)} takes no step here: "
            f"{first_line(error)}"
        ) from error


def slow_groups(model: nn.Module, shared: nn.Module | None, slow: Slow) -> list[dict[str, Any]]:
    """What the slow step trains, in groups: matrices, which decay, and all others.

    Weights that read thoughts stand apart where these have a rate of their own (`thoughts_lr`).
    What guides share stands apart where it has a rate of its own, `base`, or where it is a guide of
    sites (`undecayed`), which weight decay would pull away from the posterior.
    """
    apart: list[Tensor] = []
    together = [*model.parameters(), *(shared.parameters() if shared is not None else ())]
    if shared is not None and (slow.shared_lr is not None or hasattr(shared, "undecayed")):
        apart = [p for p in shared.parameters() if p.requires_grad]
        together = list(model.parameters())
    trained = [p for p in together if p.requires_grad]
    decoder: Any = getattr(model, "decoder", None)
    hearing = () if slow.thoughts_lr is None else decoder.hearing()
    heard = [p for p in trained if any(p is one for one in hearing)]
    trained = [p for p in trained if not any(p is one for one in hearing)]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": slow.decay}
    ]
    others = [p for p in trained if p.dim() < 2]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    for some, decay in (([p for p in heard if p.dim() >= 2], slow.decay),
                        ([p for p in heard if p.dim() < 2], 0.0)):  # fmt: skip
        if some:
            groups.append({"params": some, "weight_decay": decay, "base": slow.thoughts_lr})
    if apart:
        base = slow.lr if slow.shared_lr is None else slow.shared_lr
        groups.append({"params": apart, "weight_decay": 0.0, "base": base})
    return groups


def slow_optimizer(
    model: nn.Module, shared: nn.Module | None, slow: Slow, shards: Shards | None = None
) -> torch.optim.Optimizer:
    """The optimizer of the slow step, as `slow` names it; of `shards` where it is shared out."""
    groups = slow_groups(model, shared, slow)
    if shards is not None:
        groups = shards.groups(groups)
    options = {**PAPER_OPTIONS.get(slow.optimizer, {}), **slow.options}
    if slow.optimizer == "AdamW" and not IMPLEMENTATIONS & set(options):
        options["fused"] = True
    try_optimizer(slow.optimizer, slow.lr, options, next(model.parameters()).device)
    return new_optimizer(slow.optimizer, groups, slow.lr, options)


def try_optimizer(
    optimizer: Any, lr: float, options: Mapping[str, Any], device: torch.device
) -> None:
    """Raises InputError if an optimizer with these options cannot take a step."""
    matrix = torch.zeros(2, 2, device=device, requires_grad=True)
    matrix.grad = torch.zeros_like(matrix)
    take_step(new_optimizer(optimizer, [{"params": [matrix]}], lr, options), optimizer)


OPTIMIZERS: dict[str, Any] = {"NaturalGradient": NaturalGradient, "Langevin": Langevin}


def local_optimizer(
    fast: Fast, guide: Guide, parameters: Sequence[Tensor], kl_weight: float = 1.0
) -> torch.optim.Optimizer:
    """A new optimizer of a guide's parameters, as `fast` names it.

    One that has arguments called `guide` or `kl_weight` gets them.

    Raises:
        InputError: for a name or options that are not known, or a guide it cannot serve.
    """
    optimizer, options = fast.optimizer, dict(fast.options)
    optimizer = OPTIMIZERS.get(optimizer, optimizer) if isinstance(optimizer, str) else optimizer
    if inspect.isclass(optimizer):
        known = {"guide": guide, "kl_weight": kl_weight}
        wanted = inspect.signature(optimizer).parameters
        options |= {name: value for name, value in known.items() if name in wanted}
    return new_optimizer(optimizer, parameters, fast.lr, options, also=OPTIMIZERS)
