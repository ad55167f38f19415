"""What inference returns: guides fitted to some rows."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ltm_pyro.config import Fast
from ltm_pyro.data.given import rows_of
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.display.tables import facts
from ltm_pyro.errors import InputError
from ltm_pyro.guides.base import Guide
from ltm_pyro.inference.checks import check_model, with_gradients
from ltm_pyro.inference.covering import Covering
from ltm_pyro.inference.local import InnerLoop, MakeGuide, fit_guide
from ltm_pyro.inference.memory import Memory
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import Count, Whole, checked
from ltm_pyro.programs.densities import (
    draw_latents,
    draw_values,
    joined,
    needs_thoughts,
    with_known,
)
from ltm_pyro.programs.elbo import ElboTerms, elbo_terms
from ltm_pyro.programs.proper import check_proper
from ltm_pyro.programs.reading import Sites
from ltm_pyro.seeds import Noise, Stream, derive

AT_ONCE = 8
"""Particles of every row that are scored together; bounds the memory."""
NO_BOUND = (
    "what it scores is no bound. Ask for `prior`, `predictive` or `ais_prior`, or fit a guide with "
    "a density, such as LaplaceApproximation around the same point"
)


@dataclass(frozen=True)
class Posterior:
    """q(z | x) of some rows, in chunks: a guide and the rows it was fitted to.

    Attributes:
        model: the model whose posterior this approximates.
        rows: the rows, in the order they were given.
        chunks: (guide, its rows), in that order.
        inner: the fast loop's trace, shapes (steps, documents).
        seed: what draws are derived from.

    Example:
        >>> import torch
        >>> import ltm_pyro as ltm
        >>> from ltm_pyro.config import Thoughts
        >>> from ltm_pyro.models import LinearGaussianModel
        >>> from ltm_pyro.programs.densities import simulate
        >>> model = LinearGaussianModel(Thoughts(1, 1, 3), torch.eye(3), scale=1.0)
        >>> rows, _ = simulate(model, torch.full((50,), 3))
        >>> posterior = ltm.DualRateSVI(model, fast=ltm.Fast.quick()).infer(rows)
        >>> posterior.sample(10).shape  # draws, documents, layers, slots, dim
        torch.Size([10, 50, 1, 1, 3])
    """

    model: TextModel
    rows: Rows
    chunks: list[tuple[Guide, Rows]]
    inner: InnerLoop
    seed: int

    def __repr__(self) -> str:
        return "Posterior: " + ", ".join(f"{k} {v}" for k, v in self._facts().items())

    def _repr_html_(self) -> str:
        return facts("Posterior q(z | x)", self._facts())

    def _facts(self) -> dict[str, str]:
        guide = self.chunks[0][0]
        found = {
            "rows": f"{len(self.rows):,} ({self.rows.token_count:,} tokens)",
            "model": type(self.model).__name__,
            "guide": type(guide).__name__,
        }
        thoughts = getattr(self.model, "thoughts", None)
        if thoughts is not None:
            found["thoughts of a row"] = "layers {}, slots {}, dim {}".format(*thoughts.shape)
        steps = len(self.inner.lr)
        found["fast steps"] = str(steps)
        if steps:
            observed = list(Sites.of(self.model, self.rows).of_kind("observed"))
            plain = observed == ["tokens"]
            unit = "nats/token" if plain else f"nats/row of {', '.join(observed)}"
            over = self.rows.token_count if plain else len(self.rows)
            bound, kl = -self.inner.elbo.sum(1) / over, self.inner.kl.sum(1) / over
            found["what the loop saw"] = (
                f"{bound[0]:.4f} before the first step, {bound[-1]:.4f} {unit} before the "
                f"last, {kl[-1]:.4f} of them KL; one draw each, no figure: see elbo() or evaluate"
            )
        return found

    @torch.no_grad()
    @checked
    def sample(self, draws: Count = 1, seed: Whole | None = None) -> Tensor:
        """Draws of z, shape (draws, documents, layers, slots, dim); those that `elbo` scores."""
        needs_thoughts(self.model, " to sample")
        found = []
        for guide, rows in self.chunks:
            noise, of_values = self.noise(rows, seed), self.noise(rows, seed, Stream.VALUES)
            drawn = []
            for n in pieces(draws):
                with noise.draw():
                    latents = draw_latents(guide, rows, n)
                drawn.append(joined(self.model, latents, rows, of_values))
            found.append(torch.cat(drawn))
        return torch.cat(found, dim=1)

    @torch.no_grad()
    @checked
    def sites(self, draws: Count = 1, seed: Whole | None = None) -> dict[str, Tensor]:
        """Draws of every latent site of the model, (draws, documents, *event) each, by name.

        Each is on its own support; discrete sites are drawn from p(k | z, x), and where a value is
        known (`obs_mask`) it is that one. A site outside the plate of documents has its own plates
        in place of documents, of one size at least.
        """
        found: dict[str, list[Tensor]] = {}
        known = Sites.of(self.model, self.rows).all
        for guide, rows in self.chunks:
            noise, of_values = self.noise(rows, seed), self.noise(rows, seed, Stream.VALUES)
            drawn = []
            for n in pieces(draws):
                with noise.draw():
                    latents = draw_latents(guide, rows, n)
                with of_values.tensors():
                    values = draw_values(self.model, latents, rows)
                images = {s: known[s].image(u) if s in known else u for s, u in latents.items()}
                drawn.append({**images, **with_known(self.model, values, rows)})
            for site in drawn[0]:
                found.setdefault(site, []).append(torch.cat([part[site] for part in drawn]))
        shared = {name for name in found if name in known and known[name].kind == "shared"}
        return {s: parts[0] if s in shared else torch.cat(parts, 1) for s, parts in found.items()}

    @torch.no_grad()
    @checked
    def elbo(self, particles: Count = 1, seed: Whole | None = None) -> ElboTerms:
        """The ELBO with draws the fit never saw; shapes (particles, documents), nats."""
        parts = []
        for guide, rows in self.chunks:
            with_density(guide, rows)
            parts.append(_in_pieces(self.model, guide, rows, particles, self.noise(rows, seed)))
        return ElboTerms.concatenate(parts)

    def noise(self, rows: Rows, seed: int | None = None, stream: int = Stream.DRAW) -> Noise:
        """What is drawn from the fitted guides of some of the rows."""
        return Noise(derive(self.seed if seed is None else seed, stream), rows.key)


def _in_pieces(
    model: TextModel, guide: Guide, rows: Rows, particles: int, noise: Noise
) -> ElboTerms:
    """`elbo_terms`, a few particles at a time: no gradient needs them all in memory."""
    fixed = model.having_read(rows)
    parts = []
    for n in pieces(particles):
        with noise.draw():
            parts.append(elbo_terms(fixed, guide, rows, n))
    return ElboTerms.stacked(parts)


def with_density(guide: Guide, rows: Rows) -> Guide:
    """The guide, if a bound can be made of it, on the rows that it was fitted to.

    Raises:
        InputError: if it has no density, or none on the reals.
    """
    if not guide.has_density:
        raise InputError(f"{type(guide).__name__} is a point, without density: {NO_BOUND}")
    if guide not in _LOOKED_AT:
        # Where an inverse takes long, or is not there, no density is asked for far from draws.
        check_proper(guide, rows, f"guide {type(guide).__name__}", far=guide.path_gradient)
        _LOOKED_AT.add(guide)
    return guide


_LOOKED_AT: "weakref.WeakSet[Guide]" = weakref.WeakSet()
"""Guides that have been found to have a density."""


def pieces(draws: int) -> list[int]:
    """How many of `draws` are made together, one number for each time."""
    return [min(AT_ONCE, draws - start) for start in range(0, draws, AT_ONCE)]


@checked
@with_gradients
def infer(
    model: TextModel,
    rows: AnyRows | Sequence[str] | str,
    guide: MakeGuide,
    fast: Fast,
    seed: Whole = 0,
    chunk: Count = 64,
    tokenizer: Tokenizer | None = None,
    memory: Memory | None = None,
) -> Posterior:
    """Fit a fresh guide to each chunk of rows; the model stays as it is.

    What is found for a row depends on the row, the model and the seed: neither on the rows beside
    it nor on how they are cut into chunks, up to rounding.

    Args:
        model: any model of text.
        rows: what to infer thoughts for: rows of a corpus, or texts, with their `tokenizer`.
        guide: a guide class (or `functools.partial` of one).
        fast: the fast loop.
        seed: where the fits' draws come from.
        chunk: rows fitted at once; bounds the memory.
        tokenizer: the model's, for texts.
        memory: where fits start if their rows are known there, and what keeps where they end.

    Raises:
        InputError: if there are no rows, texts without a tokenizer, or model or guide cannot be
            fitted as they are.
    """
    check_model(model)
    rows = rows_of(rows, model, tokenizer).to(next(model.parameters()).device)
    covering = Covering(model, guide, rows)
    chunks, loops = [], []
    for part in rows.split(chunk):
        fitted = covering.guide(len(part))
        noise = fast.draws(derive(seed, Stream.FIT), part.key)
        loops.append(fit_guide(model, fitted, part, fast, noise, memory=memory))
        chunks.append((fitted, part))
    return Posterior(model, rows, chunks, InnerLoop.concatenate(loops), seed)
