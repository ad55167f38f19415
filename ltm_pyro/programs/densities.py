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
from torch import Tensor

from ltm_pyro import seeds
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.programs.handlers import SITES, At, OnTheReals, Unobserved
from ltm_pyro.programs.scores import (
    Scores,
    draw_discrete,
    is_discrete,
    over_values,
    scores,
    sites,
)

UNOBSERVED = "_unobserved"
"""How Pyro ends the name of the part of a site under `obs_mask` that is not known."""
THOUGHTS_DIM = 5
"""Dimensions of draws of thoughts: (particles, documents, layers, slots, dim)."""
Latents = dict[str, Tensor]
Program = Callable[[Rows], Any]


def draw_latents(program: Program, batch: Rows, particles: int) -> Latents:
    """Draws of a guide's (or a prior's) sites, each (particles, documents, *event).

    They are real numbers, whatever the sites' supports; discrete sites are left out.
    """
    trace = poutine.trace(drawing(program, particles)).get_trace(batch)
    return {name: node["value"] for name, node in sites(trace).items() if not is_discrete(node)}


def log_joint(model: Program, latents: Latents, batch: Rows) -> tuple[Tensor, Tensor]:
    """log p(z) and log p(x | z) at given latents, both (particles, documents), nats.

    x is all that the model observes, z what it samples for each document; where it samples sites
    outside the plate of documents, both are given those.
    """
    found = scores(_conditioned(model, latents, batch))
    zero = torch.zeros(_particles(latents), len(batch), device=batch.lengths.device)
    return _total(zero, found.local), _total(zero, found.observed)


def site_scores(model: Program, latents: Latents, batch: Rows) -> Scores:
    """The log densities of a model's sites at given latents, by name; see `Scores`."""
    return scores(_conditioned(model, latents, batch))


def log_density(program: Program, latents: Latents, batch: Rows) -> Tensor:
    """Log density of a guide (or a prior) at given latents, (particles, documents), nats."""
    found = scores(_conditioned(program, latents, batch))
    zero = torch.zeros(_particles(latents), len(batch), device=batch.lengths.device)
    return _total(zero, found.local | found.observed)


def _total(zero: Tensor, terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of log densities, begun with zeros of the shape that it has."""
    total = zero
    for term in terms.values():
        total = total + term
    return total


def log_weights(model: Program, guide: Program, batch: Rows, particles: int) -> Tensor:
    """log p(x, z) - log q(z) at draws of the guide, (particles, documents), nats."""
    latents = draw_latents(guide, batch, particles)
    prior, likelihood = log_joint(model, latents, batch)
    return prior + likelihood - log_density(guide, latents, batch)


def token_log_prob(model: Program, latents: Latents, batch: Rows) -> Tensor:
    """log p(x_n | z, x_<n) of each token, 0 at padding: (particles, documents, tokens), nats."""
    trace = _conditioned(model, latents, batch)
    fn = sites(trace)["tokens"]["fn"]
    if hasattr(fn, "token_log_prob"):
        return over_values(trace, fn.token_log_prob(batch.tokens))
    return over_values(trace, fn.base_dist.log_prob(batch.tokens))


def draw_values(model: Program, latents: Latents, batch: Rows) -> Latents:
    """The values of a model's discrete sites, drawn from p(k | z, x): (particles, documents).

    Draws come from torch's global generator, document by document under `Noise.tensors`.
    """
    trace = _conditioned(model, latents, batch)
    return draw_discrete(
        trace, torch.rand(_particles(latents), len(batch)).to(batch.lengths.device)
    )


def with_known(model: Program, values: Latents, batch: Rows) -> Latents:
    """Values of discrete sites, those of a site under `obs_mask` joined with what is known of it.

    Of `label_unobserved` and what the model observes of it, `label_observed`, this makes `label`:
    the known value where there is one.
    """
    partly = [name for name in values if name.endswith(UNOBSERVED)]
    if not partly:
        return values
    with torch.no_grad(), seeds.seeded(0):
        nodes = sites(poutine.trace(drawing(model, 1)).get_trace(batch))
    found = {}
    for name, value in values.items():
        whole = name.removesuffix(UNOBSERVED)
        seen = nodes.get(f"{whole}_observed") if name in partly else None
        if seen is None:
            found[name] = value
        else:
            found[whole] = torch.where(seen["mask"], seen["value"].to(value), value)
    return found


def simulate(
    model: Program,
    lengths: Tensor,
    seed: int = 0,
    columns: Mapping[str, Tensor] | None = None,
) -> tuple[Rows, Latents]:
    """Documents of given lengths drawn from a model, and the latents they were drawn from.

    Those latents are exact draws from p(z | x). Each row is a document of its own. A prior that
    reads columns needs them, each with an entry for each document; a column that is named as an
    observed site comes back as it was drawn.
    """
    empty = blank(lengths, columns)
    with torch.no_grad(), seeds.seeded(seed):
        free = drawing(poutine.uncondition(model), 1)
        nodes = sites(poutine.trace(free).get_trace(empty))
    drawn = {name: node["value"] for name, node in nodes.items()}
    seen = {name for name, node in nodes.items() if node["infer"].get("was_observed")}
    discrete = {name for name, node in nodes.items() if is_discrete(node)}
    latents = {name: drawn[name] for name in nodes if name not in seen | discrete}
    columns = {n: drawn[n][0] if n in seen else c for n, c in empty.columns.items()}
    rows = Rows(drawn["tokens"][0], lengths, empty.document, empty.bytes, columns=columns)
    return rows, latents


def blank(lengths: Tensor, columns: Mapping[str, Tensor] | None = None) -> Rows:
    """Rows of given lengths without text, for programs that write it."""
    places = torch.arange(len(lengths), device=lengths.device)
    tokens = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.long, device=lengths.device)
    return Rows(tokens, lengths, places, torch.zeros_like(lengths), columns=columns or {})


def site_distributions(program: Program, batch: Rows) -> dict[str, Any]:
    """The distribution of each site of a program, batch shape (1, documents)."""
    trace = poutine.trace(drawing(program, 1)).get_trace(batch)
    return {name: node["fn"] for name, node in sites(trace).items()}


def drawing(program: Program, particles: int) -> Program:
    """The program in a plate of particles, its latent sites on the reals."""
    inside = with_particles(program, particles)

    def call(batch: Rows) -> Any:
        with OnTheReals():
            return inside(batch)

    return call


def with_particles(program: Program, particles: int) -> Program:
    """The program in a plate of particles (dim -2), outside its plate of documents (dim -1)."""

    def call(batch: Rows) -> Any:
        with pyro.plate("particles", particles, dim=-2):
            return program(batch)

    return call


def joined(model: Any, latents: Latents, batch: Rows, noise: seeds.Noise) -> Tensor:
    """z as the prior puts it together: (particles, documents, layers, slots, dim).

    Where it follows from a discrete site that the latents leave out, the site's value is drawn from
    p(k | latents, x) with `noise`.
    """
    z: Tensor = at(prior_of(model), latents)(batch)
    if z.dim() > THOUGHTS_DIM:  # along dimensions of their own, one z for each value
        with noise.tensors():
            values = draw_values(model, latents, batch)
        z = at(prior_of(model), {**latents, **values})(batch)
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
    """The prior of a model as a program of its own: all that it samples, nothing it observes.

    It returns what the model returns; z alone, where that is all it samples.
    """
    if _samples_prior_alone(model):

        def alone(batch: Rows) -> Any:
            with pyro.plate("documents", len(batch), dim=-1):
                return model.prior(batch)

        return alone

    def program(batch: Rows) -> Any:
        with Unobserved():
            return model(batch)

    return program


def _samples_prior_alone(model: Any) -> bool:
    """Whether the prior module is all that a model samples: so says the class of its `forward`."""
    owner = next((cls for cls in type(model).__mro__ if "forward" in vars(cls)), None)
    return owner is None or bool(vars(owner).get("samples_prior_alone", False))


def at(program: Program, latents: Latents, particles: int = 1) -> Program:
    """The program, its latent sites given, in as many particles as the latents have.

    `particles` counts where there are no latents.

    Raises (when called):
        InputError: for a site that the latents do not determine.
    """
    number = _particles(latents) if latents else particles

    def call(batch: Rows) -> Any:
        with At(latents) as given:
            returned = with_particles(program, number)(batch)
        if given.unused:
            raise InputError(
                f"site {', '.join(sorted(given.unused))} has no counterpart: it would add its "
                f"entropy to what is called a bound. {SITES}"
            )
        return returned

    return call


def _conditioned(program: Program, latents: Latents, batch: Rows) -> Any:
    return poutine.trace(at(program, latents)).get_trace(batch)


def _particles(latents: Latents) -> int:
    return len(next(iter(latents.values()))) if latents else 1
