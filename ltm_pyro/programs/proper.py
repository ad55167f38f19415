"""Whether what a program samples has a density on the reals: without one nothing is a bound."""

import itertools
import math
from typing import Any

import pyro
import torch
from pyro.distributions import Delta, MaskedDistribution
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.programs.densities import Program, drawing, prior_of
from ltm_pyro.programs.handlers import is_enumerable
from ltm_pyro.programs.reading import traced
from ltm_pyro.programs.scores import is_discrete, sites
from ltm_pyro.programs.support import flat, is_real, support_of, unwrapped
from ltm_pyro.seeds import seeded

NEAR, FAR = 1e3, 1e5
"""How far out a density is looked at, in spreads of its draws."""
PARTICLES, SINGLE = 8, 8
"""Draws that it is looked at from, and single dimensions along which it is, chosen by lot."""


def check_prior_proper(model: Any, rows: Rows) -> None:
    """`check_proper` for a model's latent sites, on the first of the rows.

    Raises:
        InputError: naming the prior (or the model), its site and what is wrong.
    """
    prior = getattr(model, "prior", None)
    whose = type(model).__name__ if prior is None else f"prior {type(prior).__name__}"
    first = rows[:1].to(next(model.parameters()).device)
    check_proper(prior_of(model), first, whose)


@torch.no_grad()
def check_proper(program: Program, rows: Rows, whose: str, far: bool = True) -> None:
    """Look at the latent sites of a prior or a guide once.

    A density must be one, on the reals: no point mass, no mask, nothing discrete, no support that a
    guide on the reals would leave, and far from its own draws it must fall off faster than volume
    grows (von Mises and improper laws do not: they integrate to more than one). A constant that is
    wrong is not seen here, but by `ltm_pyro.testing.check_prior` and `check_guide`.

    Args:
        program: the prior or the guide.
        rows: what it is traced on.
        whose: what to call it in messages.
        far: whether to look far out; a flow may take long to invert.

    Raises:
        InputError: naming the site and what is wrong.
    """
    with seeded(0), pyro.get_param_store().scope(), _Declared() as declared:
        try:
            trace = traced(drawing(program, PARTICLES), rows, whose)
        except _Refused:
            raise InputError(f"{whose}: {declared.wrong}") from None
        for name, node in sites(trace).items():
            whole = not (node["is_observed"] or is_discrete(node))
            if far and whole and not _falls_off(node["fn"], node["value"]):
                kind = type(unwrapped(node["fn"])).__name__
                raise InputError(
                    f"{whose}: the density of site {name!r} ({kind}) does not fall off far from "
                    "its draws, so over the reals it integrates to more than one, and what is "
                    f"scored with it is no bound: {ANGLES if kind == 'VonMises' else PROPER}"
                )


PROPER = "expected a proper density on the reals"
ANGLES = (
    "return half as many angles from `Prior.distribution`, (layers, slots, dim / 2), each of which "
    "then stands for its cosine and sine"
)


class _Refused(Exception):
    """A site was refused; Pyro leaves the message of this exception alone."""


class _Declared(Messenger):
    """Judges latent sites by what their distributions say of themselves, before they are drawn."""

    wrong = ""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or isinstance(msg["fn"], _Subsample):
            return
        wrong = _wrong(msg["fn"])
        if wrong:
            self.wrong = f"site {msg['name']!r} {wrong}"
            raise _Refused


def _wrong(law: Any) -> str:
    inner = unwrapped(law)
    kind = type(inner).__name__
    if isinstance(inner, Delta):
        return "is a point (Delta), without density: no bound can be made of it"
    if _masked(law):
        return f"({kind}) is masked: with a part of its density left out it is none, and no bound"
    if kind == "ImproperUniform":
        return "(ImproperUniform) has no density that integrates to one: no bound can be made of it"
    support = flat(support_of(law))
    if support is None or is_real(support) or is_enumerable(law):
        return ""
    if support.is_discrete:
        return f"({kind}) has the discrete support {support}: thoughts and guides are real numbers"
    return (
        f"({kind}) has the support {support}, and guides live on the reals: sample it with "
        "`Prior.sample`, or return it from `Prior.distribution`, which carry it there"
    )


def _masked(law: Any) -> bool:
    while law is not None:
        if isinstance(law, MaskedDistribution):
            mask = law._mask
            return not (mask is True or (isinstance(mask, Tensor) and bool(mask.all())))
        law = getattr(law, "base_dist", None)
    return False


def _falls_off(law: Any, value: Tensor) -> bool:
    """Whether density times volume falls, along a line through all dimensions and single ones,
    either way.

    `value` has shape (particles, documents, *event).
    """
    event = value.dim() - 2
    spread = (value - value.mean(0)).abs().mean((0, 1)).clamp(min=1e-6)
    flat_spread = spread.flatten()
    size = flat_spread.numel()
    directions = torch.zeros(1 + min(SINGLE, size), size, dtype=value.dtype, device=value.device)
    directions[0] = torch.randn(size, dtype=value.dtype, device=value.device)
    for direction, place in zip(directions[1:], torch.randperm(size).tolist(), strict=False):
        direction[place] = 1.0
    for number, sign in itertools.product(range(len(directions)), (1, -1)):
        dimensions = 1 if number else size
        away = sign * directions[number] * flat_spread
        away = away.reshape((1, 1, *spread.shape[-event:]))
        try:
            near, far = (law.log_prob(value + t * away) for t in (NEAR, FAR))
        except ValueError:  # a number that left its support by rounding
            continue
        gain = (far - near + dimensions * math.log(FAR / NEAR))[torch.isfinite(near)]
        if len(gain) and bool((gain > -1e-2).any()):  # nan where it is not known
            return False
    return True
