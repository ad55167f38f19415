"""The protocol of the authors' released code, whole, to be compared with. It gives no bound."""

import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ltm_pyro.config import Config, Fast, Named, Slow
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.guides.mean_field import MeanField
from ltm_pyro.inference.dual_rate import DualRateSVI
from ltm_pyro.inference.local import new_guide
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import checked
from ltm_pyro.programs.densities import needs_thoughts
from ltm_pyro.programs.elbo import Finite, elbo_terms, frozen
from ltm_pyro.programs.reading import Sites, is_plain
from ltm_pyro.seeds import Noise

LOG_VARIANCE, SCATTER = -5.0, 0.1
"""Where the released code starts log variances, and with what standard deviation about it."""
RATE, FINAL = 0.34, 0.1
"""The fast rate of its figures (that of training's end), and the share of it that it falls to."""


@dataclass(frozen=True)
class FixedNoise(Fast):
    """A fast loop all of whose steps see one draw, and in training the slow step too.

    One of the two things in which the released code's loop differs, for ablations: the fit adapts
    to that draw, and what is scored with it is not a bound.
    """

    def draws(self, seed: int, keys: Tensor) -> Noise:
        """One draw for every step."""
        return Noise(seed, keys, fixed=True)


@dataclass(frozen=True)
class Leaking(Fast):
    """A fast loop that leaves the decoder's gradients where they are: the slow step descends them.

    The other thing: the slow gradient is its own and the sum of those of all fast steps.
    """

    leaks: ClassVar[bool] = True


@dataclass(frozen=True)
class Released(FixedNoise, Leaking):
    """The fast loop of the authors' released code (Kong et al. 2025).

    All steps of a fit see one draw, and in training so does the slow step: the fit adapts to that
    draw, and what is scored with it is not a bound. The decoder's gradients of the fast steps are
    left where they are, and the slow step descends their sum with its own.
    """

    @classmethod
    @checked
    def of(cls, config: Config) -> Config:
        """A configuration under the released protocol: its loop, and log variances from -5."""
        guide = Named("mean-field", {"log_variance": LOG_VARIANCE})
        return config.replace(guide=guide, fast=cls(config.fast.steps))

    @classmethod
    def svi(
        cls, model: TextModel, steps: int = 16, slow: Slow | None = None, seed: int = 0
    ) -> DualRateSVI:
        """Training of a model under the released protocol."""
        guide: Any = functools.partial(MeanField, log_variance=LOG_VARIANCE)
        return DualRateSVI(model, guide, cls(steps), slow, seed=seed)


released_protocol = Released.of
LOOPS: dict[str, type[Fast]] = {
    "released": Released,
    "fixed-noise": FixedNoise,
    "leaking": Leaking,
}
"""Loops that are no plain `Fast`, by the names that a saved configuration gives them."""


def released_fit(
    model: TextModel, rows: Rows, steps: int, noise: Noise, start: Noise, draws: int = 1
) -> MeanField:
    """The fit behind the released code's figures, whatever a run's own guide and loop are.

    Means start at zero and log variances near -5; AdamW, weight decay and all, takes `steps` steps
    at a rate that falls along a cosine, step s of T standing at s / T of it.

    Args:
        model, rows: the model and its text.
        steps: fast steps.
        noise: what every step draws; a fixed one, to be what the released code does.
        start: what scatters the log variances.
        draws: draws of z in a step.

    Raises:
        InputError: for a model without thoughts.
        NotFinite: for a site that becomes so.
    """
    needs_thoughts(model, ", which the released protocol fits")
    others = [s.name for s in Sites.of(model, rows) if s.kind != "observed" and not is_plain(s)]
    if others:
        raise InputError(
            f"the released protocol fits the thoughts z alone, and this model also samples "
            f"{', '.join(others)}: there is no such figure of it"
        )
    guide: Any = new_guide(model, functools.partial(MeanField, log_variance=LOG_VARIANCE), rows)
    with torch.no_grad(), start.tensors(dim=0):
        guide.log_variance += SCATTER * torch.randn_like(guide.log_variance)
    optimizer = torch.optim.AdamW([guide.loc, guide.log_variance], lr=RATE)
    with torch.enable_grad(), frozen(model), Finite() as seen:
        fixed = model.having_read(rows)
        for step in range(steps):
            fall = 0.5 * (1 + math.cos(math.pi * step / steps))
            optimizer.param_groups[0]["lr"] = RATE * (FINAL + (1 - FINAL) * fall)
            with noise.draw():
                terms = elbo_terms(fixed, guide, rows, draws)
            seen.add(terms, f"a fast step ({step + 1} of {steps})")
            optimizer.zero_grad()
            (-terms.elbo.mean(0).sum()).backward()
            optimizer.step()
    return guide
