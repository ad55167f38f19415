import dataclasses
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast
from ltm_pyro.diagnostics import (
    compute_curve,
    convergence,
    inner_loop_frame,
    plot_compute_curve,
    plot_inner_loop,
    plot_training,
)
from ltm_pyro.display.pictures import NOTED
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference import InnerLoop
from ltm_pyro.inference.posterior import infer

from ..conftest import some_rows
from ..display.dressed import dressed
from ..exact import linear_gaussian
from ..programs.models_of_many_sites import many_sites
from .curves import FAST, has_a_direction, verdicts


def loop(curve, noise=0.5, documents=50, seed=0):
    """A trace whose bound follows `curve` (steps,), with noise."""
    torch.manual_seed(seed)
    elbo = curve[:, None] + noise * torch.randn(len(curve), documents)
    zero = torch.zeros_like(elbo)
    return InnerLoop(elbo, zero, zero + 1, zero + 1, torch.ones(len(curve)))


def test_recommendations_follow_the_trace():
    steps = torch.arange(40.0)
    rising = convergence(loop(0.5 * steps))
    assert rising.recommendation.startswith("Think longer, say 80 steps")
    assert rising.slope == pytest.approx(5.0, abs=4 * rising.error)
    flat = convergence(loop(20 * (1 - (-steps / 3).exp())))
    assert flat.converged
    assert flat.recommendation.startswith("The loop has converged")
    falling = convergence(loop(20 - (steps - 10).abs()))
    assert "lower the rate" in falling.recommendation
    noisy = convergence(loop(0.01 * steps, noise=30.0))
    assert "too noisy to tell" in noisy.recommendation
    assert "Too few steps (4)" in convergence(loop(steps[:4])).recommendation


@pytest.mark.parametrize("name", FAST)
def test_a_loop_has_converged_where_it_moves_by_less_than_matters(name):
    found, truth = verdicts(name, 20), FAST[name][-1]
    right = sum(called == bool(truth) for called, _ in found)
    assert right >= 19
    if name.startswith("goes up and down"):
        wave = "7." if name.endswith("at once") else "5."  # of which 5 at every other step is one
        told = f"The loop goes up and down by {wave}"
        assert all(words.startswith(told) for _, words in found)
        assert all("lower the rate" in words for _, words in found)
    if not name.startswith(("linear", "3 of", "log t", "loses")):
        # 5 % of noise that shows a direction, of 20 loops: more than five in 3 of 10,000
        assert sum(has_a_direction(words) for _, words in found) <= 5
    began = sum(words.startswith("The loop ends where it began") for _, words in found)
    assert began >= 18 if name == "flat" else began == 0


@pytest.mark.parametrize("documents", [4, 64])
def test_noise_has_no_direction(documents):
    """5 % of flat loops at most are said to rise or fall, whether documents are few or many."""
    found = [words for _, words in verdicts("flat, noise of 30 nats", 300, documents)]
    moves = sum(has_a_direction(words) for words in found)
    assert moves <= 300 * 0.05 + 3.5 * (300 * 0.05 * 0.95) ** 0.5


def test_a_false_alarm_is_rare():
    flat = torch.full((16,), 3.0)
    alarms = sum(
        "Think longer" in convergence(loop(flat, 1.0, 30, seed)).recommendation
        for seed in range(200)
    )
    assert alarms < 200 * 0.025 + 4 * (200 * 0.025) ** 0.5


def test_a_real_loop_that_is_too_short_and_one_that_is_not():
    model, rows = linear_gaussian(0)
    short = infer(model, rows, MeanField, Fast(steps=16, lr=0.03, final=1.0, particles=16))
    long = infer(model, rows, MeanField, Fast(steps=400, lr=0.1, particles=4))
    assert "Think longer" in convergence(short.inner).recommendation
    assert convergence(long.inner).converged
    frame = inner_loop_frame(long.inner)
    assert len(frame) == 400
    assert {
        "elbo_50",
        "log_likelihood_50",
        "kl_90",
        "gradient_norm_10",
        "step_norm_50",
        "lr",
    } <= set(frame.columns)
    assert frame.step_norm_50.iloc[-1] < frame.step_norm_50.iloc[0]


def test_every_figure_of_a_compute_curve_is_drawn_in_a_style_of_its_own(model, rows):
    bounds = ("elbo:2", "ais_prior:2", "upper:1", "predictive:2")
    curve = compute_curve(model, rows, (1, 2), bounds, fast=Fast(), progress=False)
    ax = dressed(plot_compute_curve(curve))
    names = [text for text in ax.texts if text.get_gid() != NOTED]
    assert len({text.get_color() for text in names}) == len(names) == len(bounds) + 1  # and prior
    plt.close("all")


def test_a_compute_curve_is_of_tokens():
    model, rows = many_sites(4)
    with pytest.raises(InputError, match=r"observes tokens, speed, label, and this compares nats"):
        compute_curve(model, rows, (1,), progress=False)


def test_the_compute_curve_tells_bound_from_no_bound(config, model):
    rows = some_rows(12, full=True)
    curve = compute_curve(
        model, rows, (1, 16), fast=Fast(lr=0.1), baseline=ltm.models.AutoregressiveModel(config),
        progress=False,
    )  # fmt: skip
    table = curve.pivot(index="steps", columns="figure", values="nats_per_token")
    assert set(table.columns) == {"elbo", "same_noise", "prior", "baseline"}
    assert table.elbo[16] < table.elbo[1]
    assert table.same_noise[16] < table.elbo[16]
    assert table.prior[1] == table.prior[16]
    figure, ax = plt.subplots()
    assert dressed(plot_compute_curve(curve, ax)) is ax
    colors = {text.get_text(): text.get_color() for text in ax.texts}
    lines = {bar.lines[0].get_color(): bar.lines[0] for bar in ax.containers}
    assert lines[colors["released: no bound"]].get_linestyle() == "--"
    bound = lines[colors["bound, fresh draws"]]
    assert bound.get_linestyle() == "-"
    assert list(bound.get_ydata()) == pytest.approx(list(table.elbo - table.prior))
    plt.close(figure)


def test_differences_of_a_compute_curve_are_paired(config, model, rows):
    """A row for each number of steps and figure, as two evaluations give it."""
    fast, baseline = Fast(lr=0.1), ltm.models.AutoregressiveModel(config)
    curve = compute_curve(
        model, rows, (2, 3), ("elbo:2", "same_noise"), fast=fast, baseline=baseline, seed=5,
        progress=False,
    ).set_index(["steps", "figure"])  # fmt: skip
    still = ltm.evaluate(model, rows, ["prior:8"], baseline=baseline, seed=5, progress=False)
    for steps in (2, 3):
        own = dataclasses.replace(fast, steps=steps)
        report = ltm.evaluate(
            model, rows, ["elbo:2", "same_noise"], fast=own, seed=5, progress=False
        )
        for name, figure in {**report.figures, **still.figures}.items():
            found = curve.loc[(steps, name)]
            gap = figure.nats - still["prior"].nats
            residual = gap - gap.sum() / figure.tokens.sum() * figure.tokens
            n = len(gap)
            error = math.sqrt(n / (n - 1) * (residual**2).sum()) / figure.tokens.sum()
            assert found.nats_per_token == pytest.approx(figure.nats_per_token)
            assert found.standard_error == pytest.approx(figure.standard_error)
            assert found.difference == pytest.approx(gap.sum() / figure.tokens.sum(), abs=1e-9)
            assert found.difference_error == pytest.approx(error, abs=1e-9)
            assert found.is_bound == (name != "same_noise")
            assert found.seconds >= 0


def test_plots_of_both_loops(model, rows):
    svi = ltm.DualRateSVI(model, fast=Fast(steps=3))
    fit = svi.fit(rows, 4, 4, progress=False)
    figure, axes = plt.subplots(1, 2)
    assert dressed(plot_training(fit.history, axes[0])) is axes[0]
    inner = svi.infer(rows).inner
    assert dressed(plot_inner_loop(inner, axes[1])) is axes[1]
    per_row = [line.get_ydata() for line in axes[1].get_lines()]
    axes[1].clear()
    dressed(plot_inner_loop(inner, axes[1], torch.full((len(rows),), 10)))
    for a, b in zip(per_row, [line.get_ydata() for line in axes[1].get_lines()], strict=True):
        np.testing.assert_allclose(np.asarray(a, float), 10 * np.asarray(b, float), rtol=1e-6)
    plt.close(figure)
