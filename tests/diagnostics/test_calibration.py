"""Calibration against exact posteriors, and against posteriors wrong in a known way."""

import functools

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ltm_pyro.config import Fast
from ltm_pyro.diagnostics.calibration import Calibration, calibrate, plot_calibration
from ltm_pyro.diagnostics.ranks import UniformRanks, rank_shape
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.guides import MeanField, NoGuide
from ltm_pyro.models import AutoregressiveModel

from ..display.dressed import dressed
from ..exact import exact_guide, linear_gaussian, no_fit, tiny_decoder
from .remembered import remembered

DRAWS = 39


def judged(seed=0, documents=100, draws=DRAWS, **wrong):
    model = remembered(linear_gaussian(seed, 1)[0])
    lengths = torch.arange(documents) % 6 + 3
    return calibrate(model, lengths, exact_guide(model, **wrong), no_fit(), draws, seed=seed)


@functools.cache
def sweep(seeds):
    return [judged(seed, 60) for seed in range(seeds)]


def spread_of_normals(ratio, draws=DRAWS):
    """What `rank_shape` sees of a truth `ratio` times as spread, with so few draws."""
    source = np.random.default_rng(0)
    truth = ratio * source.normal(size=(20_000, 1))
    return rank_shape((source.normal(size=(20_000, draws)) < truth).sum(1), draws).spread


def rejections(found):
    return sum(any(c.outside.values()) for c in found)


def test_the_exact_guide_stays_inside():
    """5 % at most may leave; 20 seeds with 5 or more happen once in 400 times."""
    found = sweep(20)
    assert rejections(found) < 5
    p = np.array([c.p_value["z[0,0,0]"] for c in found])
    assert 3 < (p < 0.5).sum() < 17  # and it is no pass for everybody: p is uniform
    assert "No miscalibration seen: all 5 functionals" in found[0].verdict


@pytest.mark.slow
def test_the_exact_guide_stays_inside_over_many_seeds():
    found = [judged(seed, 150, 99) for seed in range(100)]
    assert rejections(found) < 13  # of 5 expected at most: once in 2,000 times
    for name in ("z[0,0,1]", "|z|^2", "log p(x|z)"):
        p = np.array([c.p_value[name] for c in found])
        assert 30 < (p < 0.5).sum() < 70  # 4 standard errors


def test_uniform_ranks_leave_the_envelope_as_often_as_promised():
    uniform, source = UniformRanks(80, DRAWS), np.random.default_rng(1)
    sets = source.integers(0, DRAWS + 1, (4000, 80))
    for error in (0.05, 0.01):
        rate = np.mean([uniform.outside(ranks, error) for ranks in sets])
        spread = 4 * np.sqrt(2 * error / 4000)  # of this rate, and of the simulated envelope
        assert error * 0.8 - spread < rate < error + spread  # distances are discrete


@pytest.mark.parametrize("power", [1.0, 1.3])
def test_the_envelope_is_where_the_test_rejects(power):
    source = np.random.default_rng(2)
    for _ in range(20):
        ranks = (source.random(80) ** power * (DRAWS + 1)).astype(int)
        found = Calibration.from_ranks({"it": ranks}, DRAWS)
        difference = found.difference["it"]
        crossed = ((difference < found.lower - 1e-9) | (difference > found.upper + 1e-9)).any()
        assert crossed == found.outside["it"]
        assert found.outside["it"] == (found.p_value["it"] <= 0.05)


def test_a_narrow_guide_gives_a_u():
    found = judged(widen=0.6)
    for name in ("z[0,0,0]", "z[0,0,1]", "z[0,0,2]"):
        assert found.outside[name]
        shape = found.shapes[name]
        assert abs(shape.spread - spread_of_normals(1 / 0.6)) < 4 * shape.spread_error
        assert abs(shape.bias) < 4 * shape.bias_error
        ranks = found.ranks[name]
        ends = ((ranks < 4) | (ranks > DRAWS - 4)).mean()
        assert ends - 0.2 > 3 * 0.04  # uniform: a fifth, within its standard error of 0.04
    assert "guide too narrow (U-shaped ranks)" in found.verdict


def test_a_wide_guide_gives_a_cap():
    found = judged(widen=1.7)
    assert found.outside["z[0,0,0]"]
    shape = found.shapes["z[0,0,0]"]
    assert abs(shape.spread - spread_of_normals(1 / 1.7)) < 4 * shape.spread_error
    assert "guide too wide (cap-shaped ranks)" in found.verdict


@pytest.mark.parametrize(("shift", "word"), [(0.4, "high"), (-0.4, "low")])
def test_a_shifted_guide_is_biased(shift, word):
    found = judged(shift=shift)
    assert found.outside["z[0,0,0]"]
    shape = found.shapes["z[0,0,0]"]
    assert np.sign(shape.bias) == np.sign(shift)
    assert f"z[0,0,0]: guide too {word} by" in found.verdict
    assert "narrow" not in str(shape)


def test_the_shape_of_ranks_of_normals():
    """A guide N(0, 1) of a truth N(-0.3, 1.2): too high by 0.3, the truth 1.2 times as spread."""
    source = np.random.default_rng(0)
    draws = source.normal(size=(20_000, 999))
    ranks = (draws < source.normal(-0.3, 1.2, (20_000, 1))).sum(1)
    shape = rank_shape(ranks, 999)
    assert shape.bias == pytest.approx(0.3, abs=4 * shape.bias_error + 0.01)
    assert shape.spread == pytest.approx(1.2, abs=0.03)
    exact = rank_shape(np.repeat(np.arange(40), 50), 39)
    assert (exact.bias, exact.spread) == (pytest.approx(0, abs=1e-9), pytest.approx(1, abs=1e-3))
    assert "too high" in str(rank_shape(np.zeros(50, int), 39))
    # Of three documents 7.2 errors are not 3 of a normal: Student's t with 2 has 19.2 there.
    few, many = np.array([8, 10, 12]), np.array([8, 10, 12] * 3)
    assert 7 < abs(rank_shape(few, 39).bias / rank_shape(few, 39).bias_error) < 8
    assert "too high" not in str(rank_shape(few, 39))
    assert "too high" in str(rank_shape(many, 39))


def test_an_underfitted_guide_is_found_out():
    """The fast loop of no steps leaves the prior, wider than any posterior."""
    model, _ = linear_gaussian(0, 1)
    found = calibrate(model, torch.full((60,), 8), MeanField, Fast(steps=0), DRAWS)
    assert found.outside["|z|^2"] or found.outside["log p(x|z)"]
    # Its marginals are the prior's, and over all documents these are right.
    assert not found.outside["z[0,0,0]"]


def test_ties_get_a_random_place():
    model, _ = linear_gaussian(0, 1)
    flat = {"flat": lambda drawn: torch.zeros(drawn.z.shape[:2])}
    found = calibrate(model, torch.full((80,), 5), MeanField, Fast(steps=0), DRAWS, flat)
    assert not found.outside["flat"]
    assert len(set(found.ranks["flat"].tolist())) > 20


def test_a_decoder_and_functionals_of_ones_own():
    model, _ = tiny_decoder(0, 1)
    before = torch.get_rng_state()
    settings = dict(guide=MeanField, fast=Fast(steps=2), draws=8, chunk=7)
    found = calibrate(model, torch.arange(4, 10).repeat(3), **settings)
    again = calibrate(model, torch.arange(4, 10).repeat(3), **settings)
    assert torch.equal(before, torch.get_rng_state())
    assert list(found.ranks) == ["z[0,0,0]", "z[0,0,1]", "|z|^2", "log p(x|z)"]
    for name, ranks in found.ranks.items():
        np.testing.assert_array_equal(ranks, again.ranks[name])
        assert ranks.shape == (18,)
        assert set(ranks) <= set(range(9))
    mine = {"largest": lambda drawn: drawn.z.flatten(2).amax(-1)}
    assert list(calibrate(model, torch.full((9,), 5), functionals=mine, **settings).ranks) == [
        "largest"
    ]


def test_the_frame_and_the_plot():
    found = sweep(20)[0]
    frame = found.to_frame()
    assert frame.loc["|z|^2", "p_value"] == found.p_value["|z|^2"]
    assert {"outside", "bias", "bias_error", "spread", "spread_error", "shape"} <= set(frame)
    ax = Figure().subplots()
    assert dressed(plot_calibration(found, ax)) is ax
    assert len(ax.texts) == 1
    skewed = Calibration.from_ranks({"low": np.zeros(60, int), "fair": np.arange(60) % 10}, 9)
    ax = dressed(plot_calibration(skewed, Figure().subplots()))
    assert [text.get_text() for text in ax.texts[:-1]] == ["low"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(lengths=torch.zeros(3, dtype=torch.long)), "expected tokens of each document, 1 or"),
        (dict(lengths=torch.zeros(0, dtype=torch.long)), "expected tokens of each document"),
        (dict(draws=0), "draws is 0: expected a whole number, 1 or"),
        (dict(level=95), "level is 95: expected .* more than 0 and less than 1"),
        (dict(functionals={}), "name at least one"),
        (dict(functionals={"z": lambda drawn: drawn.z}), r"'z' has shape \(1, 4, 2, 1, 3\)"),
    ],
)
def test_bad_input(given, message):
    model, _ = linear_gaussian(0, 1)
    with pytest.raises(InputError, match=message):
        calibrate(model, **{"lengths": torch.full((4,), 5), "fast": Fast(steps=0), **given})


def test_what_cannot_be_ranked(config):
    model, _ = linear_gaussian(0, 1)
    nothing = {"log z": lambda drawn: drawn.z[..., 0, 0, 0].log()}
    with pytest.raises(NotFinite, match="functional 'log z' is NaN"):
        calibrate(model, torch.full((20,), 5), fast=Fast(steps=0), functionals=nothing)
    with pytest.raises(InputError, match="AutoregressiveModel has no thoughts"):
        calibrate(AutoregressiveModel(config), torch.full((4,), 5), NoGuide)


def test_many_functionals_are_judged_together():
    """Of 20 calibrated ones one leaves a 95 % envelope of its own in two sets of three."""
    source, sets = np.random.default_rng(0), 24
    alarms = 0
    for _ in range(sets):
        ranks = {str(i): source.integers(0, 20, 60) for i in range(20)}
        alarms += any(Calibration.from_ranks(ranks, 19).outside.values())
    assert alarms <= 0.05 * sets + 3.5 * (0.05 * 0.95 * sets) ** 0.5
