"""The two rates at which a model learns, and what they ascend."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor

from ltm_pyro.errors import InputError
from ltm_pyro.options import (
    Count,
    Fraction,
    NotNegative,
    Positive,
    Whole,
    check_optimizer,
    take_fields,
)
from ltm_pyro.seeds import Noise


@dataclass(frozen=True)
class Fast:
    """The fast loop: `steps` gradient steps on the local variational parameters of a batch.

    The rate falls along a cosine from `lr` to `lr * final`. `optimizer` names a `torch.optim` class
    (from Python, any callable from parameters and lr to an optimizer). `tokens` is the share of a
    document's tokens that a step scores, another draw each step, scaled so that the gradient stays
    unbiased; figures are always of all tokens. `precision` is that of the decoder's linear layers
    and head; log-probabilities and figures are fp32. `compile` (its layers) and `recompute` (them
    again in the backward pass) change speed and memory alone. The released code's loop is a class
    of its own, `ltm_pyro.inference.released.Released`.

    `antithetic` pairs the `particles`, the draws of z a step: what is normal in the noise of one
    has the other sign in its partner's. About a straight log-density the pair's errors cancel; each
    is a draw of q all the same. Of an odd number one stands alone.
    """

    leaks: ClassVar[bool] = False
    """Whether decoder gradients of training's fast steps are left for the slow step."""

    steps: Whole = 16
    lr: NotNegative = 0.3
    final: NotNegative = 0.1
    particles: Count = 1
    antithetic: bool = False
    tokens: Fraction = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    recompute: bool = False
    optimizer: Any = "Adam"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        take_fields(self)
        check_optimizer("fast.optimizer", self.optimizer)
        if self.antithetic and self.particles == 1:
            raise InputError(
                "fast.antithetic pairs draws, of which fast.particles has 1: expected 2 or more"
            )

    def draws(self, seed: int, keys: Tensor) -> Noise:
        """What a fit of the rows with these keys draws: something else at every step."""
        return Noise(seed, keys)

    def changed(
        self,
        steps: int | None = None,
        particles: int | None = None,
        antithetic: bool | None = None,
    ) -> "Fast":
        """With other steps and draws a step, where they are given.

        Of one draw that was not asked to be paired, none is.
        """
        draws = self.particles if particles is None else particles
        paired = self.antithetic and draws > 1 if antithetic is None else antithetic
        steps = self.steps if steps is None else steps
        return dataclasses.replace(self, steps=steps, particles=draws, antithetic=paired)

    @classmethod
    def quick(cls, steps: int = 4) -> "Fast":
        """A few natural-gradient steps of a Gaussian guide, the first as long as Newton's.

        Whether the bound is as low is measured: `same_bound`, `fast_steps` of `experiments`.
        """
        return cls(steps=steps, lr=1.0, optimizer="NaturalGradient")


@dataclass(frozen=True)
class Slow:
    """The slow step: `steps` gradient steps on the decoder (and a learned prior) for each batch.

    The rate rises linearly over `warmup` iterations, then falls along a cosine to `lr * final`. A
    `warmup` that is not given follows training: a tenth of it, at most 1,000 iterations.
    Gradients are of nats per token, clipped to norm `clip`; `accumulate` cuts a batch into that
    many parts whose gradients are summed. `precision`, `compile` and `recompute` are as in `Fast`;
    the weights are fp32. `decay` is weight decay on matrices; AdamW's betas are 0.9 and 0.95, as in
    the paper, unless `options` says otherwise. With `importance` K above 1 the step ascends the
    bound that `iwae:K` reports. `shared_lr` is the rate of what guides share, without decay,
    `thoughts_lr` that of weights that read thoughts (`Decoder.hearing`); `lr` if not given. If
    it is `sharded` a process has the optimizer's state of its part of each matrix alone.
    """

    steps: Count = 1
    lr: NotNegative = 4e-4
    final: NotNegative = 0.1
    warmup: Whole | None = None
    clip: Positive = 1.0
    accumulate: Count = 1
    importance: Count = 1
    decay: NotNegative = 0.1
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    recompute: bool = False
    optimizer: Any = "AdamW"
    options: Mapping[str, Any] = field(default_factory=dict)
    shared_lr: NotNegative | None = None
    thoughts_lr: NotNegative | None = None
    sharded: bool = False

    def __post_init__(self) -> None:
        take_fields(self)
        check_optimizer("slow.optimizer", self.optimizer, self.sharded)


@dataclass(frozen=True)
class Warm:
    """A warm start: a document's fast loop begins where it ended an epoch before, not at the prior.

    A visit in training takes `steps` fast steps; held-out text starts at the prior, with
    `Fast.steps`. With `lr` above 0 the slow step's backward pass also moves local parameters, at
    that rate, by the fast loop's optimizer: a fast step at no cost.
    """

    steps: Whole
    lr: NotNegative = 0.0

    def __post_init__(self) -> None:
        take_fields(self)


@dataclass(frozen=True)
class Objective:
    """What training ascends: E_q[log p(x | z)] - weight * KL(q || p), in both loops.

    The weight rises linearly from `start` to `beta` over the first `warmup` (a fraction, 0 to 1)
    of training; a start below 1 lets thoughts be useful before they are paid for. The first
    `free_bits` (nats, of each row) of the KL are not charged (Kingma et al. 2016). Logs and figures
    give the ELBO itself, whatever is set here.
    """

    start: NotNegative = 1.0
    warmup: NotNegative = 0.0
    beta: NotNegative = 1.0
    free_bits: NotNegative = 0.0

    def __post_init__(self) -> None:
        take_fields(self)
        if self.warmup > 1:
            raise InputError(
                f"objective.warmup is {self.warmup}: a fraction of training, at most 1; a warm-up "
                "that outlasts training leaves a model that was never trained on the ELBO"
            )

    def weight(self, step: int, total: int | None) -> float:
        """The KL's weight at a step (from 0) of `total`; `beta` where the total is not known."""
        if total is None or step >= self.warmup * total:
            return self.beta
        return self.start + (self.beta - self.start) * step / (self.warmup * total)
