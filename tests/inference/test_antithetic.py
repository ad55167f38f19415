"""Draws in pairs: each a draw of q, and what is odd about its mean cancels."""

import functools

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds.estimate import how
from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Covariance, Flow, Layerwise, MeanField, Stein
from ltm_pyro.inference.posterior import infer
from ltm_pyro.inference.released import Released
from ltm_pyro.programs.densities import drawing
from ltm_pyro.programs.elbo import elbo_terms
from ltm_pyro.seeds import Noise

from ..conftest import some_rows
from ..exact import linear_gaussian, z_score

SEEDS = 200
NORMAL = {
    "mean-field": MeanField,
    "covariance": Covariance,
    "low-rank": functools.partial(Covariance, rank=1),
}
GUIDES = {**NORMAL, "layerwise": Layerwise, "flow": Flow}


def moved(make, model, documents):
    """A guide that is nowhere near its start."""
    guide, source = make(model.thoughts, documents), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=source))
    return guide


def draws(guide, rows, particles, antithetic=True):
    """z, shape (particles, documents, ...)."""
    with Noise(1, rows.key).draw(antithetic):
        return drawing(guide, particles)(rows)


@pytest.mark.parametrize("documents", [1, 3])
@pytest.mark.parametrize("make", NORMAL.values(), ids=NORMAL)
@pytest.mark.parametrize("particles", [2, 4, 5])
def test_the_second_half_mirrors_the_first_about_the_mean(model, documents, make, particles):
    rows, pairs = some_rows(documents), particles // 2
    guide = moved(make, model, documents)
    z = draws(guide, rows, particles)
    alone = draws(guide, rows, particles, antithetic=False)
    assert torch.equal(z[:pairs], alone[:pairs])
    assert torch.equal(z[2 * pairs :], alone[2 * pairs :])  # of an odd number one stands alone
    mean = guide.distribution().mean.expand_as(z[:pairs])
    assert mean.abs().mean() > 0.1
    torch.testing.assert_close(z[:pairs] + z[pairs : 2 * pairs], 2 * mean)
    assert not torch.equal(z[pairs : 2 * pairs], alone[pairs : 2 * pairs])


def test_a_document_has_its_pairs_whatever_the_batch(model):
    rows, one = some_rows(4), some_rows(4)[[2]]
    together = draws(MeanField(model.thoughts, 4), rows, 4)
    alone = draws(MeanField(model.thoughts, 1), one, 4)
    assert torch.equal(together[:, 2].flatten(), alone.flatten())


def test_one_draw_has_no_partner(model):
    """The first dimension of one draw of one document may be its layers."""
    rows, guide = some_rows(1), MeanField(model.thoughts, 1)
    z = draws(guide, rows, 1)
    assert torch.equal(z, draws(guide, rows, 1, antithetic=False))


def gradient(model, guide, rows, seed, antithetic):
    """Of the ELBO of two draws in each local parameter, (documents, ...)."""
    with Noise(seed, rows.key).draw(antithetic):
        terms = elbo_terms(model, guide, rows, 2)
    return torch.autograd.grad(terms.objective().mean(0).sum(), list(guide.parameters()))


def test_on_a_quadratic_a_pair_has_the_exact_gradient_of_the_mean():
    """C^-1 (posterior mean - m), which independent draws miss by C^-1 times their noise."""
    model, rows = linear_gaussian(documents=5)
    guide = moved(MeanField, model, 5)
    mean, covariance = model.posterior(rows)
    away = (mean - guide.loc.flatten(1)).unsqueeze(-1)
    exact = torch.linalg.solve(covariance, away).squeeze(-1).reshape(guide.loc.shape).detach()
    for seed in range(5):
        paired, _ = gradient(model, guide, rows, seed, True)
        torch.testing.assert_close(paired, exact, rtol=1e-4, atol=1e-4)
        single, _ = gradient(model, guide, rows, seed, False)
        assert (single - exact).abs().mean() > 0.1


@pytest.mark.parametrize("make", GUIDES.values(), ids=GUIDES)
def test_gradients_are_unbiased_and_that_of_the_mean_is_less_noisy(model, make):
    rows = some_rows(3)
    guide, source = moved(make, model, 3), torch.Generator().manual_seed(7)
    names = [name for name, _ in guide.named_parameters()]
    along = [torch.randn(p.shape, generator=source) for p in guide.parameters()]

    def slopes(antithetic, first):
        """Along one direction in all parameters, and in the means alone."""
        found = []
        for seed in range(first, first + SEEDS):
            parts = gradient(model, guide, rows, seed, antithetic)
            each = [float((g * a).sum()) for g, a in zip(parts, along, strict=True)]
            found.append((sum(each), each[names.index("loc")]))
        return torch.tensor(found, dtype=torch.float64).T

    (paired, means), (single, single_means) = slopes(True, 0), slopes(False, SEEDS)
    assert abs(z_score((paired - single).tolist())) < 4.5
    assert abs(z_score((means - single_means).tolist())) < 4.5
    assert means.var() < (0.8 if make is Flow else 0.5) * single_means.var()


def test_a_fit_by_pairs_is_tighter_and_its_figure_says_so():
    """Their gap to the exact log-likelihood, scored by draws of their own, unpaired."""
    model, rows = linear_gaussian()
    fast = Fast.quick().changed(particles=2)
    paired = Fast(steps=4, lr=1.0, optimizer="NaturalGradient", particles=2, antithetic=True)
    found = {
        name: ltm.evaluate(model, rows, "elbo:64", fast=one, repeat=0, progress=False)["elbo"]
        for name, one in (("alone", fast), ("paired", paired))
    }
    gain = (found["alone"].nats - found["paired"].nats).tolist()
    assert z_score(gain) > 4.5
    assert "by 2 draws each in pairs" in found["paired"].protocol
    assert "in pairs" not in found["alone"].protocol
    assert how(MeanField, paired) == (
        "MeanField, 4 fast steps of NaturalGradient at 1 by 2 draws each in pairs"
    )
    exact = -model.log_marginal(rows).detach().numpy()
    assert z_score((found["paired"].nats - exact).tolist()) > 4.5  # a bound all the same


@pytest.mark.parametrize("importance", [1, 4])
def test_what_the_slow_step_draws_is_not_paired(model, rows, monkeypatch, importance):
    """Or the importance-weighted bound that it ascends were not the one that is reported."""
    asked = []
    draw = Noise.draw

    def noted(self, *paired):
        asked.append(paired)
        return draw(self, *paired)

    monkeypatch.setattr(Noise, "draw", noted)
    fast = Fast(steps=2, particles=2, antithetic=True, optimizer="SGD", lr=0.1)
    svi = ltm.DualRateSVI(model, fast=fast, slow=ltm.Slow(importance=importance))
    svi.step(rows)
    assert asked.count((True,)) == fast.steps
    assert asked[-1] == ()
    asked.clear()
    ltm.evaluate(model, rows, "elbo:4,iwae:4", fast=fast, repeat=0, progress=False)
    assert asked.count((True,)) == fast.steps  # nor is what scores


def test_one_draw_cannot_be_paired():
    with pytest.raises(InputError, match=r"fast.antithetic pairs draws, of which .* has 1"):
        Fast(antithetic=True)
    paired = Fast(particles=4, antithetic=True)
    assert paired.changed(particles=1) == Fast()
    assert paired.changed(7, 3) == Fast(steps=7, particles=3, antithetic=True)
    assert paired.changed() == paired
    assert Fast().changed(particles=2, antithetic=True) == Fast(particles=2, antithetic=True)
    assert paired.changed(antithetic=False) == Fast(particles=4)
    with pytest.raises(InputError, match=r"fast.antithetic pairs draws"):
        paired.changed(particles=1, antithetic=True)
    assert isinstance(Released().changed(steps=3), Released)


def test_particles_that_are_moved_are_no_draws(model):
    fast = Fast(steps=2, particles=2, antithetic=True)
    with pytest.raises(InputError, match=r"fast.antithetic pairs the draws of a guide; Stein"):
        infer(model, some_rows(2), Stein, fast)
