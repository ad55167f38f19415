"""Log densities of model and guide at given latents, and documents drawn from a model.

Latents are a dictionary from site name to value, (particles, documents, *event), so that priors and
guides of one site or of many are handled alike. Thoughts stand in one site `z` of event shape
(layers, slots, dim), or in a site for each layer, `z_0`, `z_1`, ..., of event shape (slots, dim);
where a program has the one and the latents have the other, they are stacked or cut into layers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from ltm_pyro import seeds
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError

Latents = dict[str, Tensor]
Program = Callable[[Rows], Any]


def draw_latents(program: Program, batch: Rows, particles: int) -> Latents:
    """Draws of a guide's (or a prior's) sites, each (particles, documents, *event)."""
    trace = poutine.trace(with_particles(program, particles)).get_trace(batch)
    return {name: node["value"] for name, node in sites(trace).items()}


def log_joint(model: Program, latents: Latents, batch: Rows) -> tuple[Tensor, Tensor]:
    """log p(z) and log p(x | z) at given latents, both (particles, documents), nats."""
    trace = _conditioned(model, latents, batch)
    zero = torch.zeros(_particles(latents), len(batch), device=batch.lengths.device)
    prior, likelihood = zero, zero
    for node in sites(trace).values():
        log_prob = node["fn"].log_prob(node["value"])
        if node["is_observed"]:
            likelihood = likelihood + log_prob
        else:
            prior = prior + log_prob
    return prior, likelihood


def log_density(program: Program, latents: Latents, batch: Rows) -> Tensor:
    """Log density of a guide (or a prior) at given latents, (particles, documents), nats."""
    trace = _conditioned(program, latents, batch)
    zero = torch.zeros(_particles(latents), len(batch), device=batch.lengths.device)
    return sum((n["fn"].log_prob(n["value"]) for n in sites(trace).values()), zero)


def log_weights(model: Program, guide: Program, batch: Rows, particles: int) -> Tensor:
    """log p(x, z) - log q(z) at draws of the guide, (particles, documents), nats."""
    latents = draw_latents(guide, batch, particles)
    prior, likelihood = log_joint(model, latents, batch)
    return prior + likelihood - log_density(guide, latents, batch)


def token_log_prob(model: Program, latents: Latents, batch: Rows) -> Tensor:
    """log p(x_n | z, x_<n) of each token, 0 at padding: (particles, documents, tokens), nats."""
    fn = sites(_conditioned(model, latents, batch))["tokens"]["fn"]
    if hasattr(fn, "token_log_prob"):
        return fn.token_log_prob(batch.tokens)
    return fn.base_dist.log_prob(batch.tokens)


def simulate(
    model: Program,
    lengths: Tensor,
    seed: int = 0,
    columns: Mapping[str, Tensor] | None = None,
) -> tuple[Rows, Latents]:
    """Documents of given lengths drawn from a model, and the latents they were drawn from.

    Those latents are exact draws from p(z | x). Each row is a document of its own. A prior that
    reads columns needs them, each with an entry for each document.
    """
    empty = blank(lengths, columns)
    with torch.no_grad(), seeds.seeded(seed):
        free = with_particles(poutine.uncondition(model), 1)
        nodes = sites(poutine.trace(free).get_trace(empty))
    tokens = nodes.pop("tokens")["value"][0]
    latents = {name: node["value"] for name, node in nodes.items()}
    return Rows(tokens, lengths, empty.document, empty.bytes, columns=empty.columns), latents


def blank(lengths: Tensor, columns: Mapping[str, Tensor] | None = None) -> Rows:
    """Rows of given lengths without text, for programs that write it."""
    places = torch.arange(len(lengths), device=lengths.device)
    tokens = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.long, device=lengths.device)
    return Rows(tokens, lengths, places, torch.zeros_like(lengths), columns=columns or {})


def site_distributions(program: Program, batch: Rows) -> dict[str, Any]:
    """The distribution of each site of a program, batch shape (1, documents)."""
    trace = poutine.trace(with_particles(program, 1)).get_trace(batch)
    return {name: node["fn"] for name, node in sites(trace).items()}


def with_particles(program: Program, particles: int) -> Program:
    """The program in a plate of particles (dim -2), outside its plate of documents (dim -1)."""

    def call(batch: Rows) -> Any:
        with pyro.plate("particles", particles, dim=-2):
            return program(batch)

    return call


def joined(model: Any, latents: Latents, batch: Rows) -> Tensor:
    """z as the prior puts it together: (particles, documents, layers, slots, dim)."""
    z: Tensor = at(prior_of(model), latents)(batch)
    return z


def as_one(latents: Latents) -> Tensor:
    """The sites' own numbers in one: (particles, documents, layers, slots, dim).

    Where a prior has another support than the reals these are what it is an image of; `joined`
    gives the thoughts themselves.
    """
    if "z" in latents:
        return latents["z"]
    return torch.stack([latents[f"z_{i}"] for i in range(len(latents))], dim=-3)


def needs_thoughts(model: Any, use: str) -> None:
    """Raises InputError for a model without thoughts, saying what they are wanted for."""
    if getattr(model, "prior", None) is None:
        raise InputError(f"{type(model).__name__} has no thoughts{use}")


def prior_of(model: Any) -> Program:
    """The prior of a model as a program of its own, in the plate of documents."""

    def program(batch: Rows) -> Any:
        with pyro.plate("documents", len(batch), dim=-1):
            return model.prior(batch)

    return program


def at(program: Program, latents: Latents, particles: int = 1) -> Program:
    """The program, its latent sites given, in as many particles as the latents have.

    `particles` counts where there are no latents.

    Raises (when called):
        InputError: for a site that the latents do not determine.
    """
    number = _particles(latents) if latents else particles

    def call(batch: Rows) -> Any:
        with _At(latents) as given:
            returned = with_particles(program, number)(batch)
        if given.unused:
            raise InputError(
                f"site {', '.join(sorted(given.unused))} has no counterpart: it would add its "
                f"entropy to what is called a bound. {SITES}"
            )
        return returned

    return call


class _At(Messenger):
    """Gives latent sites their values; observed ones stay as they are."""

    def __init__(self, latents: Latents):
        super().__init__()
        self.latents, self.unused = latents, set(latents)

    def _pyro_sample(self, msg: Any) -> None:
        observed = msg["is_observed"] or msg["infer"].get("was_observed", False)
        if not (observed or isinstance(msg["fn"], _Subsample)):
            msg["value"], msg["done"] = self._value(msg["name"]), True

    def _value(self, site: str) -> Tensor:
        latents, layer = self.latents, _layer(site)
        layers = [name for name in latents if _layer(name) is not None]
        if site in latents:
            self.unused -= {site}
            return latents[site]
        if site == "z" and layers:
            self.unused -= set(layers)
            return torch.stack([latents[f"z_{i}"] for i in range(len(layers))], dim=-3)
        if layer is not None and "z" in latents and layer < latents["z"].shape[-3]:
            self.unused -= {"z"}
            return latents["z"][..., layer, :, :]
        raise InputError(
            f"no value for site {site!r}: the other side has {', '.join(latents) or 'no site'}. "
            f"{SITES}"
        )


SITES = (
    "A prior and a guide need sites of the same names, or z on one side and z_0, z_1, ... on the "
    "other"
)


def _layer(site: str) -> int | None:
    """The layer of a site `z_0`, `z_1`, ..., else None."""
    start, _, number = site.partition("_")
    return int(number) if start == "z" and number.isdecimal() else None


def _conditioned(program: Program, latents: Latents, batch: Rows) -> Any:
    return poutine.trace(at(program, latents)).get_trace(batch)


def _particles(latents: Latents) -> int:
    return len(next(iter(latents.values()))) if latents else 1


def sites(trace: Any) -> dict[str, Any]:
    """The sample sites of a trace, plates left out."""
    return {
        name: node
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and not isinstance(node["fn"], _Subsample)
    }
