"""Thought use of models that sample or observe more than thoughts and tokens."""

import dataclasses

import pytest
import torch

from ltm_pyro.config import Fast
from ltm_pyro.diagnostics import thought_use
from ltm_pyro.diagnostics.units import part_of
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.posterior import infer
from ltm_pyro.inference.speaking import silence
from ltm_pyro.models import AutoregressiveModel

from ..runs.programs import Labelled, Moody, Rated


def with_column(rows, name, value):
    return dataclasses.replace(rows, columns={name: torch.full((len(rows),), value)})


def test_what_thoughts_are_worth_beside_a_decoder_is_of_the_tokens_alone(config, rows):
    """A rating that is worth thousands of nats is no part of it: silent thoughts cost their KL."""
    model = Rated(config, noise=0.01)
    silence(model, 0)
    baseline = AutoregressiveModel(config)
    own = model.decoder.state_dict()
    baseline.decoder.load_state_dict({k: own[k] for k in baseline.decoder.state_dict()})
    posterior = infer(model, with_column(rows, "rating", 2.0), MeanField, Fast(steps=2))
    use = thought_use(posterior, 8, baseline=baseline)
    assert use.ahead[0] == pytest.approx(-use.total_kl[0], rel=1e-3, abs=1e-3)


def test_a_mixture_over_topics_is_no_product_over_dimensions(config, rows):
    """Its KL is told by moments: the prior of one drawn topic is another in every row."""
    model = Labelled(config, {"topic": ("sea", "wood")})
    with torch.no_grad():
        model.means[0], model.means[1] = -3.0, 3.0
    posterior = infer(model, with_column(rows, "topic", -1), MeanField, Fast(steps=0))
    use = thought_use(posterior, 16)
    assert not use.factorised
    one, other = (thought_use(posterior, 16, seed=seed).kl.sum() for seed in (1, 2))
    assert abs(one - other) < 0.5 * (one + other)


def test_a_priors_variance_is_that_of_a_row_not_of_what_rows_differ_in(config, rows):
    """Topics that are known set means 6 apart, and thoughts vary by 1 about them."""
    model = Labelled(config, {"topic": ("sea", "wood")})
    with torch.no_grad():
        model.means[0], model.means[1] = -3.0, 3.0
    topics = {"topic": torch.arange(len(rows)) % 2}
    posterior = infer(model, dataclasses.replace(rows, columns=topics), MeanField, Fast(steps=0))
    variance = part_of(posterior, 0, 64, 0).prior_variance
    error = (2 / (63 * len(rows) * variance.numel())) ** 0.5
    assert float(variance.mean()) == pytest.approx(1, abs=4 * error)


def test_other_latent_sites_are_refused_by_name(config, rows):
    model = Moody(config)
    posterior = infer(model, with_column(rows, "rating", 1.0), MeanField, Fast(steps=1))
    with pytest.raises(InputError, match=r"Moody samples mood beside its thoughts"):
        thought_use(posterior)
