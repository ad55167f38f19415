"""Every estimator against log p(x) that is known, and the wrong ones beside them.

All figures are of -log p(x): a bound lies above the exact value in expectation. Means over
documents and seeds are compared in units of their own standard error; 4 of them happen by chance
once in 16,000 times.
"""

import functools
import math
import sys

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds.annealed import Path, ais, ais_prior
from ltm_pyro.bounds.elbo import elbo, prior, same_noise
from ltm_pyro.bounds.importance import grid, importance_weights, iwae, log_mean_exp
from ltm_pyro.bounds.predictive import predictive
from ltm_pyro.bounds.sandwich import sandwich
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.programs.densities import log_density, log_joint, prior_of, simulate, token_log_prob

from ..exact import FAST, exact_guide, linear_gaussian, no_fit, task, tiny_decoder, z_score

SEEDS = range(4)


@pytest.fixture(
    autouse=True,
    params=[pytest.param(2, id="2 seeds"), pytest.param(4, id="4 seeds", marks=pytest.mark.slow)],
)
def _seeds(request, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SEEDS", range(request.param))


@functools.cache
def fitted(seed):
    """The linear-Gaussian model's documents under a mean field, whose fit all tests share."""
    return task(*linear_gaussian(seed), MeanField, FAST, seed)


def excess(estimator, seed, *numbers, guide=None, fast=FAST):
    """Estimate minus exact -log p(x), nats, for each document of the linear-Gaussian model."""
    one = fitted(seed)
    model, rows = one.model, one.rows
    if guide is not None or fast is not FAST:
        maker = MeanField if guide is None else guide(model)
        one = task(model, rows, maker, fast, seed)
    return (estimator(one, *numbers).nats + model.log_marginal(rows)).detach().numpy()


def over_seeds(estimator, *numbers, **rest):
    return np.concatenate([excess(estimator, seed, *numbers, **rest) for seed in SEEDS])


def test_the_elbo_is_a_bound_and_tight_at_the_exact_posterior():
    assert z_score(over_seeds(elbo, 64)) > 4
    assert np.abs(over_seeds(elbo, 4, guide=exact_guide, fast=no_fit())).max() < 1e-3
    wide = over_seeds(elbo, 64, guide=lambda m: exact_guide(m, widen=1.5), fast=no_fit())
    closed_form = 6 * (1.5**2 - 1 - math.log(1.5**2)) / 2  # KL of the widened posterior
    assert abs(z_score(wide, closed_form)) < 4


def test_noise_that_the_fit_has_seen_gives_no_bound():
    assert z_score(over_seeds(same_noise, fast=Fast(steps=150, lr=0.1))) < -4


def test_the_score_of_the_prior_is_a_bound_far_above():
    assert over_seeds(prior, 64).mean() > over_seeds(elbo, 16).mean() + 1


def test_iwae_falls_to_the_exact_value():
    *rest, last = (over_seeds(iwae, k) for k in (1, 8, 64, 512))
    means = [nats.mean() for nats in (*rest, last)]
    assert means == sorted(means, reverse=True)
    assert z_score(last) > -4
    assert last.mean() < 0.15 * means[0]
    assert np.abs(over_seeds(iwae, 4, guide=exact_guide, fast=no_fit())).max() < 1e-3


def test_weights_reduced_jointly_would_not_be_this_bound():
    """One log-mean-exp over the sum of a batch's log weights is another, looser number."""
    model, rows = linear_gaussian(0)
    log_w = importance_weights(task(model, rows, MeanField), 256)
    exact = -model.log_marginal(rows).sum().item()
    per_document = -log_mean_exp(log_w)[0].sum().item()
    joint = -log_mean_exp(log_w.sum(1))[0].item()
    assert per_document - exact < 12
    assert joint - exact > 2 * (per_document - exact)


def test_a_mean_of_exponentials_is_not_the_perplexity():
    model, rows = linear_gaussian(0)
    figure = ltm.evaluate(model, rows, ["elbo"], fast=FAST, progress=False)["elbo"]
    wrong = np.exp(figure.nats / figure.tokens).mean()
    error = figure.perplexity * figure.standard_error
    assert abs(wrong - figure.perplexity) > 1.5 * error


def test_annealing_encloses_the_exact_value():
    lower, upper = [], []
    for seed in range(4):
        model, _ = linear_gaussian(seed)
        found = sandwich(
            model, torch.full((32,), 6), ["prior:1"], temperatures=40, fast=no_fit(), seed=seed,
            progress=False,
        )  # fmt: skip
        rows, _ = simulate(model, torch.full((32,), 6), ltm.seeds.derive(seed, 0))
        exact = model.log_marginal(rows).detach().numpy()
        lower.append(found.lower - exact)
        upper.append(found.upper - exact)
    lower, upper = np.concatenate(lower), np.concatenate(upper)
    assert z_score(lower) < 4
    assert z_score(upper) > -4
    assert 0 <= (upper - lower).mean() < 0.6


@pytest.mark.parametrize("estimator", [ais, pytest.param(ais_prior, marks=pytest.mark.slow)])
def test_ais_is_a_bound_that_tightens(estimator):
    short, long = over_seeds(estimator, 4), over_seeds(estimator, 80)
    assert z_score(long) > -4
    assert long.mean() < 0.35 * short.mean() + 0.02
    assert long.mean() < 0.3


def test_ais_weights_are_unbiased():
    """The mean of exp(log weight - log p(x)) over many chains is 1, whatever the moves do."""
    model, rows = linear_gaussian(0, documents=4)
    with torch.no_grad():
        exact = model.log_marginal(rows)
    ratio = (Path(model, prior_of(model), rows, 12, 0).forward(4000) - exact).exp().numpy()
    for document in range(4):
        assert abs(z_score(ratio[:, document], 1.0)) < 4.5


def test_the_prediction_of_exact_posteriors_is_the_exact_likelihood(monkeypatch):
    monkeypatch.setattr("ltm_pyro.bounds.predictive.DRAWS", 400)
    monkeypatch.setattr("ltm_pyro.inference.posterior.AT_ONCE", 100)  # they fit into memory
    got = over_seeds(predictive, 1, guide=exact_guide, fast=no_fit())
    assert abs(got.mean()) < 0.05
    fitted = over_seeds(predictive, 4)
    assert z_score(fitted) > -4


def test_a_prefix_that_peeks_would_be_caught():
    """Thoughts that have seen the block score it better than any valid code could."""
    peeking = []
    for seed in SEEDS:
        model, rows = linear_gaussian(seed)
        guide, rows = task(model, rows, exact_guide(model), no_fit()).posterior.chunks[0]
        from ltm_pyro.programs.densities import draw_latents

        scores = token_log_prob(model, draw_latents(guide, rows, 64), rows).sum(-1)
        peeking.append((-log_mean_exp(scores)[0] + model.log_marginal(rows)).detach().numpy())
    assert z_score(np.concatenate(peeking)) < -4


def test_counting_padding_would_be_caught():
    model, rows = linear_gaussian(0)
    everything = Rows(rows.tokens, torch.full_like(rows.lengths, 8), rows.document, rows.bytes)
    masked = elbo(task(model, rows, exact_guide(model), no_fit()), 16).nats
    counted = elbo(task(model, everything, exact_guide(model), no_fit()), 16).nats
    torch.testing.assert_close(masked, -model.log_marginal(rows), atol=1e-3, rtol=0)
    assert z_score((counted + model.log_marginal(rows)).detach().numpy()) > 4


def test_a_decoder_on_a_grid():
    """A real Transformer with two latent dimensions: log p(x) by quadrature."""
    found = {name: [] for name in ("elbo", "iwae", "ais", "ais_prior", "predictive", "same")}
    for seed in SEEDS[::2]:
        model, rows = tiny_decoder(seed)
        one = task(model, rows, MeanField, Fast(steps=100, lr=0.1, particles=4), seed)
        exact = grid(one, 64).nats
        torch.testing.assert_close(exact, grid(one, 40).nats, atol=0.01, rtol=0)
        for name, estimate in {
            "elbo": elbo(one, 64), "iwae": iwae(one, 256), "ais": ais(one, 20),
            "ais_prior": ais_prior(one, 40), "predictive": predictive(one, 3),
        }.items():  # fmt: skip
            found[name].append((estimate.nats - exact).detach().numpy())
        # Its shortfall is small beside its spread over documents: it takes many to see it.
        many = task(*tiny_decoder(seed, 256), MeanField, Fast(steps=100, lr=0.1), seed)
        found["same"].append((same_noise(many).nats - grid(many, 40).nats).detach().numpy())
    gaps = {name: np.concatenate(values) for name, values in found.items()}
    assert gaps["elbo"].mean() > 0
    for name in ("elbo", "iwae", "ais", "ais_prior", "predictive"):
        assert z_score(gaps[name]) > -4, name
    for name in ("iwae", "ais", "ais_prior"):
        assert gaps[name].mean() < max(0.5 * gaps["elbo"].mean(), 0.02), name
    assert z_score(gaps["same"]) < -4


def test_the_grid_is_for_tiny_models_only(model, rows):
    with pytest.raises(InputError, match="this model has 12"):
        grid(task(model, rows, MeanField))


def test_densities_of_the_exact_model_agree():
    model, rows = linear_gaussian(0)
    _, latents = simulate(model, rows.lengths, 3)
    log_p_z, log_p_x = log_joint(model, latents, rows)
    log_post = log_density(exact_guide(model)(model.thoughts, len(rows)), latents, rows)
    bayes = log_p_z + log_p_x - log_post  # log p(x) at any z
    torch.testing.assert_close(bayes[0], model.log_marginal(rows), atol=2e-4, rtol=1e-4)


def test_simulated_documents_follow_the_model():
    model, _ = linear_gaussian(0)
    rows, latents = simulate(model, torch.full((20_000,), 8), 5)
    covariance = (model.weight @ model.weight.T + 0.64 * torch.eye(8)).detach()
    got = rows.tokens.T @ rows.tokens / len(rows)
    spread = covariance.diag()
    error = ((spread[:, None] * spread[None] + covariance**2) / len(rows)).sqrt()
    assert ((got - covariance) / error).abs().max() < 4.5
    assert latents["z"].shape == (1, 20_000, 2, 1, 3)
