"""What each dimension carries, beside closed forms."""

import math

import numpy as np
import pytest
import torch

from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.diagnostics import thought_use
from ltm_pyro.diagnostics.units import Part, _normal_kl, active_units
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LinearGaussianModel
from ltm_pyro.programs.densities import simulate

from ..exact import exact_guide, linear_gaussian, no_fit

WEIGHTS = torch.tensor([2.0, 1.0, 0.5, 1.5, 1.0, 0.7])


class Exactly(MeanField):
    """The posterior of orthogonal weights in unit noise, which is a product."""

    def start(self, model, batch):
        mean, covariance = model.posterior(batch)
        self.loc.data = mean.reshape(self.loc.shape).detach()
        variance = covariance.diagonal(0, -2, -1).reshape(self.loc.shape)
        self.log_variance.data = variance.log().detach()


def test_what_each_layer_earns_is_known():
    """In unit noise a dimension earns, in place of a prior draw, what algebra says of each row.

    The error is the mean's over rows; of eight seeds' draws it is another, which tells how far the
    mean over them may be off.
    """
    model = LinearGaussianModel(Thoughts(2, 1, 3), torch.diag(WEIGHTS), scale=1.0)
    rows, _ = simulate(model, torch.full((20,), 6), 0)
    x, square = rows.tokens.double(), WEIGHTS.double() ** 2
    variance = 1 / (1 + square)
    mean = WEIGHTS * x * variance
    kl = 0.5 * (variance + mean**2 - 1 - variance.log())
    misfit = x**2 + square - (x - WEIGHTS * mean) ** 2 - square * variance
    earned = 0.5 * misfit - kl  # (rows, dimensions)
    posterior = infer(model, rows, Exactly, Fast(steps=0))
    uses = [thought_use(posterior, 100, seed=seed) for seed in range(8)]
    for layers in (1, 2):
        truth = earned[:, : 3 * layers].sum(1)
        found, errors = np.array([use.ablation[layers] for use in uses]).T
        assert abs(found.mean() - truth.mean()) < 4 * found.std(ddof=1) / 8**0.5
        over_rows = (truth.var() / 20 + found.var(ddof=1)) ** 0.5
        assert errors.mean() == pytest.approx(float(over_rows), rel=0.05)
    np.testing.assert_allclose(uses[0].kl.ravel(), kl.mean(0), rtol=1e-4)


def test_layers_of_no_product_are_not_told_apart():
    model, rows = linear_gaussian(0)
    use = thought_use(infer(model, rows, exact_guide(model), no_fit()), 8)
    assert np.isnan(use.ablation[1]).all()
    assert np.isfinite(use.ablation[[0, 2]]).all()


def test_a_kl_of_moments_has_no_bias():
    """Of eight draws, whose own moments would have a bias of nearly a nat."""
    source = torch.Generator().manual_seed(0)
    sd, shift, n = 1.5, 1.0, 8
    q = 3 + shift + sd * torch.randn(n, 100_000, generator=source, dtype=torch.float64)
    p = 3 + torch.randn(n, 100_000, generator=source, dtype=torch.float64)
    kl = _normal_kl(q, p)
    truth = 0.5 * (sd**2 + shift**2 - 1 - 2 * math.log(sd))
    assert float(kl.mean()) == pytest.approx(truth, abs=4 * 0.0053)  # of 100,000 with an sd of 1.7


def part(means, error, prior):
    one, other = (torch.tensor(m)[:, None] for m in means)
    return Part(one, (one, other), torch.full_like(one, error), torch.tensor([[prior]]), True, one)


@pytest.mark.parametrize(
    ("error", "prior", "active"),
    [
        (0.0, 1.99, True),  # more than a hundredth of the prior's variance: 0.02
        (0.0, 2.01, False),
        (0.0099, 0.53, False),  # or no more than its error, three times 0.0099 / 2, allows for
        (0.0099, 0.51, True),
    ],
)
def test_a_unit_is_active_from_a_share_of_the_priors_variance_on(error, prior, active):
    """Five rows whose means have a covariance of 0.02, in two chunks."""
    one = torch.tensor([-1.0, 0.0, 1.0, 0.0, 0.0]) + 7
    other = 0.04 * (one - 7) - 3
    parts = [part((one[:2].tolist(), other[:2].tolist()), error, prior),
             part((one[2:].tolist(), other[2:].tolist()), error, prior)]  # fmt: skip
    assert active_units(parts).tolist() == [active]
