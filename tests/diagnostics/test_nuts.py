"""NUTS against exact posteriors, and guides against NUTS."""

import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from pyro.ops.stats import split_gelman_rubin
from scipy import stats

from ltm_pyro.config import Fast
from ltm_pyro.diagnostics.nuts import (
    NutsComparison,
    _ess,
    _moments,
    compare_with_nuts,
    plot_nuts,
)
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField, NoGuide
from ltm_pyro.models import AutoregressiveModel
from ltm_pyro.programs.densities import draw_latents
from ltm_pyro.seeds import seeded

from ..display.dressed import dressed
from ..exact import FAST, exact_guide, linear_gaussian, no_fit, tiny_decoder
from .remembered import remembered

MANY = 4000


@pytest.fixture(scope="module")
def case():
    """An exact guide and NUTS on two documents: (model, rows, comparison)."""
    model, rows = linear_gaussian(0, 2)
    found = compare_with_nuts(
        remembered(model),
        rows,
        exact_guide(model),
        no_fit(),
        warmup=150,
        draws=250,
        guide_draws=MANY,
    )
    return model, rows, found


def with_guide(case, **wrong):
    """The same reference beside another guide."""
    model, rows, found = case
    guide = exact_guide(model, **wrong)(model.thoughts, len(rows))
    with torch.no_grad(), seeded(5):
        z = draw_latents(guide, rows, MANY)["z"]
    return dataclasses.replace(found, guide={"z": z.flatten(2).double().numpy()})


def check_reference(model, rows, found):
    frame = found.to_frame()
    mean, covariance = (value.detach().flatten().numpy() for value in model.posterior(rows))
    sd = np.sqrt(covariance.reshape(len(rows), 6, 6).diagonal(axis1=1, axis2=2).ravel())
    moments = _moments(found.nuts["z"])
    assert np.abs((frame.nuts_mean - mean) / moments["mean_error"].ravel()).max() < 4
    assert np.abs(np.log(frame.nuts_sd / sd) / moments["log_sd_error"].ravel()).max() < 4
    assert frame.rhat.max() < 1.05
    assert found.divergences == 0


def test_nuts_agrees_with_the_exact_posterior(case):
    check_reference(*case)


def test_the_exact_guide_agrees_with_nuts(case):
    frame = case[2].to_frame()
    assert (frame.mean_difference.abs() < 4 * frame.mean_error).all()
    assert (frame.log_sd_ratio.abs() < 4 * frame.log_sd_error).all()
    assert (frame.wasserstein < 0.25 * frame.nuts_sd).all()
    assert "Of 12 marginals, guide means differ from NUTS in 0" in case[2].verdict
    assert "smaller in 0 and larger in 0" in case[2].verdict


def test_a_narrow_guide_is_seen(case):
    found = with_guide(case, widen=0.5)
    frame = found.to_frame()
    assert ((frame.log_sd_ratio - math.log(0.5)).abs() < 4 * frame.log_sd_error).all()
    assert "smaller in 12" in found.verdict
    normal = 0.5 * frame.nuts_sd * math.sqrt(2 / math.pi)  # W1 of N(m, s^2) and N(m, s^2 / 4)
    assert frame.wasserstein.mean() == pytest.approx(normal.mean(), rel=0.15)


def test_a_shifted_guide_is_seen(case):
    found = with_guide(case, shift=0.6)
    frame = found.to_frame()
    assert ((frame.mean_difference - 0.6 / frame.nuts_sd).abs() < 4 * frame.mean_error).all()
    assert "differ from NUTS in 12" in found.verdict
    assert frame.wasserstein.mean() == pytest.approx(0.6, rel=0.1)  # W1 of a translation


@pytest.mark.slow
def test_mean_field_is_as_narrow_as_theory_says():
    """Its best fit has the exact means and the variances 1 / precision, below the exact."""
    model, rows = linear_gaussian(1, 4)
    fast = Fast(steps=1500, lr=0.05, final=0.01, particles=32)
    found = compare_with_nuts(model, rows, MeanField, fast, warmup=500, draws=1000)
    check_reference(model, rows, found)
    frame = found.to_frame()
    covariance = model.posterior(rows)[1].detach()
    exact = covariance.diagonal(dim1=1, dim2=2).sqrt()
    best = torch.linalg.inv(covariance).diagonal(dim1=1, dim2=2).rsqrt()
    expected = (best / exact).log().flatten().numpy()
    fit = 0.03  # what the fast loop's noise leaves
    assert ((frame.log_sd_ratio - expected).abs() < 4 * frame.log_sd_error + fit).all()
    assert (frame.mean_difference.abs() < 4 * frame.mean_error + fit).all()
    assert expected.mean() < -0.05


def autoregressive(phi, chains=4, draws=4000):
    """Chains of lag-one correlation phi, whose ESS is n (1 - phi) / (1 + phi)."""
    x = torch.randn(chains, draws, 20, dtype=torch.float64)
    for i in range(1, draws):
        x[:, i] = phi * x[:, i - 1] + math.sqrt(1 - phi**2) * x[:, i]
    return x


@pytest.mark.parametrize("phi", [pytest.param(0.0, marks=pytest.mark.slow), 0.6])
def test_errors_of_correlated_draws(phi):
    x = autoregressive(phi)
    expected = 16_000 * (1 - phi) / (1 + phi)
    assert _ess(x).mean().item() == pytest.approx(expected, rel=0.1)
    moments = _moments(x.numpy())
    for value, error, truth in (
        (moments["mean"], moments["mean_error"], 0.0),
        (np.log(moments["sd"]), moments["log_sd_error"], 0.0),
    ):
        z = (value - truth) / error
        assert 0.55 < z.std() < 1.5  # 20 dimensions: 4 standard errors of 0.16


def test_alternating_draws_have_a_positive_size():
    sizes = _ess(autoregressive(-0.9))
    assert ((sizes > 16_000) & (sizes <= 16_000 * math.log10(16_000) * 1.001)).all()


def test_nothing_global_changes():
    model, rows = tiny_decoder(0, 1)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    weights = [p.clone() for p in model.parameters()]
    settings = dict(fast=Fast(steps=3), warmup=2, draws=4, chains=1, guide_draws=20, chunk=1)
    one = compare_with_nuts(model, rows, MeanField, **settings)
    two = compare_with_nuts(model, rows, MeanField, **settings)
    assert torch.equal(states[0], torch.get_rng_state())
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002
    for before, after in zip(weights, model.parameters(), strict=True):
        assert torch.equal(before, after)
        assert after.requires_grad
        assert after.grad is None
    np.testing.assert_array_equal(one.nuts["z"], two.nuts["z"])
    np.testing.assert_array_equal(one.guide["z"], two.guide["z"])
    assert one.nuts["z"].shape == (1, 4, 1, 2)
    assert one.guide["z"].shape == (20, 1, 2)
    assert one.verdict.startswith("The reference has not converged")


def test_the_frame_and_the_plot(case):
    frame = case[2].to_frame()
    assert len(frame) == 12
    assert frame["row"].tolist() == [0] * 6 + [1] * 6
    assert frame["index"].tolist()[:4] == [(0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 0)]
    assert set(frame["site"]) == {"z"}
    ax = Figure().subplots()
    assert dressed(plot_nuts(case[2], ax)) is ax


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(draws=3), "draws is 3: expected a whole number, 4"),
        (dict(warmup=0), "warmup is 0: expected a whole number, 1"),
        (dict(chains=0), "chains is 0"),
    ],
)
def test_bad_input(given, message):
    model, rows = linear_gaussian(0, 2)
    with pytest.raises(InputError, match=message):
        compare_with_nuts(model, rows, MeanField, FAST, **given)


def test_models_and_rows_there_is_nothing_to_compare_on(config, rows):
    with pytest.raises(InputError, match="AutoregressiveModel has no thoughts"):
        compare_with_nuts(AutoregressiveModel(config), rows, NoGuide)
    model, some = linear_gaussian(0, 2)
    with pytest.raises(InputError, match="no rows"):
        compare_with_nuts(model, some[:0])


def chains_of(draws, apart=0.0, count=2):
    """Two chains of one normal law, or of two laws that lie apart."""
    source = np.random.default_rng(0)
    nuts = source.normal(size=(count, draws, 1, 3))
    nuts[1:] += apart
    guide = source.normal(size=(4000, 1, 3))
    return NutsComparison({"z": guide}, {"z": nuts}, {"z": (1, 1, 3)}, np.zeros(1, int), 0, "")


def test_short_chains_are_told_from_chains_that_disagree():
    assert chains_of(20).verdict.startswith("The reference is short of draws")
    assert chains_of(500).verdict.startswith("Of 3 marginals")
    for draws in (20, 500):
        assert chains_of(draws, 4.0).verdict.startswith("The reference has not converged")


def compared(guide, nuts, divergences=0):
    return NutsComparison({"z": guide}, {"z": nuts}, {"z": (1, 1, guide.shape[-1])},
                          np.array([7]), divergences, "")  # fmt: skip


def test_the_frame_is_what_draws_show():
    """Its errors are over the root of as many draws as count, in standard deviations of NUTS."""
    source = np.random.default_rng(3)
    guide = 1 + 2 * source.normal(size=(400, 1, 2))
    nuts = source.normal([0.0, 3.0], [1.0, 4.0], size=(3, 200, 1, 2))
    frame = compared(guide, nuts).to_frame()
    g, n = guide[:, 0], nuts.reshape(600, 2)
    sd = n.std(0)
    assert frame["document"].tolist() == [7, 7]
    np.testing.assert_allclose(frame.guide_mean, g.mean(0))
    np.testing.assert_allclose(frame.guide_sd, g.std(0))
    np.testing.assert_allclose(frame.nuts_mean, n.mean(0))
    np.testing.assert_allclose(frame.nuts_sd, sd)
    np.testing.assert_allclose(frame.mean_difference, (g.mean(0) - n.mean(0)) / sd)
    ess = _ess(torch.as_tensor(nuts))[0].numpy()
    np.testing.assert_allclose(frame.nuts_ess, ess)
    error = np.sqrt(g.var(0) / 400 + n.var(0) / ess) / sd
    np.testing.assert_allclose(frame.mean_error, error)
    np.testing.assert_allclose(frame.log_sd_ratio, np.log(g.std(0) / sd))
    squares, of = [(x - x.mean(0)) ** 2 for x in (g, n)], (nuts - n.mean(0)) ** 2
    counts = 400, _ess(torch.as_tensor(of))[0].numpy()
    each = [s.std(0, ddof=1) / np.sqrt(count) / (2 * s.mean(0))
            for s, count in zip(squares, counts, strict=True)]  # fmt: skip
    np.testing.assert_allclose(frame.log_sd_error, np.hypot(*each))
    w1 = [stats.wasserstein_distance(g[:, i], n[:, i]) for i in (0, 1)]
    np.testing.assert_allclose(frame.wasserstein, w1, rtol=0.02)


def test_chains_of_one_law_stay_below_the_disagreement():
    """In 99 of 100 references; of 200 the rate has a standard error of 0.7 per cent."""
    source = np.random.default_rng(4)
    beyond = []
    for _ in range(200):
        found = compared(source.normal(size=(4, 1, 3)), source.normal(size=(2, 100, 1, 3)))
        rhat = split_gelman_rubin(torch.as_tensor(found.nuts["z"])).max()
        beyond.append(float(rhat) > found.disagreement)
    assert np.mean(beyond) <= 0.01 + 3.5 * 0.007
    nuts = found.nuts["z"]
    count = sum(_ess(torch.as_tensor(one[None])) for one in nuts).min()
    reach = stats.chi2.isf(0.01 / 3, 3)  # of four halves
    assert found.disagreement == pytest.approx(math.sqrt(1 + reach / count))
    short = chains_of(20)
    assert short.disagreement > 1.1 > chains_of(500).disagreement


def test_four_errors_count():
    """Draws with given moments: means apart, or standard deviations, by more than four errors."""
    source = np.random.default_rng(5)
    nuts = source.normal(size=(2, 500, 1, 1))
    base = source.normal(size=(1000, 1, 1))
    base = (base - base.mean()) / base.std()
    reference = compared(base, nuts).to_frame().iloc[0]
    for errors, words in ((3.9, "in 0"), (4.1, "in 1"), (-4.1, "in 1")):
        shift = reference.nuts_mean + errors * reference.mean_error * reference.nuts_sd
        assert f"differ from NUTS {words} (" in compared(base + shift, nuts).verdict
    for errors, words in ((3.9, "smaller in 0 and larger in 0"),
                          (4.1, "smaller in 0 and larger in 1"),
                          (-4.1, "smaller in 1 and larger in 0")):  # fmt: skip
        times = reference.nuts_sd * math.exp(errors * reference.log_sd_error)
        assert words in compared(times * base, nuts).verdict
    assert compared(base, nuts, 1).verdict.startswith("The reference has not converged")


def test_chains_that_agree_may_be_short_of_draws():
    source = np.random.default_rng(2)
    guide, nuts = source.normal(size=(400, 1, 3)), source.normal(size=(2, 60, 1, 3))
    found = compared(guide, nuts)
    frame = found.to_frame()
    assert frame["rhat"].max() < 1.01
    assert 90 < frame["nuts_ess"].min() < 100
    assert found.verdict.startswith("The reference is short of draws")
