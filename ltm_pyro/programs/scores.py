"""What a trace says of its documents: log densities of latent sites, likelihoods of observed ones.

Discrete sites, whose values stand along dimensions left of particles and documents, are summed out
exactly, for each document by itself::

    log p(z) = log sum_k p(k) p(z | k),    log p(x | z) = log sum_k p(k, z) p(x | z, k) - log p(z)
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import Unit
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from ltm_pyro.errors import InputError
from ltm_pyro.programs.handlers import is_enumerable, is_local

BESIDES = 2
"""Dimensions of a log density: particles and documents. More are of enumerated values."""


@dataclass(frozen=True)
class Scores:
    """Log densities of a trace's sites, nats.

    Attributes:
        local: of each latent site in the plate of documents, (particles, documents). Sites that
            depend on a discrete one stand together, under their names joined by `+`.
        shared: of each latent site outside it, (particles, 1).
        observed: of each observed site given those before it, (particles, documents).
    """

    local: dict[str, Tensor]
    shared: dict[str, Tensor]
    observed: dict[str, Tensor]


def sites(trace: Any) -> dict[str, Any]:
    """The sample sites of a trace; plates and deterministic values are left out."""
    return {
        name: node
        for name, node in trace.nodes.items()
        if node["type"] == "sample"
        and not isinstance(node["fn"], _Subsample)
        and "_deterministic" not in node["infer"]
    }


def latent_sites(trace: Any) -> dict[str, Any]:
    """Those of a trace's sites that a guide covers: neither observed, nor discrete."""
    return {
        name: node
        for name, node in sites(trace).items()
        if not (node["is_observed"] or is_discrete(node))
    }


def scores(trace: Any, without: Collection[str] = ()) -> Scores:
    """The log densities of a trace's sites.

    Args:
        trace: of a program in a plate of particles.
        without: latent sites to leave out, none of which depends on a discrete one.

    Raises:
        InputError: for a site that is scaled, a latent one that is masked, or a factor.
    """
    nodes = sites(trace)
    terms = {name: log_prob(node) for name, node in nodes.items() if name not in without}
    if all(term.dim() <= BESIDES for term in terms.values()):
        return _sorted(nodes, terms)
    own, coupled, names = dict[str, Tensor](), list[Tensor](), list[str]()
    observed = {name: term for name, term in terms.items() if nodes[name]["is_observed"]}
    for name, term in terms.items():
        if name in observed:
            continue
        if term.dim() <= BESIDES and not is_discrete(nodes[name]):
            own[name] = term
            continue
        coupled.append(term)
        if not is_discrete(nodes[name]):
            names.append(name)
    before = _summed_out(coupled)
    if names:
        together = "+".join(names)
        own[together], nodes = before, {**nodes, together: nodes[names[0]]}
    for name, term in observed.items():
        if term.dim() <= BESIDES:
            own[name] = term
            continue
        coupled.append(term)
        so_far = _summed_out(coupled)
        own[name], before = so_far - before, so_far
    return _sorted(nodes, own)


def _sorted(nodes: dict[str, Any], terms: dict[str, Tensor]) -> Scores:
    found = Scores({}, {}, {})
    for name, term in terms.items():
        node = nodes[name]
        if node["is_observed"]:
            found.observed[name] = term
        elif is_local(node):
            found.local[name] = term
        else:
            found.shared[name] = of_particles(term)
    return found


def of_particles(term: Tensor) -> Tensor:
    """The log density of a site outside the plate of documents, its own plates summed over.

    (particles, ...) -> (particles, 1).
    """
    return term.reshape(len(term), -1).sum(1, keepdim=True) if term.dim() > 1 else term


def log_prob(node: Any) -> Tensor:
    """The log density of a site, batch shape; values that are masked as missing count nothing."""
    if node["scale"] is not None and not _is_one(node["scale"]):
        raise InputError(
            f"site {node['name']!r} is scaled (poutine.scale, or a plate with a subsample): what "
            "is scored with it is no likelihood. Give the KL a weight with Objective(beta=...), "
            "and rows to fit in batches"
        )
    if isinstance(node["fn"], Unit):
        raise InputError(
            f"site {node['name']!r} is a factor: it adds to the log density what is no part of a "
            "likelihood; observe a site in place of it"
        )
    value: Tensor = node["fn"].log_prob(node["value"])
    mask = node["mask"]
    if mask is None or mask is True:
        return value
    if node["is_observed"]:
        return torch.where(torch.as_tensor(mask, device=value.device), value, value.new_zeros(()))
    if is_discrete(node) and isinstance(mask, Tensor):
        return value  # where its value is known nothing depends on these, which sum to one
    raise InputError(
        f"latent site {node['name']!r} is masked (poutine.mask, or obs_mask): with a part of its "
        "density left out it is none, and what is scored with it no bound. A missing value of an "
        "observed site is left out with poutine.mask around that site; obs_mask is for discrete "
        "sites, whose missing values are summed out"
    )


def over_values(trace: Any, by_token: Tensor) -> Tensor:
    """Log-probabilities of tokens that may depend on discrete sites, those summed out.

    log p(x_n | z, x_<n) is the difference of log p(x_<=n | z) and log p(x_<n | z), each a sum over
    the values.

    Args:
        trace: of a model at given latents.
        by_token: (values, ..., particles, documents, tokens), as `tokens` depends on them.
    """
    if by_token.dim() <= BESIDES + 1:
        return by_token
    nodes = [node for node in sites(trace).values() if not node["is_observed"]]
    coupled = [log_prob(node) for node in nodes if is_discrete(node)]
    coupled += [x for node in nodes if not is_discrete(node) and (x := log_prob(node)).dim() > 2]
    before = _summed_out(coupled)[..., None]
    total = sum(coupled)[..., None] + by_token.cumsum(-1)  # type: ignore[index]
    while total.dim() > BESIDES + 1:
        total = total.logsumexp(0)
    return total.diff(dim=-1, prepend=before.expand_as(total[..., :1]))


def draw_discrete(trace: Any, uniform: Tensor) -> dict[str, Tensor]:
    """Values of a trace's enumerated sites, drawn given all else: (particles, documents) each.

    Args:
        trace: of a model at given latents, in which discrete sites have all their values.
        uniform: of [0, 1), (particles, documents).
    """
    nodes = sites(trace)
    discrete = [name for name, node in nodes.items() if is_discrete(node)]
    if not discrete:
        return {}
    total: Any = sum(log_prob(node) for node in nodes.values())
    shape = total.shape[: total.dim() - BESIDES]
    share = total.reshape(-1, *total.shape[-BESIDES:]).softmax(0).cumsum(0)
    place = (share <= uniform * share[-1]).sum(0).clamp(max=len(share) - 1)
    found = {}
    for dim, name in enumerate(reversed(discrete)):  # the last site stands in the first dimension
        after = math.prod(shape[dim + 1 :])
        found[name] = nodes[name]["value"].flatten()[place // after % shape[dim]]
    return {name: found[name] for name in discrete}


def is_discrete(node: Any) -> bool:
    """Whether a latent site is one that is enumerated."""
    return not node["is_observed"] and is_enumerable(node["fn"])


def _is_one(scale: Any) -> bool:
    return bool((scale == 1).all()) if isinstance(scale, Tensor) else scale == 1


def _summed_out(terms: list[Tensor]) -> Tensor:
    """log sum over all enumerated values of exp of the sum of terms: (particles, documents)."""
    total: Any = sum(terms)
    while total.dim() > BESIDES:
        total = total.logsumexp(0)
    return total
