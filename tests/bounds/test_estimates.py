"""What estimates tell of themselves: their draws, the spread of them, and what stands in them."""

import math

import pytest
import torch

from ltm_pyro.bounds.elbo import baseline, elbo, prior, same_noise
from ltm_pyro.bounds.importance import _even, _wide, grid, importance_weights, iwae
from ltm_pyro.bounds.upper import upper
from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.models import AutoregressiveModel

from ..exact import linear_gaussian, task, tiny_decoder


@pytest.fixture
def one(model, rows):
    return task(model, rows, MeanField, Fast(steps=1))


def test_figures_take_the_draws_that_their_pages_tell(one):
    draws = {f.__name__: f(one).draws for f in (elbo, prior, iwae, same_noise)}
    assert draws == {"elbo": 16, "prior": 16, "iwae": 64, "same_noise": 1}
    assert "at most 16 temperatures" in upper(one).protocol
    for number in (3, 8, 10, 17):  # eight at once
        assert importance_weights(one, number).shape == (number, len(one.rows))


def test_a_spread_over_draws_is_known_from_two_on(one):
    for figure in (elbo, prior, iwae):
        assert figure(one, 1).variance is None, figure
        assert (figure(one, 2).variance > 0).all(), figure
    assert same_noise(one, 2).variance is None  # they are the draws of the fit


def test_what_holds_the_density_of_the_prior(config, one):
    one.baseline = AutoregressiveModel(config)
    assert [f(one).holds_prior_density for f in (elbo, iwae)] == [True, True]
    assert [f(one).holds_prior_density for f in (prior, baseline)] == [False, False]


def test_the_released_protocol_tells_what_it_calls_perplexity(one):
    assert [f(one).row_perplexities for f in (elbo, same_noise)] == [False, True]
    assert [f(one).is_bound for f in (elbo, same_noise)] == [True, False]


@pytest.mark.parametrize("sd", [0.3, 1.0, 30.0, 300.0])
def test_places_of_a_grid_stand_for_the_line_between_them(sd):
    """Normal densities have mass 1 on both where they reach; the trapezoidal rule sees to it."""
    for rule, least, most in ((_even, 0.1, 1.2), (_wide, 0.2, 500.0)):
        places, weights, _ = rule(400)
        density = torch.exp(-0.5 * (places.double() / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
        if least < sd < most:
            assert float((density * weights).sum()) == pytest.approx(1, abs=1e-4)
    assert _even(400)[0][[0, -1]].tolist() == [-7, 7]
    assert _wide(400)[0].abs().max() > 3000


def test_a_grid_refuses_a_prior_whose_mass_it_misses():
    model, rows = tiny_decoder(0, 4)
    with pytest.raises(InputError, match=r"the prior's mass comes out as .*\(grid:20\)"):
        grid(task(model, rows, MeanField), 5)
    with pytest.raises(InputError, match="this model has 6"):
        grid(task(*linear_gaussian(0), MeanField))
