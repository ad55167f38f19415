"""The ELBO of each document, in its parts, from one pair of Pyro traces."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor
from torch.distributions import kl_divergence

from ltm_pyro.data.rows import Rows
from ltm_pyro.densities import prior_of, with_particles
from ltm_pyro.errors import InputError, NotFinite


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
    log q(z) - log p(z) (Kingma & Welling 2014, their estimators B and A). Draws come from torch's
    global generators: see `ltm_pyro.seeds`.
    """
    q_trace = poutine.trace(with_particles(guide, particles)).get_trace(batch)
    replayed = poutine.replay(with_particles(model, particles), trace=q_trace)
    p_trace = poutine.trace(replayed).get_trace(batch)
    kl_by_site: dict[str, Tensor] = {}
    log_likelihood = torch.zeros(particles, len(batch), device=batch.tokens.device)
    for name, site in p_trace.nodes.items():
        if site["type"] != "sample" or isinstance(site["fn"], _Subsample):
            continue
        if site["is_observed"]:
            log_likelihood = log_likelihood + site["fn"].log_prob(site["value"])
        else:
            kl_by_site[name] = _kl(q_trace.nodes[name]["fn"], site["fn"], site["value"])
    return ElboTerms(log_likelihood, kl_by_site, p_trace.nodes["_RETURN"]["value"])


def sample_thoughts(
    model: Callable[[Rows], Tensor | None], guide: Callable[[Rows], Any], batch: Rows, draws: int
) -> Tensor:
    """Draws of z from a guide, shape (draws, documents, layers, slots, dim).

    The guide's sites are replayed through the model's prior, so that a prior of several sites puts
    them together as it does in the model.

    Raises:
        InputError: if the model has no thoughts.
    """
    if getattr(model, "prior", None) is None:
        raise InputError(f"{type(model).__name__} has no thoughts to sample")

    trace = poutine.trace(with_particles(guide, draws)).get_trace(batch)
    return poutine.replay(with_particles(prior_of(model), draws), trace=trace)(batch)


def assert_finite(terms: ElboTerms, where: str) -> None:
    """Raises NotFinite naming the site that holds a NaN or infinity, and its documents."""
    for name, value in {"tokens": terms.log_likelihood, **terms.kl_by_site}.items():
        bad = ~torch.isfinite(value).all(0)
        if bad.any():
            rows = bad.nonzero()[:, 0].tolist()
            raise NotFinite(f"site {name!r} is not finite for rows {rows[:8]} of {where}")


def _kl(q: Any, p: Any, z: Tensor) -> Tensor:
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return q.log_prob(z) - p.log_prob(z)
