"""The yardstick computes what the library computes, so that their times can be compared."""

import dataclasses

import pyro
import pyro.distributions as dist
import pytest
import torch

import ltm_pyro as ltm
from benchmarks import iteration, shapes
from benchmarks.iteration import Direct
from benchmarks.shapes import SHAPES, plain_like
from ltm_pyro.config import Fast, Slow
from ltm_pyro.programs.densities import log_joint
from ltm_pyro.seeds import Noise, Stream, derive, seeded

from ..conftest import some_rows, strong


def normals(model, rows, seed=0, step=0):
    """The standard normals that an iteration draws, one tensor a fast step and one for the slow."""
    noise = Noise(derive(seed, Stream.TRAIN, step), rows.key)
    shape = model.thoughts.shape

    def draw(_):
        with (
            noise.draw(),
            pyro.plate("particles", 1, dim=-2),
            pyro.plate("documents", len(rows), dim=-1),
        ):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(rows), *shape), 1.0).to_event(3))
        with noise.tensors():  # what the local optimizer would draw
            return z.reshape(len(rows), *shape)

    return draw


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    """Draws by hand are the CPU's."""
    for module in (iteration, shapes):
        monkeypatch.setattr(module, "DEVICE", "cpu")


@pytest.fixture
def models():
    model = strong(SHAPES["tiny"].model(12))
    fast, slow = Fast(steps=5, lr=0.1), Slow(lr=1e-2, warmup=2)
    return ltm.DualRateSVI(model, fast=fast, slow=slow), plain_like(model, fast, slow)


def test_iterations_of_plain_and_ours_are_the_same(models):
    svi, plain = models
    for step in range(3):
        rows = some_rows(4, vocabulary=60, seed=step)
        loss = plain.step(rows.tokens, rows.lengths, normals(svi.model, rows, step=step))
        report = svi.step(rows)
        assert report.nats_per_token == pytest.approx(loss, rel=1e-4)
        ours = dict(svi.model.decoder.named_parameters())
        for name, parameter in plain.decoder.named_parameters():
            difference = (parameter.grad - ours[name].grad).norm()
            assert difference < 1e-4 * max(parameter.grad.norm(), ours[name].grad.norm()) + 1e-7
            torch.testing.assert_close(parameter, ours[name], atol=1e-4, rtol=1e-4)


def test_other_noise_gives_another_loss(models):
    svi, plain = models
    rows = some_rows(4, vocabulary=60)
    loss = plain.step(rows.tokens, rows.lengths, normals(svi.model, rows, seed=1))
    assert svi.step(rows).nats_per_token != pytest.approx(loss, rel=1e-4)


def test_the_loop_without_pyro_computes_the_same_elbo(models):
    svi, _ = models
    rows = some_rows(4, vocabulary=60)
    direct = Direct(svi)
    mean = torch.zeros(4, *svi.model.thoughts.shape)
    with seeded(0):
        ours = direct.elbo(rows, mean, mean)
    with seeded(0):
        z = torch.randn_like(mean)
    latents = {"z": z[None]}
    torch.testing.assert_close(ours, log_joint(svi.model, latents, rows)[1][0])
    before = [p.detach().clone() for p in svi.model.parameters()]
    direct.step(rows)
    assert all(p.requires_grad for p in svi.model.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, svi.model.parameters(), strict=True))


def test_the_tiny_shape_is_one():
    shape = SHAPES["tiny"]
    assert shape.rows().tokens.shape == (shape.batch, shape.tokens)
    assert dataclasses.replace(shape, batch=3).rows().tokens.shape[0] == 3
