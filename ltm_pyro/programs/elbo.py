"""The ELBO of each document, in its parts, from one pair of Pyro traces."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
    joined,
    log_density,
    log_joint,
    needs_thoughts,
    sites,
    with_particles,
)


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

    `log_likelihood` has shape (particles, documents), `kl` the same for each latent site, all in
    nats. `z` is the draw, (particles, documents, layers, slots, dim), or None.
    """

    log_likelihood: Tensor
    kl_by_site: dict[str, Tensor]
    z: Tensor | None

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
        )  # fmt: skip


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
    draw's, of all layers together. Draws come from torch's global generators: see `ltm_pyro.seeds`.
    """
    q_trace = poutine.trace(with_particles(guide, particles)).get_trace(batch)
    q_sites = sites(q_trace)
    latents = {name: node["value"] for name, node in q_sites.items()}
    p_trace = poutine.trace(at(model, latents, particles)).get_trace(batch)
    p_sites = {n: node for n, node in sites(p_trace).items() if not node["is_observed"]}
    log_likelihood = torch.zeros(particles, len(batch), device=batch.tokens.device)
    for node in sites(p_trace).values():
        if node["is_observed"]:
            log_likelihood = log_likelihood + node["fn"].log_prob(node["value"])
    # Site by site only where both go through their sites in the same order: then what a site of
    # the one is conditioned on is known to the other.
    same = list(q_sites) == list(p_sites)
    kl_by_site: dict[str, Any] = {
        name: _analytic(q_sites[name]["fn"], node["fn"]) for name, node in p_sites.items() if same
    }
    if not same or any(kl is None for kl in kl_by_site.values()):
        anew = torch.is_grad_enabled() and getattr(guide, "path_gradient", True)
        log_q = _along_the_draw(guide, latents, batch) if anew else _log_prob(q_sites)
        log_p = _log_prob(p_sites)
        if same:
            kl_by_site = {s: log_q[s] - log_p[s] if kl is None else kl
                          for s, kl in kl_by_site.items()}  # fmt: skip
        else:
            kl_by_site = {"z": sum(log_q.values()) - sum(log_p.values())}
    return ElboTerms(log_likelihood, kl_by_site, p_trace.nodes["_RETURN"]["value"])


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


def sample_thoughts(
    model: Callable[[Rows], Tensor | None], guide: Callable[[Rows], Any], batch: Rows, draws: int
) -> Tensor:
    """Draws of z from a guide, shape (draws, documents, layers, slots, dim).

    Raises:
        InputError: if the model has no thoughts.
    """
    needs_thoughts(model, " to sample")

    return joined(model, draw_latents(guide, batch, draws), batch)


class Finite:
    """A block that ends in NotFinite if the terms of any of its steps hold a NaN or infinity.

    It looks at its end, all steps at once: to look after each would be to wait for the device.
    Whatever else a NaN may have broken by then gives way to it.
    """

    def __init__(self) -> None:
        self.steps: list[tuple[str, list[str], Tensor]] = []

    def add(self, terms: ElboTerms, where: str) -> None:
        """Keep in mind which documents' terms are finite."""
        values = {"tokens": terms.log_likelihood, **terms.kl_by_site}
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
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _analytic(q: Any, p: Any) -> Tensor | None:
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def _log_prob(nodes: dict[str, Any]) -> dict[str, Tensor]:
    return {name: node["fn"].log_prob(node["value"]) for name, node in nodes.items()}


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
