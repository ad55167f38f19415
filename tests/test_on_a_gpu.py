"""What differs on a GPU; the rest of the suite runs on the CPU, wherever it runs."""

import copy
import dataclasses
import math
import os
import socket
import subprocess
import sys

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Slow
from ltm_pyro.guides import MeanField
from ltm_pyro.models.decoders.head import head_log_prob
from ltm_pyro.runs.build import build_model

from .conftest import strong
from .runs.helpers import equal, weights, with_training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
PROTOCOLS = {
    "fresh": lambda config: config,
    "quick": ltm.quick_protocol,
    "joint": ltm.joint_protocol,
    "released": ltm.released_protocol,
}


def train(config, out, **rest):
    return ltm.train(config, out, progress=False, device="cuda", **rest)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_run_learns_what_it_learns_on_the_cpu(run_config, tmp_path, protocol):
    config = with_training(PROTOCOLS[protocol](run_config), baseline=True)
    there = train(config, tmp_path / "there")
    here = ltm.train(config, tmp_path / "here", progress=False)
    assert next(there.model.parameters()).is_cuda
    for a, b in ((there.model, here.model), (there.baseline, here.baseline)):
        for (name, x), (_, y) in zip(a.named_parameters(), b.named_parameters(), strict=True):
            torch.testing.assert_close(x.cpu(), y, atol=2e-3, rtol=2e-2, msg=name)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_resumed_run_equals_one_that_never_stopped(run_config, tmp_path, protocol):
    config = with_training(PROTOCOLS[protocol](run_config), baseline=True)
    whole = train(config, tmp_path / "whole")

    class Stop(ltm.runs.callbacks.Callback):
        def after(self, trainer, report, line):
            trainer.asked.append(2) if trainer.svi.done == 2 else None

    train(config, tmp_path / "cut", callbacks=[Stop()])
    cut = train(config, tmp_path / "cut", resume=True)
    assert cut.step == whole.step == config.training.steps
    assert equal(weights(cut.model), weights(whole.model))
    assert equal(weights(cut.baseline), weights(whole.baseline))


def test_figures_are_those_of_the_cpu(model, rows):
    """Draws are another generator's, so they agree within their errors."""
    asked = {"fast": Fast(steps=4, lr=0.05), "progress": False}
    names = ("elbo:256", "prior:256", "iwae:64", "ais:20", "predictive:64")
    here = ltm.evaluate(model, rows, names, **asked)
    there = ltm.evaluate(copy.deepcopy(model).cuda(), rows, names, **asked)
    for name, one in here.figures.items():
        errors = [x.monte_carlo_error for x in (one, there[name])]
        near = 5 * math.hypot(*errors) if all(map(math.isfinite, errors)) else 0.05
        assert there[name].nats_per_token == pytest.approx(one.nats_per_token, abs=near), name


def test_a_seed_writes_the_same_texts_again(config, corpus):
    architecture = dataclasses.replace(
        config.architecture, vocabulary=corpus.vocabulary, begin=corpus.begin
    )
    model = strong(build_model(config.replace(architecture=architecture))).cuda()
    asked = {"length": 12, "seed": 1, "fast": Fast(steps=3)}
    first = ltm.generate(model, corpus.tokenizer, ["sea 1: wave", ""], 4, **asked)
    again = ltm.generate(model, corpus.tokenizer, ["sea 1: wave", ""], 4, **asked)
    assert first.texts == again.texts
    assert len(set(first.texts)) > 4


@pytest.mark.parametrize("decoder", ["transformer", "lstm", "gated-linear"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_and_recomputed_layers_change_nothing(config, rows, decoder, precision):
    architecture = dataclasses.replace(config.architecture, width=64, heads=2, window=8)
    config = config.replace(architecture=architecture, decoder=ltm.config.Named(decoder))
    model = strong(build_model(config)).cuda()
    found = {}
    for name, changes in {
        "plain": {}, "compiled": {"compile": True}, "recomputed": {"recompute": True},
    }.items():  # fmt: skip
        one = copy.deepcopy(model)
        fast = Fast(steps=3, lr=0.05, precision=precision, **changes)
        svi = ltm.DualRateSVI(one, MeanField, fast, Slow(precision=precision, **changes))
        report = svi.step(rows)
        found[name] = report, torch.cat([p.grad.flatten() for p in one.parameters()])
    want, slope = found.pop("plain")
    loose = 0.05 if precision == "bf16" else 2e-3
    for name, (report, gradient) in found.items():
        assert report.nats_per_token == pytest.approx(want.nats_per_token, rel=loose), name
        assert (gradient - slope).norm() < 4 * loose * slope.norm(), name


def test_the_fused_head_is_the_log_softmax():
    hidden = torch.randn(3000, 64, device="cuda", requires_grad=True)
    head = torch.randn(5000, 64, device="cuda", requires_grad=True)
    targets = torch.randint(5000, (3000,), device="cuda")
    found = head_log_prob(hidden, head, targets)
    want = (hidden @ head.T).log_softmax(1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(found, want, atol=1e-3, rtol=1e-4)
    for a, b in zip(
        torch.autograd.grad(found.sum(), (hidden, head)),
        torch.autograd.grad(want.sum(), (hidden, head)),
        strict=True,
    ):
        assert (a - b).norm() < 1e-3 * b.norm()


def test_batches_fetched_ahead_arrive_whole(rows):
    there = rows.to("cuda", wait=False)
    torch.cuda.synchronize()
    assert torch.equal(there.tokens.cpu(), rows.tokens)
    assert torch.equal(there.lengths.cpu(), rows.lengths)


WITH_NCCL = """
import sys, torch, ltm_pyro as ltm
from ltm_pyro.inference.processes import Processes
from ltm_pyro.inference.world import ALONE
model, rows = torch.load(sys.argv[1], weights_only=False)
world = Processes() if sys.argv[3] == "several" else ALONE
svi = ltm.DualRateSVI(model.to(world.device("cuda")), fast=ltm.Fast(steps=3), world=world)
for _ in range(3):
    svi.step(rows, total=3)
world.wait()
torch.save([p.detach().cpu() for p in model.parameters()], sys.argv[2])
"""


def test_gradients_that_travel_through_nccl_arrive_whole(model, rows, tmp_path):
    """Of one GPU one process can take part; what it sends itself has to come back as it went."""
    torch.save((model, rows), tmp_path / "given.pt")
    found = {}
    for way in ("several", "alone"):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        here = {
            "RANK": "0",
            "WORLD_SIZE": "1",
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": f"{port}",
        }
        command = [
            sys.executable,
            "-c",
            WITH_NCCL,
            f"{tmp_path}/given.pt",
            f"{tmp_path}/{way}",
            way,
        ]
        subprocess.run(command, env=os.environ | here, check=True, timeout=300)
        found[way] = torch.load(tmp_path / way)
    for a, b in zip(*found.values(), strict=True):
        assert torch.equal(a, b)
