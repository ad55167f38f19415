"""The price of thoughts, against cases where it is known."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats

import ltm_pyro as ltm
from ltm_pyro.bounds import paired_difference, taxes
from ltm_pyro.bounds.figures import Figure
from ltm_pyro.bounds.report import Report
from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError
from ltm_pyro.inference.speaking import silence
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel

from ..conftest import some_rows, strong


def figure(name, nats, tokens, **parts):
    return Figure(name, "", np.array(nats), np.array(tokens), np.array(tokens), parts=parts)


def test_it_is_total_over_total_and_paired_by_document():
    """A document hard for both adds nothing to the error, which would else be far larger."""
    tokens = [10.0, 20.0, 10.0]
    control = [1000.0, 40.0, 20.0]
    bound = [1001.0, 43.0, 20.0]
    kl = np.array([0.5, 1.0, 0.5])
    report = Report(
        {
            "elbo": figure("elbo", bound, tokens, kl=kl),
            "baseline": figure("baseline", control, tokens),
        }
    )
    tax = taxes(report)["elbo"]
    assert tax.nats_per_token == pytest.approx(4 / 40)  # not the mean of 0.1, 0.15 and 0
    residual = np.array([1, 3, 0]) - 0.1 * np.array(tokens)
    assert tax.standard_error == pytest.approx(math.sqrt(3 / 2 * (residual**2).sum()) / 40)
    assert tax.parts["text"] + tax.parts["kl"] == pytest.approx(tax.nats_per_token)
    assert tax.parts["kl"] == pytest.approx(2 / 40)
    half = stats.t.ppf(0.975, 2) * tax.standard_error  # three documents
    assert tax.interval == pytest.approx((0.1 - half, 0.1 + half))
    assert "+0.1000" in str(tax)


def test_thoughts_that_are_not_heard_cost_their_kl_and_nothing_else(config, rows):
    """At the prior, nothing: the same decoder scores the same, by every bound."""
    model = strong(LatentThoughtModel(config))
    silence(model, 0)
    control = AutoregressiveModel(config)
    state = model.decoder.state_dict()
    control.decoder.load_state_dict({n: state[n] for n in control.decoder.state_dict()})
    report = ltm.evaluate(
        model, rows, "elbo:4,iwae:8,prior:2,same_noise", fast=Fast(steps=0), baseline=control,
        progress=False,
    )  # fmt: skip
    found = taxes(report)
    assert set(found) == {"elbo", "iwae", "prior"}  # what is no bound has no tax
    for name, tax in found.items():
        assert tax.nats_per_token == pytest.approx(0, abs=1e-5), name


def test_its_interval_holds_the_truth_as_often_as_it_says():
    """Of a thousand corpora whose documents' true tax is 0.02 nats per token."""
    source, hits = np.random.default_rng(0), 0
    for _ in range(1000):
        tokens = source.integers(20, 200, 60).astype(float)
        control = 3 * tokens + 20 * source.standard_normal(60)
        bound = control + 0.02 * tokens + 0.5 * source.standard_normal(60)
        tax = taxes(Report({"elbo": figure("elbo", bound, tokens),
                            "baseline": figure("baseline", control, tokens)}))["elbo"]  # fmt: skip
        hits += tax.interval[0] < 0.02 < tax.interval[1]
    assert abs(hits - 950) < 4 * math.sqrt(1000 * 0.95 * 0.05)


def test_it_needs_a_control(model):
    report = ltm.evaluate(model, some_rows(2), "prior:1", progress=False)
    with pytest.raises(InputError, match="without a control"):
        taxes(report)
    assert torch.is_grad_enabled()


def test_it_is_of_the_tokens_where_a_model_observes_more():
    """What a rating costs is no part of it; a bound that does not tell the two apart has no tax."""
    tokens, kl, text = np.array([10.0, 20.0]), np.array([1.0, 3.0]), np.array([21.0, 39.0])
    iwae = figure("iwae", kl + text + 499, tokens)
    iwae = dataclasses.replace(iwae, observed=("tokens", "rating"))
    joint = dataclasses.replace(iwae, name="elbo", parts={"tokens": text, "kl": kl})
    control = figure("baseline", [20.0, 40.0], tokens)
    found = taxes(Report({"elbo": joint, "iwae": iwae, "baseline": control}))
    assert set(found) == {"elbo"}
    assert found["elbo"].nats_per_token == pytest.approx(4 / 30)
    assert found["elbo"].parts == pytest.approx({"text": 0.0, "kl": 4 / 30})
    gap, _ = paired_difference(iwae, joint)
    assert math.isnan(gap)


def test_what_all_documents_share_is_in_its_error():
    tokens = [10.0, 20.0, 10.0]
    plain = figure("predictive", [21.0, 43.0, 20.0], tokens)
    control = figure("baseline", [20.0, 40.0, 20.0], tokens)

    def error(**more):
        bound = dataclasses.replace(plain, **more)
        report = Report({"predictive": bound, "baseline": control})
        return taxes(report)["predictive"].standard_error

    for name in ("shared_error", "constant_error"):
        assert error(**{name: 8.0}) == pytest.approx(math.hypot(error(), 8 / 40))
