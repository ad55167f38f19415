"""The score of a column given the text, where it is known exactly."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats

import ltm_pyro as ltm
from ltm_pyro.bounds import given_text
from ltm_pyro.bounds.figures import interval
from ltm_pyro.bounds.sampling import sampling_error
from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError, Notice
from ltm_pyro.inference.speaking import silence

from ..runs.programs import Labelled, Rated, Regressed


@pytest.fixture
def rated(config, rows):
    """Ratings of rows whose text says nothing of z, and one that is missing."""
    model = Rated(config, noise=0.5)
    silence(model, 0)
    with torch.no_grad():
        model.read_out.weight.mul_(0).add_(0.3)
        model.read_out.bias.fill_(1.0)
    rating = torch.linspace(-1, 3, len(rows))
    rating[-1] = torch.nan
    return model, dataclasses.replace(rows, columns={"rating": rating})


def test_a_rating_has_its_predictive_density(rated, monkeypatch):
    """y ~ N(b, |w|^2 + s^2); E_q[-log p(y | z)], which is larger, would be told apart."""
    monkeypatch.setattr("ltm_pyro.inference.posterior.AT_ONCE", 250)  # they fit into memory
    model, rows = rated
    size = model.thoughts.count * model.thoughts.dim
    law = torch.distributions.Normal(1.0, math.sqrt(0.09 * size + 0.25))
    y = rows.columns["rating"][:-1]
    found = [
        given_text(model, rows, "rating", draws=2000, fast=Fast(steps=0), seed=seed)
        for seed in range(4)
    ]
    expected = -law.log_prob(y).double().numpy()
    scores = torch.tensor([one.nats for one in found])
    error = scores.std(0, correction=1).clamp(min=0.01) / 2
    assert ((scores.mean(0) - expected).abs() < 6 * error).all()
    conditional = 0.5 * math.log(2 * math.pi * 0.25) + ((y - 1) ** 2 + 0.09 * size) / 0.5
    assert conditional.mean() - expected.mean() > 1
    assert len(found[0].nats) == len(rows) - 1
    assert "with rating hidden" in str(found[0])


def test_a_label_above_z_is_scored_by_bayes_rule(config, rows):
    """p(label | z) = p(label) p(z | label) / p(z), and of silent text p(label)."""
    code = torch.arange(len(rows)) % 2
    rows = dataclasses.replace(rows, columns={"topic": code})
    model = Labelled(config, {"topic": ("sea", "wood")})
    silence(model, 0)
    with torch.no_grad():
        model.share.copy_(torch.tensor([0.2, 0.8]).log())
        model.means.mul_(0.3)
    fast = dataclasses.replace(Fast.quick(30), particles=32)
    found = given_text(model, rows, "topic", draws=400, fast=fast)
    # q is one normal about a mixture of two, near each other: the score is near, not exact.
    expected = -torch.tensor([0.2, 0.8]).log()[code].double().numpy()
    assert abs(found.nats - expected).max() < 0.15


def test_a_document_of_many_rows_counts_once(rated):
    """Fivefold rows of each document score the same, with the same error."""
    model, rows = rated
    fivefold = rows[torch.arange(len(rows)).repeat_interleave(5)]
    fast = Fast(steps=0)
    one = given_text(model, rows, "rating", draws=2000, fast=fast)
    many = given_text(model, fivefold, "rating", draws=2000, fast=fast)
    np.testing.assert_allclose(many.nats, one.nats, rtol=1e-6)
    assert many.interval == pytest.approx(one.interval)
    known = len(rows) - 1
    reach = stats.t.ppf(0.975, known - 1) * one.nats.std(ddof=1) / known**0.5
    assert one.interval[1] - one.nats_per_document == pytest.approx(reach)


def test_windows_of_a_stream_are_no_independent_documents(rated):
    """A value that all windows of a stretch share: its error is that of slow waves."""
    model, rows = rated
    stretch = torch.arange(40).div(10, rounding_mode="floor")
    windows = dataclasses.replace(
        rows[stretch], document=torch.arange(40), key=torch.arange(40), packed=True
    )
    windows.columns["rating"] = torch.tensor([-1.0, 3.0, 0.0, 2.0])[stretch]
    found = given_text(model, windows, "rating", draws=200, fast=Fast(steps=0))
    assert len(found.nats) == 40
    error, freedom = sampling_error(found.nats, np.ones(40), True)
    assert found.standard_error == error
    assert freedom <= 4
    assert error > 2 * found.nats.std(ddof=1) / 40**0.5  # what independent windows would have
    assert found.interval == interval(found.nats_per_document, error, freedom)


def test_what_cannot_be_scored_is_told(rated, model):
    own, rows = rated
    with pytest.raises(InputError, match=r"unknown column 'stars'"):
        given_text(own, rows, "stars")
    with pytest.raises(InputError, match=r"'rating' is missing in all 5 rows"):
        given_text(own, rows.hiding("rating"), "rating")
    with pytest.raises(InputError, match=r"'rating' is observed by no site of LatentThought"):
        given_text(model, rows, "rating", fast=Fast(steps=0), draws=1)
    with pytest.raises(InputError, match=r"no site of Regressed .* a covariate it is given"):
        given_text(Regressed(own.config), rows, "rating")


def test_a_figure_says_how_many_values_it_has_seen(rated):
    model, rows = rated
    report = ltm.evaluate(model, rows, ["elbo:2"], fast=Fast(steps=1), repeat=0, progress=False)
    known = len(rows) - 1
    assert report["elbo"].known == {"stars": known}
    assert f"known of {known} of {len(rows)} documents" in str(report)
    assert report.to_dict()["elbo"]["known"] == {"stars": known}
    hidden = rows.hiding("rating")
    none = ltm.evaluate(model, hidden, ["elbo:2"], fast=Fast(steps=1), repeat=0, progress=False)
    assert none["elbo"].known == {"stars": 0}
    assert f"known of 0 of {len(rows)} documents\n" in str(none)


def test_a_document_of_several_rows_is_told_where_it_observes_more_than_text(rated):
    model, rows = rated
    cut = dataclasses.replace(rows, document=torch.zeros(len(rows), dtype=torch.long))
    with pytest.warns(Notice, match=r"4 of 5 rows go on with a document, and each of them has st"):
        ltm.evaluate(model, cut, ["elbo:2"], fast=Fast(steps=0), repeat=0, progress=False)
    with pytest.warns(Notice, match="rows go on with a document"):
        ltm.DualRateSVI(model, fast=Fast(steps=0)).step(cut)
