"""A fitted posterior as an ArviZ DataTree: labelled dimensions, netCDF, statistics, plots."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.nn.functional import pad

from ltm_pyro import __version__
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError, Notice
from ltm_pyro.inference.posterior import AT_ONCE, Posterior, pieces
from ltm_pyro.options import Count, Whole, checked
from ltm_pyro.programs.densities import (
    UNOBSERVED,
    at,
    draw_latents,
    draw_values,
    joined,
    log_density,
    needs_thoughts,
    prior_of,
    site_scores,
    with_known,
    with_particles,
)
from ltm_pyro.programs.handlers import is_thoughts
from ltm_pyro.programs.reading import Sites
from ltm_pyro.programs.scores import sites as trace_sites
from ltm_pyro.seeds import Stream, seeded

if TYPE_CHECKING:
    from xarray import DataTree

Key = tuple[str, str]  # group and variable
DIMS = {name: ["document"] for name in ("lengths", "text", "log_prior", "log_q")}
DIMS |= {"z": ["document", "layer", "slot", "dim"], "tokens": ["document", "position"]}
NO_LOO = (
    "z_d was fitted to x_d, so this is no input for leave-one-out (loo): compare models on "
    "held-out documents, by ltm_pyro.bounds.compare"
)


@torch.no_grad()
@checked
def to_datatree(
    posterior: Posterior,
    *,
    draws: Count = 100,
    seed: Whole | None = None,
    tokenizer: Tokenizer | None = None,
    posterior_predictive: bool = True,
    log_likelihood: bool = False,
) -> "DataTree":
    """Draws of a fitted guide, and what model and guide say of them, in ArviZ's groups.

    One chain of independent draws that the fit never saw; the same seed makes the same tree. Every
    group but `observed_data` has the dimensions chain and draw, and then:

    - `posterior`: `z`, (document, layer, slot, dim), the draws of `posterior.sample(draws, seed)`;
      other latent sites beside it, on their own supports, discrete ones drawn from p(k | z, x), or
      as they are known; sites that all documents share without the dimension document.
    - `prior`: `z`, the same shape, draws from p(z), and the other continuous sites.
    - `posterior_predictive`: `tokens`, (document, position), one text for each z of the posterior,
      with as many tokens as the row has.
    - `log_likelihood`, where it is asked for: `tokens`, (document), log p(x_d | z_d) of the whole
      row, nats; other observed sites stand beside it under their names.
    - `sample_stats`: `log_prior` and `log_q`, (document), log p(z_d) and log q(z_d), nats.
    - `observed_data`: `tokens`, (document, position); `lengths`, and with a tokenizer `text`,
      (document); what else the model observes, nan where it is missing.

    Tokens are -1 at padding. `document` is a document, by its number in `posterior.rows.document`.
    Where one was cut into several rows, each with thoughts of its own, the dimension is called
    `row`, and its coordinate `document` tells what a row was cut from. Each column of the rows is a
    coordinate too, by the names of its values where the model's configuration has them. The root's
    attributes tell how the tree was made. `tree.to_netcdf(path)` saves it, and
    `xarray.open_datatree(path)` reads it.

    Leave-one-out cross-validation (`arviz_stats.loo`, `loo_approximate_posterior`) is not valid
    here: z_d was fitted to x_d, and with x_d left out nothing else tells of it. So its input stays
    out unless it is asked for, and then a notice says so. `ltm_pyro.bounds.compare` compares models
    on held-out documents. Where it is there, log_likelihood + log_prior - log_q are log importance
    weights, sound for one document at a time (`diagnostics.quality`), not for all together.

    Args:
        posterior: fitted guides, from `DualRateSVI.infer`.
        draws: of z for each row.
        seed: where all draws come from; the posterior's own seed unless given.
        tokenizer: gives the text of each row, special tokens left out.
        posterior_predictive: whether to draw texts, which is slow: draws * documents of them.
        log_likelihood: whether to keep log p(x_d | z_d), which loo would take.

    Raises:
        InputError: for a model without thoughts, no draws, or if arviz-base is missing.

    Example:
        >>> import ltm_pyro as ltm
        >>> from ltm_pyro.models import LatentThoughtModel
        >>> corpus = ltm.load_corpus({"train": ["a fox", "an owl"], "test": ["a hen"]}, length=8)
        >>> svi = ltm.DualRateSVI(LatentThoughtModel(ltm.preset("tiny", corpus)))
        >>> tree = ltm.to_datatree(svi.infer(corpus.test, steps=1), draws=3)
        >>> tree["posterior"]["z"].dims
        ('chain', 'draw', 'document', 'layer', 'slot', 'dim')
    """
    model, rows = posterior.model, posterior.rows
    seed = posterior.seed if seed is None else seed
    needs_thoughts(model, " to sample")
    try:
        import arviz_base
    except ImportError:
        raise InputError("arviz-base is missing: pip install 'arviz-base[netcdf4]'") from None

    groups: dict[str, dict[str, Any]] = {}
    chunks = range(len(posterior.chunks))
    sites = Sites.of(model, rows)
    shared = sites.of_kind("shared")
    parts = [_chunk(posterior, i, draws, seed, posterior_predictive, sites) for i in chunks]
    if log_likelihood:
        warnings.warn(Notice(f"log_likelihood: {NO_LOO}"), stacklevel=4)
    for group, name in parts[0]:
        if group == "log_likelihood" and not log_likelihood:
            continue
        if name in shared:  # the same in all chunks
            values = parts[0][group, name].numpy()
        else:
            values = torch.cat([part[group, name] for part in parts], 1).numpy()
        groups.setdefault(group, {})[name] = values[None]  # one chain
    tokens, lengths = rows.tokens.masked_fill(~rows.mask, -1).cpu(), rows.lengths.cpu()
    groups["observed_data"] = {"tokens": tokens.numpy(), "lengths": lengths.numpy()}
    groups["observed_data"] |= _observed(model, rows) if sites.beyond_thoughts else {}
    if tokenizer is not None:
        texts = [tokenizer.decode(row[:n].tolist()) for row, n in zip(tokens, lengths, strict=True)]
        texts = [text.replace("\0", "\ufffd") for text in texts]  # netCDF stops at a null
        groups["observed_data"]["text"] = np.array(texts, dtype=object)

    steps, guide = len(posterior.inner.lr), type(posterior.chunks[0][0]).__name__
    about = {
        "inference_library": "ltm_pyro",
        "inference_library_version": __version__,
        "pyro_version": pyro.__version__,
        "torch_version": torch.__version__,
        "arviz_base_version": arviz_base.__version__,
        "model": type(model).__name__,
        "guide": guide,
        "fast_steps": steps,
        "fit_seed": posterior.seed,
        "seed": seed,
        "protocol": f"{guide}, {steps} fast steps, {draws} fresh draws, seed {seed}",
    }
    attrs = {"/": about} | ({"log_likelihood": {"note": NO_LOO}} if log_likelihood else {})
    dims = DIMS | {
        site.name.removesuffix("_observed").removesuffix(UNOBSERVED): [
            *(["document"] if site.kind != "shared" else []),
            *(f"{site.name}_dim_{i}" for i in range(len(site.shape))),
        ]
        for site in sites
        if not (is_thoughts(site.name) or site.name == "tokens")
    }
    source = rows.document.cpu().numpy()
    unit = "document" if len(np.unique(source)) == len(source) else "row"
    dims = {name: [unit if d == "document" else d for d in named] for name, named in dims.items()}
    tree = arviz_base.from_dict(groups, dims=dims, index_origin=0, attrs=attrs)
    columns: dict[Any, Any] = {
        name: (unit, values) for name, values in _columns(model, rows).items()
    }
    for node in tree.children.values():
        held = node.to_dataset()
        named = {name: one for name, one in columns.items() if name not in held.data_vars}
        if unit in held.dims:
            held = held.assign_coords(document=(unit, source), **named)
        node.dataset = held
        node.attrs.pop("created_at", None)  # the same seed makes the same tree
    return tree


def _on_supports(sites: Sites, latents: dict[str, Tensor]) -> dict[str, Tensor]:
    """Draws of the sites beside thoughts, each on its own support, from real numbers."""
    found = {}
    for name, numbers in latents.items():
        if not is_thoughts(name):
            site = sites.all[name]
            found[name] = site.of_all(numbers) if site.kind == "shared" else site.image(numbers)
    return found


def _observed(model: Any, rows: Rows) -> dict[str, Any]:
    """What a model observes beside the tokens, (document, ...) each, nan where it is missing."""
    with seeded(0):
        nodes = trace_sites(poutine.trace(model).get_trace(rows))
    found = {}
    for name, node in nodes.items():
        if node["is_observed"] and name != "tokens":
            value = node["value"].double().cpu()
            mask = torch.as_tensor(True if node["mask"] is None else node["mask"]).cpu()
            if value.shape[:1] == (len(rows),):
                known = mask.expand(len(rows)).reshape(-1, *[1] * (value.dim() - 1))
                value = value.masked_fill(~known, np.nan)
                found[name.removesuffix("_observed")] = value.numpy()
    return found


def _columns(model: Any, rows: Rows) -> dict[str, Any]:
    """Coordinates of documents: what their columns hold, by name where the values have names."""
    config, found = getattr(model, "config", None), {}
    known = {} if config is None else config.data.columns
    for name, column in rows.columns.items():
        if column.dim() == 1 and name not in ("document", "row"):
            values: Any = column.cpu().numpy()
            if known.get(name):
                names = (*known[name], "")  # -1, a missing one, is the last
                values = np.array([names[code] for code in values.tolist()], dtype=object)
            found[name] = values
    return found


def _chunk(
    posterior: Posterior, i: int, draws: int, seed: int, write: bool, sites: Sites
) -> dict[Key, Tensor]:
    """(draws, documents of chunk i, ...) of each variable, on the CPU."""
    model, (guide, rows) = posterior.model, posterior.chunks[i]
    noise, parts = posterior.noise(rows, seed), []
    for n in pieces(draws):
        with noise.draw():
            parts.append(draw_latents(guide, rows, n))
    latents = {site: torch.cat([part[site] for part in parts]) for site in parts[0]}
    found: dict[Key, list[Tensor]] = {}
    of_sites = posterior.noise(rows, seed, Stream.DATATREE_SITES)
    with posterior.noise(rows, seed, Stream.DATATREE_PRIOR).draw():
        if sites.beyond_thoughts:
            before = draw_latents(prior_of(model), rows, draws)
            values = draw_values(prior_of(model), before, rows)
            found["prior", "z"] = [joined(model, before | values, rows, of_sites)]
            own = _on_supports(sites, before) | with_known(model, values, rows)
            found |= {("prior", site): [value] for site, value in own.items()}
        else:
            found["prior", "z"] = [with_particles(prior_of(model), draws)(rows)]
    scored = model.having_read(rows)
    for start in range(0, draws, AT_ONCE):  # bounds the memory
        some = {name: value[start : start + AT_ONCE] for name, value in latents.items()}
        scores = site_scores(scored, some, rows)
        nothing = torch.zeros_like(next(iter(scores.observed.values())))
        log_prior = sum(scores.local.values(), nothing)
        new = {
            **{("log_likelihood", site): term for site, term in scores.observed.items()},
            ("sample_stats", "log_prior"): log_prior,
            ("sample_stats", "log_q"): log_density(guide, some, rows),
        }
        values = {}
        if sites.beyond_thoughts:
            with of_sites.tensors():
                values = draw_values(model, some, rows)
            own = _on_supports(sites, some)
            named = own | with_known(model, values, rows)
            new |= {("posterior", site): value for site, value in named.items()}
        new["posterior", "z"] = joined(model, some | values, rows, of_sites)
        if write:
            free = at(poutine.uncondition(model), {**some, **values})
            with seeded(seed, Stream.DATATREE_TEXT, i, start):
                trace = poutine.trace(free).get_trace(rows)
            written = trace.nodes["tokens"]["value"].masked_fill(~rows.mask, -1)
            missing = posterior.rows.tokens.shape[1] - written.shape[-1]
            new["posterior_predictive", "tokens"] = pad(written, (0, missing), value=-1)
        for key, value in new.items():
            found.setdefault(key, []).append(value)
    return {key: torch.cat(values).cpu() for key, values in found.items()}
