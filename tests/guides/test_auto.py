"""Pyro's automatic guides as per-document guides."""

import functools

import pyro
import pytest
import torch
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormalizingFlow

import ltm_pyro as ltm
from ltm_pyro.config import Thoughts
from ltm_pyro.guides import Auto, Covariance, MeanField
from ltm_pyro.programs.densities import log_density

from ..exact import linear_gaussian
from .helpers import FITTED, bound, fit, fixed_rows, shaken

AUTO = [name for name in FITTED if name.startswith("Auto")]
ROWS = fixed_rows(torch.zeros(3, 2))


class Wide(AutoDiagonalNormal):
    """An autoguide of one's own."""

    def get_posterior(self, *args, **kwargs):
        return pyro.distributions.Normal(self.loc, 2 * self.scale).to_event(1)


class Odd(AutoDiagonalNormal):
    def get_posterior(self, *args, **kwargs):
        return pyro.distributions.Laplace(self.loc, self.scale).to_event(1)


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("AutoDiagonalNormal", MeanField),
        pytest.param("AutoMultivariateNormal", Covariance, marks=pytest.mark.slow),
    ],
)
def test_it_finds_what_the_guide_of_the_same_family_finds(name, twin):
    model, rows = linear_gaussian(documents=6)
    make = functools.partial(Auto, guide=name)
    found, expected = (
        bound(model, fit(model, m, rows, 250), rows, 2000)[0].mean() for m in (make, twin)
    )
    assert found == pytest.approx(float(expected), abs=0.05)


@pytest.mark.parametrize("name", AUTO)
def test_documents_have_posteriors_of_their_own(name):
    """Parameters of one document change its density alone."""
    guide = shaken(FITTED[name](Thoughts(1, 1, 2), 3), 0.3)
    z = {"z": torch.linspace(-2, 2, 10).reshape(5, 1, 1, 1, 2).expand(-1, 3, -1, -1, -1)}
    before = log_density(guide, z, ROWS).detach()
    with torch.no_grad():
        for values in guide.parameters():
            values[1] += 0.5
    after = log_density(guide, z, ROWS).detach()
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert (before[:, 1] != after[:, 1]).all()


def test_flows_are_known_at_their_own_draws():
    """There the inverse, a network pass for each dimension, is not needed."""
    guide = shaken(Auto(Thoughts(2, 1, 2), 3, guide="AutoIAFNormal", num_transforms=2), 0.2)
    q = guide.distribution()
    z = q.rsample((4,))
    assert q.log_prob(z).detach().numpy() == pytest.approx(
        guide.distribution().log_prob(z.clone()).detach().numpy(), abs=1e-4
    )


def test_options_reach_the_autoguide():
    thoughts = Thoughts(2, 1, 2)
    narrow = Auto(thoughts, 2, init_scale=0.3).distribution().stddev.detach()
    assert narrow.numpy() == pytest.approx(0.3)
    low = Auto(thoughts, 2, guide="AutoLowRankMultivariateNormal", rank=3)
    assert low.distribution().base.cov_factor.shape == (2, 1, 4, 3)
    flow = Auto(thoughts, 2, guide="AutoIAFNormal", hidden_dim=9, num_transforms=3)
    assert len(flow.distribution().transforms[0]) >= 1
    assert sum(values.shape[-1] == 9 for values in flow.parameters()) >= 3


def test_an_autoguide_of_ones_own():
    name = f"{__name__}:Wide"
    q = Auto(Thoughts(2, 1, 2), 3, guide=name).distribution()
    assert q.stddev.detach().numpy() == pytest.approx(2)
    with pytest.raises(ltm.InputError, match="posterior of kind Independent: expected a normal"):
        Auto(Thoughts(2, 1, 2), 3, guide=f"{__name__}:Odd").distribution()
    with pytest.raises(ltm.InputError, match=r"AutoNormalizingFlow: .*init_transform_fn"):
        Auto(Thoughts(2, 1, 2), 3, guide=AutoNormalizingFlow.__name__)


def test_nothing_is_drawn_from_the_global_generator():
    state = torch.get_rng_state()
    for name in AUTO:
        FITTED[name](Thoughts(1, 1, 2), 2).distribution()
    assert torch.equal(torch.get_rng_state(), state)
    assert not pyro.get_param_store()
