"""Log densities of model and guide at given latents, and documents drawn from a model.

Latents are a dictionary from site name to value, (particles, documents, *event), so that priors and
guides of one site or of many are handled alike.
"""

from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from ltm_pyro import seeds
from ltm_pyro.data.rows import Rows

Latents = dict[str, Tensor]
Program = Callable[[Rows], Any]


def draw_latents(program: Program, batch: Rows, particles: int) -> Latents:
    """Draws of a guide's (or a prior's) sites, each (particles, documents, *event)."""
    trace = poutine.trace(with_particles(program, particles)).get_trace(batch)
    return {name: node["value"] for name, node in _sites(trace).items()}


def log_joint(model: Program, latents: Latents, batch: Rows) -> tuple[Tensor, Tensor]:
    """log p(z) and log p(x | z) at given latents, both (particles, documents), nats."""
    trace = _conditioned(model, latents, batch)
    zero = torch.zeros(_particles(latents), len(batch), device=batch.lengths.device)
    prior, likelihood = zero, zero
    for name, node in _sites(trace).items():
        log_prob = node["fn"].log_prob(node["value"])
        if name in latents:
            prior = prior + log_prob
        else:
            likelihood = likelihood + log_prob
    return prior, likelihood


def log_density(program: Program, latents: Latents, batch: Rows) -> Tensor:
    """Log density of a guide (or a prior) at given latents, (particles, documents), nats."""
    trace = _conditioned(program, latents, batch)
    zero = torch.zeros(_particles(latents), len(batch), device=batch.lengths.device)
    return sum((n["fn"].log_prob(n["value"]) for n in _sites(trace).values()), zero)


def log_weights(model: Program, guide: Program, batch: Rows, particles: int) -> Tensor:
    """log p(x, z) - log q(z) at draws of the guide, (particles, documents), nats."""
    latents = draw_latents(guide, batch, particles)
    prior, likelihood = log_joint(model, latents, batch)
    return prior + likelihood - log_density(guide, latents, batch)


def token_log_prob(model: Program, latents: Latents, batch: Rows) -> Tensor:
    """log p(x_n | z, x_<n) of each token, 0 at padding: (particles, documents, tokens), nats."""
    fn = _sites(_conditioned(model, latents, batch))["tokens"]["fn"]
    if hasattr(fn, "token_log_prob"):
        return fn.token_log_prob(batch.tokens)
    return fn.base_dist.log_prob(batch.tokens)


def simulate(model: Program, lengths: Tensor, seed: int = 0) -> tuple[Rows, Latents]:
    """Documents of given lengths drawn from a model, and the latents they were drawn from.

    Those latents are exact draws from p(z | x). Each row is a document of its own.
    """
    places = torch.arange(len(lengths), device=lengths.device)
    blank = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.long, device=lengths.device)
    empty = Rows(blank, lengths, places, torch.zeros_like(lengths))
    with torch.no_grad(), seeds.seeded(seed):
        free = with_particles(poutine.uncondition(model), 1)
        sites = _sites(poutine.trace(free).get_trace(empty))
    tokens = sites.pop("tokens")["value"][0]
    latents = {name: node["value"] for name, node in sites.items()}
    return Rows(tokens, lengths, places, torch.zeros_like(lengths)), latents


def site_distributions(program: Program, batch: Rows) -> dict[str, Any]:
    """The distribution of each site of a program, batch shape (1, documents)."""
    trace = poutine.trace(with_particles(program, 1)).get_trace(batch)
    return {name: node["fn"] for name, node in _sites(trace).items()}


def with_particles(program: Program, particles: int) -> Program:
    """The program in a plate of particles (dim -2), outside its plate of documents (dim -1)."""

    def call(batch: Rows) -> Any:
        with pyro.plate("particles", particles, dim=-2):
            return program(batch)

    return call


def prior_of(model: Any) -> Program:
    """The prior of a model as a program of its own, in the plate of documents."""

    def program(batch: Rows) -> Any:
        with pyro.plate("documents", len(batch), dim=-1):
            return model.prior()

    return program


def _conditioned(program: Program, latents: Latents, batch: Rows) -> Any:
    fixed = poutine.condition(with_particles(program, _particles(latents)), data=latents)
    return poutine.trace(fixed).get_trace(batch)


def _particles(latents: Latents) -> int:
    return len(next(iter(latents.values()))) if latents else 1


def _sites(trace: Any) -> dict[str, Any]:
    return {
        name: node
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and not isinstance(node["fn"], _Subsample)
    }
