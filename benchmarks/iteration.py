"""One training iteration, ours against plain torch, and against our kernels without Pyro."""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.shapes import Shape
from benchmarks.timing import compare
from benchmarks.utilisation import count
from ltm_pyro.config import Fast, Slow, Warm
from ltm_pyro.data.rows import Rows
from ltm_pyro.experiments.base import DEVICE
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.schedule import cosine, set_lr
from ltm_pyro.models.likelihood import TokenSequence


def variants(shape: Shape) -> dict[str, tuple[Fast, Slow, Warm | None]]:
    """The same mathematics; each thing that makes it cheaper, alone; together; and the least."""
    fast, slow = shape.fast, shape.config.slow
    quick = Fast.quick(min(Fast.quick().steps, fast.steps))
    low = {"precision": "bf16", "compile": DEVICE == "cuda"}  # no gain on the CPU
    return {
        "iteration_exact": (fast, slow, None),
        "iteration_tokens": (dataclasses.replace(fast, tokens=0.25), slow, None),
        "iteration_default": (quick, slow, None),
        "iteration_bf16": (
            dataclasses.replace(fast, precision="bf16"),
            dataclasses.replace(slow, precision="bf16"),
            None,
        ),
        "iteration_everything": (
            dataclasses.replace(quick, **low),
            dataclasses.replace(slow, **low),
            None,
        ),
        "iteration_joint": (quick, slow, Warm(0, lr=1.0)),
    }


def against_plain(shape: Shape) -> dict[str, Any]:
    """The yardstick's time over each variant's.

    `operations` is what it would be if all time went into matrix products, at the same speed.
    """
    rows, plain = shape.rows().to(DEVICE), shape.plain()
    ours = {name: shape.ours(*parts) for name, parts in variants(shape).items()}
    ours["iteration_joint"].remember(rows)
    runs = {name: lambda svi=svi: svi.step(rows) for name, svi in ours.items()}
    found = compare(lambda: plain.step(rows.tokens, rows.lengths), runs, shape.repeats, shape.warm)
    whole = count(lambda: plain.step(rows.tokens, rows.lengths))
    return {
        name: {**ratio.report(), "operations": whole / count(runs[name])}
        for name, ratio in found.items()
    }


def pyro_overhead(shape: Shape) -> dict[str, Any]:
    """Our iteration's time over that of the same kernels in a loop by hand, less one."""
    rows = shape.rows().to(DEVICE)
    fast = dataclasses.replace(shape.fast, steps=min(4, shape.fast.steps))
    svi, direct = shape.ours(fast), Direct(shape.ours(fast))
    found = compare(lambda: svi.step(rows), {"direct": lambda: direct.step(rows)}, 5, warm=1)
    ratio = found["direct"].report()
    for name in ("median", "low", "high"):
        ratio[name] -= 1
    return ratio


class Direct:
    """What `DualRateSVI.step` computes for a mean-field guide and a normal prior, without Pyro."""

    def __init__(self, svi: DualRateSVI):
        self.svi, self.decoder = svi, svi.model.decoder

    def elbo(self, rows: Rows, mean: Tensor, log_variance: Tensor, prelude: Any = None) -> Tensor:
        """The ELBO of each document, (documents,), nats."""
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        likelihood = TokenSequence(self.decoder, z, rows.lengths, rows.tokens.shape[1], prelude)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
        return likelihood.log_prob(rows.tokens) - kl.flatten(1).sum(1)

    def step(self, rows: Rows) -> None:
        """One iteration."""
        fast, slow, model = self.svi.fast, self.svi.slow, self.svi.model
        weights = list(model.parameters())
        self.svi.optimizer.zero_grad(set_to_none=True)
        shape = (len(rows), *model.thoughts.shape)  # type: ignore[misc, union-attr]
        mean = torch.zeros(shape, device=DEVICE, requires_grad=True)
        log_variance = torch.zeros(shape, device=DEVICE, requires_grad=True)
        local = torch.optim.Adam([mean, log_variance], lr=fast.lr)
        model.requires_grad_(False)
        prelude = model.read(rows)
        for i in range(fast.steps):
            set_lr(local, cosine(i, fast.steps, fast.lr, fast.final))
            local.zero_grad()
            (-self.elbo(rows, mean, log_variance, prelude).sum()).backward()
            local.step()
        model.requires_grad_(True)
        elbo = self.elbo(rows, mean.detach(), log_variance.detach())
        (-elbo.sum() / rows.token_count).backward()
        nn.utils.clip_grad_norm_(weights, slow.clip)
        self.svi.optimizer.step()
