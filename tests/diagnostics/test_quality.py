"""k-hat, effective sample size and the gap against closed forms of Gaussian weights.

For a guide s times as wide as the exact posterior in each of D dimensions, the weights have
ESS / S = (sqrt(2 s^2 - 1) / s^2)^D and KL(q || p) = D (s^2 - 1 - log s^2) / 2; below s = 1 their
tail has shape 1 - s^2.
"""

import dataclasses
import importlib
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy import stats

from ltm_pyro.bounds.tails import FEWEST
from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.diagnostics.quality import (
    GuideQuality,
    _log_weights,
    guide_quality,
    khat_threshold,
    pareto_khat,
    plot_guide_quality,
)
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.guides import MeanField, NoGuide
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import AutoregressiveModel, LinearGaussianModel
from ltm_pyro.programs.densities import simulate

from ..display.dressed import dressed
from ..exact import exact_guide, linear_gaussian, no_fit, z_score
from .remembered import remembered

DOCUMENTS, DIMENSIONS = 32, 6
MODULE = importlib.import_module("ltm_pyro.diagnostics.quality")


@pytest.fixture(scope="module", autouse=True)
def _many_draws_at_once():
    """Tiny models: as many at once as there are, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "AT_ONCE", 256)
        yield


def posterior(widen=1.0, shift=0.0, chunk=64):
    model, rows = linear_gaussian(0, DOCUMENTS)
    return infer(
        remembered(model), rows, exact_guide(model, widen, shift), no_fit(), seed=1, chunk=chunk
    )


@pytest.fixture(scope="module")
def wide():
    return guide_quality(posterior(1.5), 1024)


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_khat_finds_the_shape_of_pareto_weights(shape):
    draws, documents = 2500, 60
    log_w = shape * np.random.default_rng(0).exponential(size=(draws, documents))
    tail = 3 * math.sqrt(draws)
    shrunk = (tail * shape + 5) / (tail + 10)  # its prior, 10 draws' worth at 0.5
    got = pareto_khat(log_w)
    assert abs(z_score(got, shrunk)) < 4.5
    assert abs(got.mean() - shape) < 0.06
    assert pareto_khat(-log_w).max() < 0  # the sign that arviz-stats does not take


def test_the_exact_guide_has_equal_weights():
    quality = guide_quality(posterior(), 64)
    assert quality.khat.tolist() == [0] * DOCUMENTS
    np.testing.assert_allclose(quality.ess, 64, rtol=1e-6)
    np.testing.assert_allclose(quality.gap, 0, atol=1e-6)
    assert not quality.unreliable.any()
    assert quality.verdict.startswith("Importance weights reliable")


def test_a_wide_guide_against_closed_forms(wide):
    efficiency = (math.sqrt(2 * 1.5**2 - 1) / 1.5**2) ** DIMENSIONS
    np.testing.assert_allclose(wide.ess.mean() / 1024, efficiency, rtol=0.03)
    kl = DIMENSIONS * (1.5**2 - 1 - math.log(1.5**2)) / 2
    bias = (1 / efficiency - 1) / (2 * 1024)  # of the log of a mean
    assert abs(z_score(wide.gap, kl - bias)) < 4
    assert not wide.unreliable.any()


def test_the_error_of_the_gap_is_what_repeating_shows():
    fitted = posterior(1.3)
    repeats = np.stack([guide_quality(fitted, 64, seed).gap for seed in range(16)])
    claimed = guide_quality(fitted, 512).gap_error.mean() * math.sqrt(512 / 64)
    seen = math.sqrt(repeats.var(0, ddof=1).mean())
    assert claimed == pytest.approx(seen, rel=0.15)  # 16 x 32 repeats: 3 % of error, and skewness


def test_a_narrow_guide_is_flagged():
    quality = guide_quality(posterior(0.5), 256)
    assert quality.unreliable.mean() > 0.8
    assert np.median(quality.khat) > 0.7  # 1 - s^2 = 0.75
    assert np.median(quality.ess) < 0.1 * 256
    assert "unreliable" in quality.verdict
    assert f"in {quality.unreliable.sum()} of {DOCUMENTS} documents" in quality.verdict
    # The gap understates what the guide gives away, as the verdict says.
    assert quality.gap.mean() < DIMENSIONS * (0.5**2 - 1 - math.log(0.5**2)) / 2


def test_a_shifted_guide_is_flagged():
    assert guide_quality(posterior(shift=0.7), 256).unreliable.mean() > 0.9


def test_a_joint_weight_would_condemn_a_good_guide(wide):
    log_w, _ = _log_weights(posterior(1.5), 256, 3)
    log_w = log_w.numpy()
    assert pareto_khat(log_w).max() < khat_threshold(256)
    (joint,) = pareto_khat(log_w.sum(1, keepdims=True))
    assert joint > 1


def test_in_many_dimensions_a_high_khat_is_expected():
    thoughts = Thoughts(4, 2, 8)
    weight = 0.2 * torch.randn(8, 64)
    model = LinearGaussianModel(thoughts, weight)
    rows, _ = simulate(model, torch.full((16,), 8), 1)
    near = infer(remembered(model), rows, exact_guide(model, 0.8), no_fit())
    quality = guide_quality(near, 256)
    loss = 64 * (0.8**2 - 1 - math.log(0.8**2)) / 2
    assert loss < 3  # nats of 64 dimensions: a good guide
    assert quality.unreliable.mean() > 0.5
    assert "In 64 latent dimensions a k-hat of 0.7 or more is expected" in quality.verdict
    assert "sandwich" in quality.verdict


def test_thresholds():
    assert khat_threshold(100) == pytest.approx(0.5)
    assert khat_threshold(10_000) == 0.7


def test_weights_without_a_tail_and_with_holes():
    log_w = np.random.default_rng(0).normal(size=(100, 3))
    log_w[:, 0] = -2000 + 1e-3 * log_w[:, 0]  # less than fp32 resolves there
    log_w[:90, 1] = -np.inf
    flat, holes, normal = pareto_khat(log_w)
    assert flat == 0
    assert np.isnan(holes)
    assert np.isfinite(normal)


def test_the_fewest_weights_have_a_khat():
    assert np.isfinite(pareto_khat(np.random.default_rng(0).normal(size=(FEWEST, 50)))).all()


def test_weights_that_are_not_finite_name_their_rows(model, rows):
    fitted = infer(model, rows, MeanField, Fast(steps=0), chunk=2)
    with torch.no_grad():
        fitted.chunks[1][0].loc[1] = math.nan
    with pytest.raises(NotFinite, match=r"not finite for rows \[3\]"):
        guide_quality(fitted, 32)


def test_draws_follow_from_the_seed_alone(monkeypatch):
    monkeypatch.setattr(MODULE, "AT_ONCE", 16)
    fitted = posterior(1.5, chunk=20)
    before = torch.get_rng_state()
    one, same, other = (guide_quality(fitted, 40, seed) for seed in (None, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(one.iwae, same.iwae)
    assert (one.iwae != other.iwae).all()


def test_a_decoder(model, rows):
    quality = guide_quality(infer(model, rows, MeanField, Fast(steps=3), chunk=2), 32)
    frame = quality.to_frame()
    assert len(frame) == 5
    assert quality.dimensions == 12
    assert (frame.gap >= 0).all()
    assert frame.tokens.tolist() == rows.lengths.tolist()
    # A document cut into several rows has thoughts, and weights, for each.
    one = dataclasses.replace(quality, document=np.zeros(5, int))
    assert "of 5 rows" in one.verdict
    assert "of 5 documents" in str(quality)


def test_the_plot():
    quality = guide_quality(posterior(0.7), 64)
    ax = Figure().subplots()
    assert dressed(plot_guide_quality(quality, ax)) is ax
    assert len(ax.lines[1].get_xdata()) == quality.unreliable.sum()


def test_bad_input(model, config, rows):
    with pytest.raises(InputError, match=r"draws is 29: .* 30 or more"):
        guide_quality(infer(model, rows, MeanField, Fast(steps=0)), 29)
    plain = AutoregressiveModel(config)
    with pytest.raises(InputError, match="AutoregressiveModel has no thoughts"):
        guide_quality(infer(plain, rows, NoGuide, Fast()))


def quality_of(khat, draws=256):
    one = np.ones(len(khat))
    return GuideQuality(khat, one, one, one, one, np.arange(len(khat)), np.arange(len(khat)),
                        draws, 4)  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "start"),
    [(0.3, "Importance weights reliable"), (0.45, "Importance weights reliable"),
     (0.8, "Importance weights unreliable"), (1.2, "Importance weights unreliable")],
)  # fmt: skip
def test_many_documents_do_not_condemn_a_guide_by_chance(shape, start):
    """Of 200 k-hats of reliable weights some lie above the threshold."""
    log_w = shape * np.random.default_rng(1).exponential(size=(256, 200))
    quality = quality_of(pareto_khat(log_w))
    assert quality.unreliable.any() == (shape > 0.2)
    assert quality.verdict.startswith(start)
    assert quality.surely_unreliable.sum() <= quality.unreliable.sum()


def test_one_document_surely_beyond_is_told_among_many():
    khat = np.full(200, 0.2)
    khat[7] = 2.0
    assert quality_of(khat).verdict.startswith("Importance weights unreliable in part")
    khat[7] = np.nan  # could not be computed
    assert quality_of(khat).verdict.startswith("Importance weights unreliable in part")
    khat[7] = 0.8
    assert "as far as k-hat tells" in quality_of(khat).verdict


@pytest.mark.parametrize(("draws", "tail"), [(30, 6), (100, 20), (224, 44), (256, 48), (1024, 96)])
def test_a_row_is_surely_beyond_by_the_error_of_a_shape(draws, tail):
    """(1 + k) / sqrt(tail) times what one of all rows reaches once in twenty times."""
    threshold = min(1 - 1 / math.log10(draws), 0.7)
    chance = stats.norm.isf(0.05 / 4)
    margin = chance * (1 + threshold) / math.sqrt(tail)
    khat = threshold + margin * np.array([0.0, 0.999, 1.001, math.nan])
    quality = quality_of(khat, draws)
    assert quality.tail == tail
    assert quality.surely_unreliable.tolist() == [False, False, True, True]
    assert quality.unreliable.tolist() == [False, True, True, True]
    assert quality_of(threshold + 0 * khat[:1], draws).verdict.startswith(
        "Importance weights reliable:"
    )


@pytest.mark.parametrize("dimensions", [23, 24])
def test_what_is_expected_in_two_dozen_dimensions(dimensions):
    quality = dataclasses.replace(quality_of(np.full(3, 2.0)), dimensions=dimensions)
    assert ("is expected of any" in quality.verdict) == (dimensions == 24)
    assert quality.verdict.startswith("Importance weights unreliable:")
    assert "(100%)" in quality.verdict


def test_rows_are_called_unreliable_where_most_of_them_are():
    """By the median, where none is so surely."""
    assert "unreliable:" not in quality_of(np.array([0.5, 0.5, 0.65])).verdict
    assert "unreliable in part:" in quality_of(np.array([0.5, 0.65, 0.65])).verdict
