"""Variances of estimates, the fit given, against what other draws give."""

import math

import pytest
import torch

from ltm_pyro.bounds.elbo import elbo, prior
from ltm_pyro.bounds.importance import iwae
from ltm_pyro.bounds.predictive import predictive
from ltm_pyro.programs.densities import simulate

from ..exact import exact_guide, linear_gaussian, no_fit, task

CASES = {
    "elbo": (elbo, 4, {"widen": 0.7}),  # its KL is drawn, and most of the noise
    "elbo, wide": (elbo, 4, {"widen": 1.5}),
    "iwae": (iwae, 32, {"widen": 1.3}),
    "prior": (prior, 8, {}),
    "predictive": (predictive, 2, {"widen": 1.2}),
}


# The errors of the others are held to their spread by test_coverage and test_predictive, too.
OFTEN = {"elbo", "prior"}


@pytest.mark.parametrize(
    "name", [n if n in OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_the_variance_is_that_of_other_draws(name):
    estimator, number, wrong = CASES[name]
    model, rows = linear_gaussian(0, documents=24)
    if name == "predictive":  # so that 16 weights are not carried by one
        model.weight.data *= 0.2
        rows, _ = simulate(model, rows.lengths, 0)
    guide = exact_guide(model, **wrong)
    repeats = 60
    found = [estimator(task(model, rows, guide, no_fit(), s), number) for s in range(repeats)]
    seen = torch.stack([one.nats for one in found]).var(0).sum()
    claimed = torch.stack([one.variance for one in found]).mean(0).sum()
    # 24 documents: variances are known to sqrt(2 / (24 repeats)), and heavy tails double that.
    assert float(seen / claimed) == pytest.approx(1.0, abs=4.5 * 2 * math.sqrt(2 / 24 / repeats))
