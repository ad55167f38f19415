"""Models of every kind of site pass the checks; models that are wrong on purpose do not."""

import dataclasses

import pyro
import pyro.distributions as dist
import pytest
import torch

from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.models import AutoregressiveModel, LinearGaussianModel
from ltm_pyro.testing import check_model

from ..conftest import some_rows
from ..inference.test_shared_sites import grouped
from ..programs.models_of_many_sites import many_sites

QUICK = Fast(steps=3, lr=0.1, particles=2)


def test_models_of_thoughts_and_of_none(model, config, rows):
    assert len(check_model(model, rows, fast=QUICK).passed) == 5
    assert len(check_model(AutoregressiveModel(config), rows, fast=QUICK).passed) == 5


def test_models_of_many_sites():
    model, rows = many_sites()
    assert "topic" in check_model(model, rows, fast=QUICK).passed[0]


def test_models_of_shared_sites():
    model, rows = grouped(sizes=(2, 2, 2))
    model.bias.requires_grad_(False)
    assert "mu" in check_model(model, rows, fast=QUICK).passed[0]


class Wrong(LinearGaussianModel):
    """A model with a mistake."""

    def __init__(self, mistake):
        super().__init__(Thoughts(1, 1, 2), torch.tensor([[1.0, 0.5], [0.3, -1.0], [1.0, 1.0]]))
        self.mistake = mistake
        if mistake == "idle":
            self.idle = torch.nn.Parameter(torch.zeros(2))

    def forward(self, batch, prelude=None):
        with pyro.plate("documents", len(batch), dim=-1):
            z = self.prior(batch)
            if self.mistake == "mixes documents":
                z = z - z.mean(-4, keepdim=True)
            if self.mistake == "mixes particles" and z.dim() > 4:
                z = z[:1].expand_as(z)
            n = batch.tokens.shape[1]
            mean = z.flatten(-3) @ self.weight[:n].T + self.bias[:n]
            law = dist.Normal(mean, 1.0)
            if self.mistake != "scores padding":
                law = law.mask(batch.mask)
            if self.mistake == "factor":
                pyro.factor("bonus", mean.sum(-1))
            pyro.sample("tokens", law.to_event(1), obs=batch.tokens)
        return z


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("mixes documents", "row 0 alone has log densities that differ"),
        ("mixes particles", "another order of particles changes"),
        ("scores padding", "tokens behind a row's length change"),
        ("idle", "no gradient reaches parameter 'idle'"),
        ("factor", "site 'bonus' is a factor"),
    ],
)
def test_models_that_are_wrong(mistake, message):
    rows = some_rows(4, length=3)
    lengths = torch.tensor([3, 2, 1, 3])
    rows = dataclasses.replace(rows, tokens=torch.randn(4, 3), lengths=lengths)
    with pytest.raises(AssertionError, match=message):
        check_model(Wrong(mistake), rows, fast=QUICK)


def test_the_same_model_without_a_mistake_passes():
    rows = some_rows(4, length=3)
    lengths = torch.tensor([3, 2, 1, 3])
    rows = dataclasses.replace(rows, tokens=torch.randn(4, 3), lengths=lengths)
    assert len(check_model(Wrong(""), rows, fast=QUICK).passed) == 5
