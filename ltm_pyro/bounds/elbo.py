"""The ELBO with fresh draws, the score of the prior, the baseline, and the released protocol."""

import dataclasses
import weakref
from collections import deque
from typing import Any

import torch
from torch import Tensor

from ltm_pyro.bounds.estimate import Estimate, Task, figure, with_shared
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.guides import NoGuide
from ltm_pyro.inference.operations import training_flops
from ltm_pyro.inference.posterior import pieces
from ltm_pyro.inference.released import RATE, released_fit
from ltm_pyro.models import TextModel
from ltm_pyro.programs.densities import draw_latents, log_joint, prior_of
from ltm_pyro.programs.elbo import ElboTerms, elbo_terms
from ltm_pyro.seeds import Noise, Stream, derive


@figure
@with_shared
def elbo(task: Task, draws: int = 16) -> Estimate:
    """The negative ELBO of a fitted guide, over draws that the fit never saw.

    In expectation at least -log p(x): E_q[log p(x, z) - log q(z)] <= log p(x) whatever q is, as
    long as the draws are independent of how q was fitted (Jordan et al. 1999).
    """
    terms = task.posterior.elbo(draws)
    return _mean(terms, f"bound: {task.how}, {draws} fresh draws")


@figure
@torch.no_grad()
def prior(task: Task, draws: int = 16) -> Estimate:
    """E_p(z)[-log p(x | z)]: what the decoder does with thoughts that know nothing of the text.

    The negative ELBO of the guide q(z) = p(z), whose KL is zero, so a bound too.
    """
    scores = []
    noise = Noise(derive(task.seed, Stream.PRIOR_SCORE), task.rows.key)
    for number in pieces(draws):
        with noise.draw():
            latents = draw_latents(prior_of(task.model), task.rows, number)
        scores.append(-log_joint(task.model, latents, task.rows)[1])
    nats = torch.cat(scores)
    variance = nats.var(0) / draws if draws > 1 else None
    protocol = f"bound: z from the prior, {draws} fresh draws"
    return Estimate(nats.mean(0), protocol, draws, variance, holds_prior_density=False)


@figure
@with_shared
def baseline(task: Task) -> Estimate:
    """-log p(x) of the decoder without latents: exact, no draws.

    The protocol says how large both sides are, and what one iteration of training would cost each
    for a token of the text with the fast loop that is scored with; how they were trained is not
    known here (a run's record tells).
    """
    if task.baseline is None:
        raise InputError("no baseline to score: this model was trained without one")
    with torch.no_grad():
        terms = elbo_terms(task.baseline, NoGuide(), task.rows)
    if "baseline" not in task.said:
        task.said["baseline"] = _both_sides(task.model, task.baseline, task)
    protocol = f"exact: a decoder without latents ({task.said['baseline']})"
    nats = -terms.log_likelihood[0]
    return Estimate(nats, protocol, holds_prior_density=False, observed=("tokens",))


def _both_sides(model: TextModel, baseline: TextModel, task: Task) -> str:
    """Parameters, and FLOPs of an iteration on a token of the first row: baseline, then model."""
    sizes = " beside ".join(f"{one.parameter_count():,}" for one in (baseline, model))
    row = task.rows[:1]
    spent = _flops(baseline, row), _flops(model, row, task.guide, task.fast)
    flops = " beside ".join(f"{one / 1e6:,.3g}" for one in spent)
    return f"{sizes} parameters, {flops} million FLOPs a token of an iteration with this fast loop"


_counted: deque[tuple[Any, Any, float]] = deque(maxlen=4)
"""What was counted last, of which model: all looks of a run ask for the same."""


def _flops(model: TextModel, row: Rows, *loop: Any) -> float:
    """`training_flops`, not counted anew for the same parts, guide and loop, and an equal row."""
    shapes = tuple((p.shape, p.requires_grad) for p in model.parameters())
    parts = [weakref.ref(one) for one in (*model.children(), *loop[:1])]  # none is kept alive
    asked = (tuple(row.tokens.shape), row.token_count, shapes, parts, loop[1:])
    for of, known, flops in _counted:
        if of() is model and known == asked:
            return flops
    flops = training_flops(model, row, *loop)
    _counted.append((weakref.ref(model), asked, flops))
    return flops


@figure
def same_noise(task: Task, draws: int = 1) -> Estimate:
    """The released protocol: one draw for the whole fit, and reported with that same draw.

    Not a bound: the guide has adapted to the draw it is scored with. Guide, start, optimizer and
    rates are the released code's whatever the run's are, so that what it shows is its own; the
    number of fast steps is the run's. Beside the corpus's perplexity stands what that code reports,
    the mean over rows of each one's.
    """
    seed, rows = task.seed, task.rows
    noise = Noise(derive(seed, Stream.SAME_NOISE), rows.key, fixed=True)
    start = Noise(derive(seed, Stream.SAME_NOISE, 1), rows.key)
    guide = released_fit(task.model, rows, task.fast.steps, noise, start, draws)
    with torch.no_grad(), noise.draw():
        terms = elbo_terms(task.model, guide, rows, draws)
    protocol = (
        f"NOT A BOUND: the released protocol, {task.fast.steps} fast steps of AdamW at {RATE:g} on "
        "MeanField, scored with the draw they were fitted to"
    )
    estimate = _mean(terms, protocol)
    return dataclasses.replace(
        estimate, variance=None, values=None, is_bound=False, row_perplexities=True
    )


def _mean(terms: ElboTerms, protocol: str) -> Estimate:
    draws = len(terms.elbo)
    variance: Tensor | None = terms.elbo.var(0) / draws if draws > 1 else None
    reconstruction, kl = -terms.log_likelihood.mean(0), terms.kl.mean(0)
    parts = {"reconstruction": reconstruction, "kl": kl}
    if len(terms.by_site) > 1:
        parts = {**{site: -term.mean(0) for site, term in terms.by_site.items()}, "kl": kl}
    return Estimate(reconstruction + kl, protocol, draws, variance, parts, values=-terms.elbo)
