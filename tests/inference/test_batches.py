"""What is found for a document does not depend on the documents beside it."""

import dataclasses

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Slow
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.posterior import infer
from ltm_pyro.seeds import Noise

from ..conftest import some_rows

FAST = Fast(steps=12, lr=0.1)


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, pytest.param(2, marks=pytest.mark.slow), 5, 64])
def test_a_posterior_does_not_depend_on_the_batch(model, chunk):
    rows = some_rows(9)
    whole = infer(model, rows, MeanField, FAST, chunk=64)
    cut = infer(model, rows, MeanField, FAST, chunk=chunk)
    close(whole.inner.elbo, cut.inner.elbo)
    close(whole.sample(3), cut.sample(3))
    close(whole.elbo(11).elbo, cut.elbo(11).elbo)
    order = torch.tensor([7, 2, 4])
    some = infer(model, rows[order], MeanField, FAST)
    close(whole.sample(3)[:, order], some.sample(3))
    close(whole.elbo(11).elbo[:, order], some.elbo(11).elbo)


def test_nor_on_padding_whatever_stands_there(model):
    rows = some_rows(6, seed=2)
    junk = torch.where(rows.mask, rows.tokens, 7)
    other = Rows(junk, rows.lengths, rows.document, rows.bytes)
    wide = Rows(
        rows.tokens[1:], *(
            x[1:] for x in (rows.lengths, rows.document, rows.bytes)
        )
    )  # fmt: skip
    narrow = rows[list(range(1, 6))]  # trimmed to its longest row
    assert narrow.tokens.shape[1] < wide.tokens.shape[1]
    whole = infer(model, rows, MeanField, FAST)
    close(whole.sample(2), infer(model, other, MeanField, FAST).sample(2))
    close(whole.sample(2)[:, 1:], infer(model, wide, MeanField, FAST).sample(2))
    close(whole.sample(2)[:, 1:], infer(model, narrow, MeanField, FAST).sample(2))


@pytest.mark.parametrize(
    "bound",
    [
        *("elbo:4", "prior:4", "iwae:9", "ais:4", "predictive:5", "same_noise"),
        pytest.param("ais_prior:4", marks=pytest.mark.slow),
    ],
)
def test_nor_does_any_figure(model, bound):
    rows = some_rows(5)
    whole = ltm.evaluate(model, rows, [bound], fast=FAST, repeat=0, progress=False)
    alone = ltm.evaluate(model, rows[[3]], [bound], fast=FAST, repeat=0, progress=False)
    cut = ltm.evaluate(model, rows, [bound], fast=FAST, repeat=0, progress=False, chunk=2)
    name = bound.partition(":")[0]
    assert alone[name].nats[0] == pytest.approx(whole[name].nats[3], abs=2e-3)
    assert cut[name].nats == pytest.approx(whole[name].nats, abs=2e-3)


def test_noise_keyed_by_the_batch_would_be_seen(model, monkeypatch):
    """The same checks fail where all documents share one stream."""
    rows = some_rows(9)
    whole = infer(model, rows, MeanField, FAST)
    monkeypatch.setattr(Noise, "__init__", shared_stream)
    one_stream = infer(model, rows, MeanField, FAST).sample(3)
    alone = infer(model, rows[[7, 2]], MeanField, FAST).sample(3)
    assert (one_stream[:, [7, 2]] - alone).abs().max() > 0.1
    assert (one_stream - whole.sample(3)).abs().max() > 0.1


def shared_stream(self, seed, keys=None, fixed=False):
    self.seed, self.fixed, self.keys, self._blocks = seed, fixed, np.array([], np.uint64), 0


def test_a_slow_step_does_not_depend_on_how_the_batch_is_cut(model, config):
    import copy

    rows = some_rows(8)
    gradients = []
    for accumulate in (1, 4):
        svi = ltm.DualRateSVI(
            copy.deepcopy(model), fast=FAST, slow=Slow(clip=1e9, accumulate=accumulate)
        )
        svi.step(rows)
        gradients.append([p.grad for p in svi.model.parameters()])
    for a, b in zip(*gradients, strict=True):
        close(a, b)


def test_rows_keep_their_keys_and_copies_have_their_own():
    rows = some_rows(6)
    assert torch.equal(rows[[4, 1]].key, rows.key[[4, 1]])
    assert torch.equal(next(rows.split(2)).key, rows.key[:2])
    twice = rows[[0, 0, 1]]
    again = Rows(twice.tokens, twice.lengths, twice.document, twice.bytes)
    assert len(set(again.key.tolist())) == 3
    assert again.key[0] == rows.key[0]
    longer = dataclasses.replace(rows, lengths=rows.lengths - 1, key=torch.empty(0))
    assert not set(longer.key.tolist()) & set(rows.key.tolist())


FAMILIES = {
    "normal": lambda b: dist.Normal(torch.zeros(b, 2), 1.0).to_event(1),
    "student": lambda b: dist.StudentT(3.0, 0.0, 1.0).expand([2]).to_event(1),
    "laplace": lambda b: dist.Laplace(torch.zeros(b, 2), 1.0).to_event(1),
    "covariance": lambda b: dist.MultivariateNormal(torch.zeros(b, 3), torch.eye(3)),
    "low rank": lambda b: dist.LowRankMultivariateNormal(
        torch.zeros(b, 3), torch.ones(3, 1), torch.ones(3)
    ),
    "gamma": lambda b: dist.Gamma(2.0, torch.ones(b, 2)).to_event(1),
    "uniform": lambda b: dist.Uniform(0.0, 1.0).expand([2]).to_event(1),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_streams_serve_every_family(family):
    """Documents keep their draws in any batch, and the draws are those of the distribution."""
    keys = torch.arange(2000) * 7919

    def draw(keys, blocks=1):
        noise = Noise(0, keys)
        for _ in range(blocks):
            with (
                noise.draw(),
                pyro.plate("particles", 3, dim=-2),
                pyro.plate("documents", len(keys), dim=-1),
            ):
                value = pyro.sample("z", FAMILIES[family](len(keys)))
        return value

    drawn = draw(keys)
    assert torch.equal(drawn[:, [5, 900]], draw(keys[[5, 900]]))
    assert not torch.equal(drawn, draw(keys, blocks=2))
    flat = drawn.reshape(6000, -1)
    with torch.random.fork_rng():
        expected = FAMILIES[family](1).expand([60_000]).sample().reshape(60_000, -1)
    for f in (torch.tanh, lambda x: torch.tanh(x) ** 2):
        error = (f(flat).var(0) / 6000 + f(expected).var(0) / 60_000).sqrt()
        assert ((f(flat).mean(0) - f(expected).mean(0)).abs() < 4.5 * error).all()
    first, second = drawn[0, :-1].flatten(1)[:, 0], drawn[0, 1:].flatten(1)[:, 0]
    link = torch.corrcoef(torch.stack([first.tanh(), second.tanh()]))[0, 1]
    assert abs(link) < 4.5 / 2000**0.5  # neighbouring streams have nothing to do with one another
