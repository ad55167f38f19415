"""The ELBO with fresh draws, the score of the prior, the baseline, and the released protocol."""

import dataclasses

import torch
from torch import Tensor

from ltm_pyro.bounds.estimate import Estimate, Task, figure
from ltm_pyro.errors import InputError
from ltm_pyro.guides import NoGuide
from ltm_pyro.inference.local import fit_guide, new_guide
from ltm_pyro.inference.posterior import pieces
from ltm_pyro.inference.released import Released
from ltm_pyro.programs.densities import draw_latents, log_joint, prior_of
from ltm_pyro.programs.elbo import ElboTerms, elbo_terms
from ltm_pyro.seeds import Noise, Stream, derive


@figure
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
def baseline(task: Task) -> Estimate:
    """-log p(x) of the decoder without latents: exact, no draws."""
    if task.baseline is None:
        raise InputError("no baseline to score: this model was trained without one")
    with torch.no_grad():
        terms = elbo_terms(task.baseline, NoGuide(), task.rows)
    sizes = " beside ".join(f"{m.parameter_count():,}" for m in (task.baseline, task.model))
    protocol = f"exact: the same decoder without latents ({sizes} parameters)"
    nats = -terms.log_likelihood[0]
    return Estimate(nats, protocol, holds_prior_density=False, observed=("tokens",))


@figure
def same_noise(task: Task, draws: int = 1) -> Estimate:
    """The released protocol: one draw for the whole fit, and reported with that same draw.

    Not a bound: the guide has adapted to the draw it is scored with.
    """
    guide = new_guide(task.model, task.guide, task.rows)
    noise = Noise(derive(task.seed, Stream.SAME_NOISE), task.rows.key, fixed=True)
    fast = dataclasses.replace(task.fast, particles=draws)
    fit_guide(task.model, guide, task.rows, fast, noise)
    with torch.no_grad(), noise.draw():
        terms = elbo_terms(task.model, guide, task.rows, draws)
    protocol = f"NOT A BOUND: {task.how}, scored with the draw they were fitted to"
    if not isinstance(task.fast, Released):
        protocol += " (as the released code scores, but with a guide and a loop of this run's own)"
    return dataclasses.replace(_mean(terms, protocol), variance=None, is_bound=False)


def _mean(terms: ElboTerms, protocol: str) -> Estimate:
    draws = len(terms.elbo)
    variance: Tensor | None = terms.elbo.var(0) / draws if draws > 1 else None
    reconstruction, kl = -terms.log_likelihood.mean(0), terms.kl.mean(0)
    parts = {"reconstruction": reconstruction, "kl": kl}
    if len(terms.by_site) > 1:
        parts = {**{site: -term.mean(0) for site, term in terms.by_site.items()}, "kl": kl}
    return Estimate(reconstruction + kl, protocol, draws, variance, parts)
