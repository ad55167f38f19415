"""Learning rates as functions of the step, so that nothing needs to be saved to resume one."""

import math

import torch

from ltm_pyro.config import Slow


def cosine(step: int, total: int, lr: float, final: float = 0.1, warmup: int = 0) -> float:
    """Linear rise to `lr` over `warmup` steps, then a cosine fall to `lr * final` at the last."""
    if step < warmup:
        return lr * (step + 1) / warmup
    span = max(1, total - 1 - warmup)
    phase = min(1.0, (step - warmup) / span)
    return lr * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * phase)))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give all parameters of an optimizer this rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def slow_rate(slow: Slow, step: int, total: int | None, base: float | None = None) -> float:
    """The slow step's rate in an iteration; `base` is the rate that it falls from, if another."""
    base = slow.lr if base is None else base
    warmup = warmup_of(slow, total)
    if total is None:
        return base * min(1.0, (step + 1) / max(1, warmup))
    return cosine(step, total, base, slow.final, warmup)


def warmup_of(slow: Slow, total: int | None) -> int:
    """Iterations over which the slow rate rises, of `total`; 100 where nothing says how many."""
    if slow.warmup is not None:
        return slow.warmup
    return 100 if total is None else min(1000, -(-total // 10))
