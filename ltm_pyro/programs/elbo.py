"""The ELBO of each document, in its parts, from one pair of Pyro traces."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import kl_divergence

from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import NotFinite
from ltm_pyro.programs.densities import (
    Latents,
    Program,
    at,
    draw_latents,
    drawing,
    log_density,
    log_joint,
)
from ltm_pyro.programs.handlers import is_local, is_thoughts
from ltm_pyro.programs.scores import BESIDES, latent_sites, log_prob, of_particles, scores, sites


def weights_not_finite(module: nn.Module, of: str = "") -> Iterator[str]:
    """The names of a module's weights that are not finite, and of its buffers that have a NaN."""
    for name, parameter in module.named_parameters():
        if not torch.isfinite(parameter).all():
            yield f"{of}parameter {name}"
    for name, buffer in module.named_buffers():
        if torch.isnan(buffer).any():
            yield f"{of}buffer {name}"


def check_weights(*modules: nn.Module | None) -> None:
    """Raises NotFinite for a module whose weights nothing can be computed with."""
    for module in modules:
        wrong = None if module is None else next(weights_not_finite(module), None)
        if wrong is not None:
            raise NotFinite(
                f"{wrong} of {type(module).__name__} is not finite: load another checkpoint, or "
                "train it again with a lower rate"
            )


@dataclass(frozen=True)
class ElboTerms:
    """ELBO(x_d) = E_q[log p(x_d | z)] - KL(q(z) || p(z)), one draw of z a particle.

    `log_likelihood` has shape (particles, documents), `kl` the same for each latent site of a
    document, all in nats. `z` is what the model returned, with `LatentThoughtModel` the draw,
    (particles, documents, layers, slots, dim), or None.

    Attributes:
        by_site: the parts of `log_likelihood` that observed sites have, by their names.
        kl_shared: the KL of sites outside the plate of documents, by site, (particles,): one for
            all documents, and no part of `kl`.
    """

    log_likelihood: Tensor
    kl_by_site: dict[str, Tensor]
    z: Tensor | None
    by_site: dict[str, Tensor] = field(default_factory=dict)
    kl_shared: dict[str, Tensor] = field(default_factory=dict)

    @property
    def kl(self) -> Tensor:
        """KL summed over latent sites, (particles, documents)."""
        return sum(self.kl_by_site.values(), torch.zeros_like(self.log_likelihood))

    @property
    def elbo(self) -> Tensor:
        """(particles, documents), nats."""
        return self.log_likelihood - self.kl

    def objective(self, kl_weight: float = 1.0, free_bits: float = 0.0) -> Tensor:
        """What training ascends, (particles, documents); the ELBO at the default values.

        A document's KL below `free_bits` nats is charged as that much, so it has no gradient.
        """
        return self.log_likelihood - kl_weight * self.kl.clamp(min=free_bits)

    @staticmethod
    def concatenate(parts: list["ElboTerms"]) -> "ElboTerms":
        """The terms of several batches side by side, along documents."""
        return ElboTerms(
            torch.cat([part.log_likelihood for part in parts], 1),
            {s: torch.cat([p.kl_by_site[s] for p in parts], 1) for s in parts[0].kl_by_site},
            torch.cat([p.z for p in parts if p.z is not None], 1) if parts[0].z is not None
            else None,
            {s: torch.cat([p.by_site[s] for p in parts], 1) for s in parts[0].by_site},
            parts[0].kl_shared,
        )  # fmt: skip

    @staticmethod
    def stacked(parts: list["ElboTerms"]) -> "ElboTerms":
        """The terms of several sets of particles of one batch."""
        z = [part.z for part in parts if part.z is not None]
        first = parts[0]
        return ElboTerms(
            torch.cat([part.log_likelihood for part in parts]),
            {s: torch.cat([part.kl_by_site[s] for part in parts]) for s in first.kl_by_site},
            torch.cat(z) if z else None,
            {s: torch.cat([part.by_site[s] for part in parts]) for s in first.by_site},
            {s: torch.cat([part.kl_shared[s] for part in parts]) for s in first.kl_shared},
        )


def elbo_terms(
    model: Callable[[Rows], Tensor | None],
    guide: Callable[[Rows], Any],
    batch: Rows,
    particles: int = 1,
) -> ElboTerms:
    """One evaluation of the ELBO, differentiable in guide and model (reparameterised draws).

    A site's KL is analytic where torch knows it for the pair of distributions, else the draw's
    log q(z) - log p(z) (Kingma & Welling 2014, their estimators B and A), its gradient taken along
    the draw alone. Where one side has a site `z` and the other a site for each layer, it is the
    draw's, of all layers together. Discrete sites of the model are summed out (`programs.scores`).
    Draws come from torch's global generators: see `ltm_pyro.seeds`.
    """
    q_trace = poutine.trace(drawing(guide, particles)).get_trace(batch)
    q_sites = sites(q_trace)
    latents = {name: node["value"] for name, node in q_sites.items()}
    p_trace = poutine.trace(at(model, latents, particles)).get_trace(batch)
    p_sites = latent_sites(p_trace)
    # Site by site only where both go through their sites in the same order: then what a site of
    # the one is conditioned on is known to the other.
    same = list(q_sites) == list(p_sites)
    kls: dict[str, Any] = {
        name: _analytic(q_sites[name]["fn"], node["fn"]) for name, node in p_sites.items() if same
    }
    known = {name for name, kl in kls.items() if kl is not None}
    found = scores(p_trace, without=known)
    log_likelihood = torch.zeros(particles, len(batch), device=batch.tokens.device)
    for term in found.observed.values():
        log_likelihood = log_likelihood + term
    log_p = found.local | found.shared
    if not same or known < kls.keys():
        anew = torch.is_grad_enabled() and getattr(guide, "path_gradient", True)
        log_q = _along_the_draw(guide, latents, batch) if anew else _log_prob(q_sites)
        kls |= _together({n: x for n, x in log_q.items() if n not in known}, log_p)
        kls = {name: kl for name, kl in kls.items() if kl is not None}
    shared = {name for name in kls if name in p_sites and not is_local(p_sites[name])}
    return ElboTerms(
        log_likelihood,
        {name: kl for name, kl in kls.items() if name not in shared},
        p_trace.nodes["_RETURN"]["value"],
        found.observed,
        {name: of_particles(kls[name])[:, 0] for name in kls if name in shared},
    )


def _together(log_q: dict[str, Tensor], log_p: dict[str, Tensor]) -> dict[str, Any]:
    """log q - log p of sites that both sides have, and of all others in one.

    The others are the thoughts, or sites that the model joins (`programs.scores`).
    """
    both = log_q.keys() & log_p.keys()
    kls: dict[str, Any] = {name: log_q[name] - log_p[name] for name in log_p if name in both}
    left = [[x for name, x in side.items() if name not in both] for side in (log_q, log_p)]
    if any(left):
        names = [name for name in log_p if name not in both]
        kls["z" if all(map(is_thoughts, names)) else "+".join(names)] = sum(left[0]) - sum(left[1])
    return kls


@dataclass(frozen=True)
class ImportanceTerms(ElboTerms):
    """The same parts, a draw of z a particle, for log (1/K) sum_k p(x, z_k) / q(z_k).

    The KL is each draw's own log q(z) - log p(z), so the parts are still those of the ELBO.
    """

    def objective(self, kl_weight: float = 1.0, free_bits: float = 0.0) -> Tensor:
        """The importance-weighted bound of all particles, (1, documents) (Burda et al. 2016).

        Its gradient in the model is that of the draws, each by its share of the weights. A KL's
        weight is a power of p(z) / q(z), and no nat of it is free.
        """
        log_w = self.log_likelihood - kl_weight * self.kl
        return torch.logsumexp(log_w, 0, keepdim=True) - math.log(len(log_w))


def bound_terms(model: Program, guide: Program, batch: Rows, importance: int = 1) -> ElboTerms:
    """The terms of the ELBO, or of the importance-weighted bound of that many draws.

    The latter is differentiable in the model alone. Without latents both are the likelihood.
    """
    if importance > 1:
        with torch.no_grad():
            latents = draw_latents(guide, batch, importance)
        if latents:
            with torch.no_grad():
                log_q = log_density(guide, latents, batch)
            log_p, log_likelihood = log_joint(model, latents, batch)
            return ImportanceTerms(log_likelihood, {"z": log_q - log_p}, None)
    return elbo_terms(model, guide, batch)


class Finite:
    """A block that ends in NotFinite if the terms of any of its steps hold a NaN or infinity.

    It looks at its end, all steps at once: to look after each would be to wait for the device.
    Whatever else a NaN may have broken by then gives way to it.
    """

    def __init__(self) -> None:
        self.steps: list[tuple[str, list[str], Tensor]] = []

    def add(self, terms: ElboTerms, where: str) -> None:
        """Keep in mind which documents' terms are finite."""
        observed = terms.by_site if len(terms.by_site) > 1 else {"tokens": terms.log_likelihood}
        values = {**observed, **terms.kl_by_site}
        finite = torch.stack([torch.isfinite(value).all(0) for value in values.values()])
        self.steps.append((where, list(values), finite))

    def __enter__(self) -> "Finite":
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """Raises NotFinite naming the first step, the site and its documents."""
        if kind is not None and not issubclass(kind, Exception):
            return
        if not self.steps or torch.stack([finite.all() for _, _, finite in self.steps]).all():
            return
        for where, names, finite in self.steps:
            for name, good in zip(names, finite.tolist(), strict=True):
                bad = [row for row, fine in enumerate(good) if not fine]
                if bad:
                    raise NotFinite(f"site {name!r} is not finite for rows {bad[:8]} of {where}")


def assert_finite(terms: ElboTerms, where: str) -> None:
    """Raises NotFinite naming the site that holds a NaN or infinity, and its documents."""
    with Finite() as seen:
        seen.add(terms, where)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """A block in which the module's parameters require no gradient."""
    trained = [p for p in module.parameters() if p.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _analytic(q: Any, p: Any) -> Tensor | None:
    """The KL where torch knows it, of a site that depends on no enumerated one."""
    if len(p.batch_shape) > BESIDES:
        return None
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def _log_prob(nodes: dict[str, Any]) -> dict[str, Tensor]:
    """Of each site, summed over its own plates where it stands outside the documents'."""
    return {
        name: log_prob(node) if is_local(node) else of_particles(log_prob(node))
        for name, node in nodes.items()
    }


def _along_the_draw(guide: Program, latents: Latents, batch: Rows) -> dict[str, Tensor]:
    """log q of each site at the guide's own draws, without its gradient at a fixed draw.

    That part is zero in expectation and only adds noise: with it left out, the ELBO's gradient has
    none where q is the posterior ("sticking the landing", Roeder et al. 2017).
    """
    with ExitStack() as stack:
        for module in (guide, getattr(guide, "shared", None)):
            if isinstance(module, nn.Module):
                stack.enter_context(frozen(module))
        return _log_prob(sites(poutine.trace(at(guide, latents)).get_trace(batch)))
