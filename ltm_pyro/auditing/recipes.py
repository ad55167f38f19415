"""Ways to score text that are in use: those whose figures are bounds, and those whose are not.

Each is an estimator like a user's own: `model, rows -> nats of each document`. All fit the same
mean-field guide q and differ in what they report.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ltm_pyro.bounds.annealed import ais as annealed
from ltm_pyro.bounds.elbo import elbo as fresh_elbo
from ltm_pyro.bounds.elbo import prior as of_the_prior
from ltm_pyro.bounds.elbo import same_noise as released
from ltm_pyro.bounds.estimate import Task
from ltm_pyro.bounds.importance import iwae as weighted
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import MeanField
from ltm_pyro.models import TextModel
from ltm_pyro.programs.densities import draw_latents, log_joint, prior_of
from ltm_pyro.programs.elbo import frozen

Estimator = Callable[[TextModel, Rows], Tensor]
"""From a model and rows to -log p(x) of each document, nats, (documents,)."""

FAST = Fast(steps=20, lr=0.5, optimizer="NaturalGradient", particles=2)
FREE = 9.0
"""Nats of KL below which a recipe charges none."""


@dataclass(frozen=True)
class Recipe:
    """An estimator with what is to be said of it.

    Attributes:
        name, formula: how it is called, and what it reports for a document.
        text: in two sentences, what it does and what follows.
        valid: whether it reports a bound.
        estimator: it.
    """

    name: str
    formula: str
    text: str
    valid: bool
    estimator: Estimator


RECIPES: dict[str, Recipe] = {}
"""Recipes by name: valid ones first."""


def recipe(formula: str, valid: bool = False) -> Callable[[Estimator], Estimator]:
    """Make an estimator a recipe; its docstring says what it does."""

    def add(estimator: Estimator) -> Estimator:
        name = estimator.__name__.replace("_", "-")
        text = " ".join((estimator.__doc__ or "").split())
        RECIPES[name] = Recipe(name, formula, text, valid, estimator)
        return estimator

    return add


def _task(model: TextModel, rows: Rows, fast: Fast = FAST) -> Task:
    """A fit whose seed comes from torch's global generator."""
    return Task(model, rows, MeanField, fast, int(torch.randint(2**31, (1,))))


def _parts(model: TextModel, rows: Rows) -> tuple[Tensor, Tensor]:
    """E_q[-log p(x | z)] and KL(q || p) of each document, over fresh draws."""
    parts = fresh_elbo(_task(model, rows)).parts
    return parts["reconstruction"], parts["kl"]


@recipe("E_q[-log p(x|z)] + KL(q || p)", valid=True)
def elbo(model: TextModel, rows: Rows) -> Tensor:
    """The negative ELBO over draws that the fit never saw. In expectation at least -log p(x)."""
    return fresh_elbo(_task(model, rows)).nats


@recipe("-log 1/K sum_k p(x, z_k) / q(z_k)", valid=True)
def iwae(model: TextModel, rows: Rows) -> Tensor:
    """The log of a mean of importance weights, for each document by itself. It is tighter."""
    return weighted(_task(model, rows)).nats


@recipe("-log 1/K sum_k w_k, w_k annealed from q", valid=True)
def ais(model: TextModel, rows: Rows) -> Tensor:
    """The log of a mean of annealed weights, from the guide to the posterior. It is tighter yet."""
    return annealed(_task(model, rows), 10).nats


@recipe("E_p(z)[-log p(x|z)]", valid=True)
def prior(model: TextModel, rows: Rows) -> Tensor:
    """The score under thoughts that know nothing of the text. A bound whose KL is zero."""
    return of_the_prior(_task(model, rows)).nats


@recipe("-log p(x|z) + KL(q || p), z = mu + sigma e with the e that mu and sigma were fitted to")
def same_noise(model: TextModel, rows: Rows) -> Tensor:
    """The guide is fitted to one draw and scored with that same draw. It has learned the draw, so
    the figure falls with every further step, below -log p(x)."""
    return released(_task(model, rows, Fast(steps=60, lr=0.1))).nats


@recipe("E_q[-log p(x|z)] + 1/L sum_l KL(q_l || p_l)")
def averaged_layers(model: TextModel, rows: Rows) -> Tensor:
    """The KL is averaged over the layers of latents instead of summed. With L layers all but 1/L
    of what the thoughts know of the text is free."""
    reconstruction, kl = _parts(model, rows)
    return reconstruction + kl / model.thoughts.layers  # type: ignore[union-attr, operator]


@recipe(f"E_q[-log p(x|z)] + KL 1[KL > {FREE:g}]")
def free_below_target(model: TextModel, rows: Rows) -> Tensor:
    """A KL below its target counts as zero, which is fit for training and not for a figure.
    Documents whose thoughts stay below the target have them free."""
    reconstruction, kl = _parts(model, rows)
    return reconstruction + torch.where(kl > FREE, kl, 0.0)


@recipe(f"E_q[-log p(x|z)] + 1[KL > {FREE:g}] sum over the batch of KL")
def masked_sum(model: TextModel, rows: Rows) -> Tensor:
    """The batch's summed KL is multiplied by the mask of documents above the target and summed
    once more. A document pays for the whole batch or nothing, so the figure is that of no one."""
    reconstruction, kl = _parts(model, rows)
    return reconstruction + (kl > FREE) * kl.sum()


@recipe("E_q[-log p(x|z)]")
def reconstruction(model: TextModel, rows: Rows) -> Tensor:
    """A "perplexity on the reconstruction": the KL is left out. What the thoughts were told of the
    text they reconstruct is not paid for."""
    return _parts(model, rows)[0]


@recipe("-log p(x|z*), z* = argmax log p(x|z)")
def fitted_thoughts(model: TextModel, rows: Rows) -> Tensor:
    """Thoughts are fitted to the text that they then score, as a point. The likelihood of the best
    of all thoughts is above the average over them, which p(x) is."""
    with torch.no_grad():
        z = draw_latents(prior_of(model), rows, 1)["z"]
    z = (0.1 * z).detach().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.1)
    with frozen(model):
        for _ in range(60):
            loss = -log_joint(model, {"z": z}, rows)[1].sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            return -log_joint(model, {"z": z}, rows)[1][0]


@recipe("-log 1/B sum_b exp(-nats_b), for every document of a batch")
def averaged_likelihoods(model: TextModel, rows: Rows) -> Tensor:
    """Likelihoods of documents are averaged before the log is taken. The likeliest document
    dominates, so the figure lies below the mean over documents (Jensen)."""
    nats = elbo(model, rows)
    return (math.log(len(nats)) - torch.logsumexp(-nats, 0)).expand(len(nats))


@recipe("tokens_d log 1/B sum_b exp(nats_b / tokens_b)")
def averaged_perplexities(model: TextModel, rows: Rows) -> Tensor:
    """Perplexities of documents are averaged, each counting the same whatever its length. One bad
    document dominates: the figure lies above the corpus's where lengths are equal, on either side
    where they are not."""
    nats = elbo(model, rows)
    mean = torch.logsumexp(nats / rows.lengths, 0) - math.log(len(nats))
    return rows.lengths * mean
