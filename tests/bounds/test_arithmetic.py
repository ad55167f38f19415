"""Small parts of figures and certificates, held to exact values."""

import math
import types

import numpy as np
import pytest
import torch

from ltm_pyro.bounds import GivenText
from ltm_pyro.bounds.annealed import Path, State
from ltm_pyro.bounds.certificate import Certificate
from ltm_pyro.bounds.estimate import constant_of
from ltm_pyro.bounds.evaluation import _timed
from ltm_pyro.bounds.figures import Figure
from ltm_pyro.bounds.gate import Misses
from ltm_pyro.bounds.importance import importance_weights
from ltm_pyro.bounds.report import paired, unfitted
from ltm_pyro.seeds import Noise

from ..exact import exact_guide, linear_gaussian, no_fit, task


def figure(nats, tokens=10.0, **rest):
    nats = np.asarray(nats, float)
    return Figure(
        "elbo", "bound", nats, np.full(len(nats), tokens), np.full(len(nats), 40.0), **rest
    )


def test_the_error_of_a_prior_s_constant_cancels_within_one_model():
    rest = {"shared_error": 2.0}
    one, other = (
        figure([1, 2, 4], constant_error=5.0, **rest),
        figure([0, 0, 0], constant_error=3.0),
    )
    own = math.sqrt(7 / 3 / 3) / 10  # of differences 1, 2, 4
    assert paired(one, other, one_model=True)[1] == pytest.approx(
        math.hypot(own, math.hypot(5 - 3, 2) / 30)
    )
    assert paired(one, other)[1] == pytest.approx(math.hypot(own, math.sqrt(25 + 9 + 4) / 30))
    assert paired(one, other)[0] == pytest.approx(7 / 30)


def test_a_fit_that_is_as_good_as_none_is_not_called_worse():
    same = figure([3.0, 4.0, 5.0])
    assert unfitted({"elbo": same, "prior": same}) == ""
    assert "worse than none" in unfitted({"elbo": figure([3.1, 4.1, 5.1]), "prior": same})


@pytest.mark.parametrize("apart", [0.0, 0.5])
def test_the_error_of_both_ends_is_the_gates_or_that_of_the_runs(apart):
    """Runs |log w1 - log w2| apart have a mean of variance (log w1 - log w2)^2 / 4."""
    lower, gap = np.array([-10.0, -20.0, -30.0]), np.array([0.0, 0.3, 0.0])
    two, error = np.array([apart, 2 * apart, 9.0]), np.array([0.1, 0.2, 9.0])
    found = Certificate(
        lower, lower + np.cosh(two) - 1 + gap, error, ["", "", "refused"], *np.ones((3, 3)),
        *np.full((2, 3), 10.0), Misses(8, 8, 0), "", 1.0, np.zeros(3), gap,
    )  # fmt: skip
    expected = math.sqrt(max(0.1**2 + 0.2**2, (apart**2 + (2 * apart) ** 2) / 4))
    assert found.monte_carlo_error == pytest.approx(expected, rel=1e-6)
    least, most = found.interval
    assert most - found.nats[1] == pytest.approx(1.96 * expected, rel=1e-6)
    assert found.nats[0] - least == pytest.approx(1.96 * expected, rel=1e-6)


def test_as_many_weights_as_were_asked_for():
    model, rows = linear_gaussian(0, documents=3)
    for draws in (1, 8, 12, 20):
        found = importance_weights(task(model, rows, exact_guide(model), no_fit(), 0), draws)
        assert found.shape == (draws, 3)


def test_a_prior_without_a_constant_of_its_own_leaves_nothing_open():
    assert constant_of(types.SimpleNamespace(prior=lambda batch: None)) == (0.0, 0.0)
    assert constant_of(types.SimpleNamespace()) == (0.0, 0.0)


def test_a_score_of_documents_is_no_stream_unless_it_says_so():
    nats = np.array([1.0, 1.1, 0.9, 3.0, 3.1, 2.9])
    found = GivenText("stars", nats, "")
    assert found.standard_error == pytest.approx(nats.std(ddof=1) / 6**0.5)


def test_a_figures_seconds_hold_the_fit_only_where_it_was_asked_for(monkeypatch):
    clock = iter([100.0, 107.0, 200.0, 203.0])
    monkeypatch.setattr("ltm_pyro.bounds.evaluation.time.perf_counter", lambda: next(clock))
    one = types.SimpleNamespace(fit_seconds=50.0, asked=False)

    def asks(task):
        task.asked = True

    assert _timed(asks, one, ())[1] == 57.0
    assert _timed(lambda task: None, one, ())[1] == 3.0


class Flat(Path):
    """A density that is the same everywhere, so that each trajectory within the numbers is kept."""

    def __init__(self, model, rows):
        self.model, self.rows, self.scale = model, rows, {"z": torch.ones(1, len(rows), 2)}

    def _state(self, z):
        none = torch.zeros(z["z"].shape[:2])
        force = {"z": torch.zeros_like(z["z"])}
        return State(z, none, none, force, force)


def test_a_trajectory_that_leaves_the_numbers_is_rejected():
    model, rows = linear_gaussian(0, documents=40)
    start = {"z": torch.ones(5, 40, 2)}
    path, step = Flat(model, rows), torch.full((40,), 3e38)
    noise = Noise(7, rows.key)
    with Noise(7, rows.key).tensors():
        momentum = torch.randn(5, 40, 2)
    first = torch.isfinite(1 + 3e38 * momentum).all(-1)
    kept = first & torch.isfinite(1 + 3e38 * momentum + 3e38 * momentum).all(-1)
    assert 0 < kept.sum() < first.sum() < 200
    new, accepted = path._move(path._state(start), 0.5, step, noise)
    assert torch.equal(accepted, kept.float())
    assert torch.equal(new.z["z"] != start["z"], kept[..., None].expand(-1, -1, 2))
