import copy
import dataclasses
import functools
import warnings

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Slow
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.models import LatentThoughtModel, LinearGaussianModel
from ltm_pyro.models.decoders import computing as how
from ltm_pyro.models.decoders.computing import computing
from ltm_pyro.models.decoders.stack import Layer
from ltm_pyro.models.likelihood import TokenSequence

from ...conftest import some_rows, strong


def log_prob(model, rows, z):
    return TokenSequence(model.decoder, z, rows.lengths, 12).log_prob(rows.tokens)


@pytest.mark.parametrize("fixed", [True, False])
def test_the_likelihood_hardly_moves_and_stays_fp32(model, rows, fixed):
    z = torch.randn(5, 2, 2, 3, requires_grad=True)
    want = log_prob(model, rows, z)
    prelude = model.read(rows).detach()
    if fixed:
        model.requires_grad_(False)
    with computing(Fast(precision="bf16"), model, fixed):
        low = TokenSequence(model.decoder, z, rows.lengths, 12, prelude).log_prob(rows.tokens)
    assert low.dtype == torch.float32
    assert not torch.equal(low, want)
    torch.testing.assert_close(low, want, rtol=0.02, atol=0.05)
    a, b = (torch.autograd.grad(x.sum(), z)[0] for x in (low, want))
    assert (a - b).norm() < 0.05 * b.norm()
    torch.testing.assert_close(log_prob(model, rows, z), want)  # the block is over


def test_weights_come_back_exactly_whatever_happens(model):
    before = copy.deepcopy(model.state_dict())

    def stopped():
        with computing(Fast(precision="bf16"), model, fixed=True):
            assert model.decoder.head.dtype == torch.bfloat16
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert model.decoder.low is None


def test_an_iteration_in_bf16_is_close_to_one_in_fp32(model, rows):
    reports, gradients = [], []
    for precision in ("fp32", "bf16"):
        one = copy.deepcopy(model)
        fast, slow = Fast(steps=4, lr=0.1, precision=precision), Slow(precision=precision)
        reports.append(ltm.DualRateSVI(one, MeanField, fast, slow).step(rows))
        gradients.append(torch.cat([p.grad.flatten() for p in one.parameters()]))
        assert all(p.dtype == torch.float32 for p in one.parameters())
    assert reports[1].nats_per_token == pytest.approx(reports[0].nats_per_token, rel=0.02)
    assert (gradients[0] - gradients[1]).norm() < 0.1 * gradients[0].norm()
    elbo = reports[0].inner.elbo
    torch.testing.assert_close(reports[1].inner.elbo, elbo, rtol=0.03, atol=0.3)


def test_bounds_are_scored_in_fp32(model, rows, monkeypatch):
    seen = []
    inner = TokenSequence.token_log_prob

    def spy(self, tokens):
        seen.append(self.decoder.low)
        return inner(self, tokens)

    monkeypatch.setattr(TokenSequence, "token_log_prob", spy)
    fast = Fast(steps=3, precision="bf16")
    ltm.evaluate(model, rows, ["elbo:2"], fast=fast, repeat=0, progress=False)
    assert seen[:3] == [torch.bfloat16] * 3
    assert seen[3:] == [None] * len(seen[3:])
    assert len(seen) > 3


def test_what_cannot_be_is_told(rows):
    model = LinearGaussianModel(ltm.Thoughts(2, 1, 3), torch.randn(12, 6))
    with pytest.raises(InputError, match="no decoder to run in bf16"):
        ltm.DualRateSVI(model, fast=Fast(steps=1, precision="bf16")).step(rows)
    with pytest.raises(InputError, match="fp16"):
        dataclasses.replace(Slow(), precision="fp16")


@pytest.fixture
def graphs(monkeypatch):
    """Lets layers be compiled without the slow part of a compiler; counts the graphs made."""
    torch._dynamo.reset()
    monkeypatch.setattr(how, "can_compile", lambda device: True)
    how._compiled.cache_clear()
    counter = CompileCounterWithBackend("eager")
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    yield counter
    how._compiled.cache_clear()
    torch._dynamo.reset()


def iteration(model, rows, tokens=1.0, **changes):
    """A report and the gradient of an iteration of a copy of the model."""
    one = copy.deepcopy(model)
    fast = Fast(steps=4, lr=0.1, tokens=tokens, **changes)
    svi = ltm.DualRateSVI(one, MeanField, fast, Slow(**changes))
    return svi.step(rows), torch.cat([p.grad.flatten() for p in one.parameters()])


def test_compiled_and_recomputed_layers_change_nothing(model, rows, graphs):
    want, slope = iteration(model, rows, tokens=0.5)
    for changes in ({"compile": True}, {"recompute": True}, {"compile": True, "recompute": True}):
        report, gradient = iteration(model, rows, tokens=0.5, **changes)
        torch.testing.assert_close(report.inner.elbo, want.inner.elbo, rtol=1e-5, atol=1e-4)
        assert report.nats_per_token == pytest.approx(want.nats_per_token, rel=1e-5)
        assert (gradient - slope).norm() < 1e-4 * slope.norm()
    assert graphs.frame_count > 0


@pytest.mark.parametrize("name", ["lstm", pytest.param("gated-linear", marks=pytest.mark.slow)])
def test_layers_with_a_recurrence_are_compiled_around_it(name, config, rows, graphs):
    model = strong(LatentThoughtModel(config, decoder=name))
    want, slope = iteration(model, rows, tokens=0.5)
    report, gradient = iteration(model, rows, tokens=0.5, compile=True, recompute=True)
    assert report.nats_per_token == pytest.approx(want.nats_per_token, rel=1e-5)
    assert (gradient - slope).norm() < 1e-4 * slope.norm()
    assert graphs.frame_count > 0


def test_a_graph_serves_all_layers_and_batches(graphs):
    config = ltm.preset("tiny")
    architecture = dataclasses.replace(config.architecture, layers=5, width=32, feedforward=48)
    thoughts = dataclasses.replace(config.thoughts, layers=5)
    model = LatentThoughtModel(config.replace(architecture=architecture, thoughts=thoughts))
    both = {"precision": "bf16", "compile": True}
    svi = ltm.DualRateSVI(model, fast=Fast(steps=2, tokens=0.3, **both), slow=Slow(**both))
    rows = some_rows(24)
    svi.step(rows[:5])
    made = graphs.frame_count
    for batch in (rows[5:9], rows[9:16], rows[16:]):
        svi.step(batch)
    assert 1 < made == graphs.frame_count < 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lengths", "kinds"),
    [
        ((100, 30, 90), 2),  # a mask, and no more than a window
        ((300, 100, 30, 280, 90, 40), 3),  # and blocks
    ],
)
def test_short_rows_have_graphs_of_their_own_and_no_more(graphs, lengths, kinds):
    config = ltm.preset("tiny")
    architecture = dataclasses.replace(
        config.architecture, length=320, window=64, width=32, feedforward=48
    )
    model = LatentThoughtModel(config.replace(architecture=architecture))
    both = {"precision": "bf16", "compile": True}
    svi = ltm.DualRateSVI(model, fast=Fast(steps=2, tokens=0.3, **both), slow=Slow(**both))
    made = []
    for seed, length in enumerate(lengths):
        svi.step(some_rows(3, length, seed=seed, full=True))
        made.append(graphs.frame_count)
    assert sorted(set(made)) == made[:kinds]
    assert made[kinds - 1] == made[-1] < kinds * 8


def test_recomputed_layers_run_again_in_the_backward_pass(model, rows, monkeypatch):
    calls = []
    monkeypatch.setattr(Layer, "forward", _counted(Layer.forward, calls))
    for recompute, times in ((False, 1), (True, 2)):
        calls.clear()
        slow = Slow(recompute=recompute)
        ltm.DualRateSVI(model, fast=Fast(steps=0), slow=slow).step(rows)
        assert len(calls) == times * len(model.decoder.layers)


def _counted(run, calls):
    def counted(*arguments):
        calls.append(1)
        return run(*arguments)

    return counted


def test_without_a_compiler_there_is_one_warning_and_the_same_numbers(model, rows, monkeypatch):
    def none(*arguments, **options):
        raise RuntimeError("no compiler\nmore about it")

    how.can_compile.cache_clear()
    monkeypatch.setattr(torch, "compile", none)
    _, slope = iteration(model, rows)
    with pytest.warns(UserWarning, match=r"layers run as they are \(RuntimeError: no compiler\)"):
        _, gradient = iteration(model, rows, compile=True)
    torch.testing.assert_close(gradient, slope)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        iteration(model, rows, compile=True)
    how.can_compile.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", "lstm", "gated-linear"])
def test_the_real_compiler(name, config, rows):
    if not how.can_compile("cpu"):
        pytest.skip("no compiler here")
    model = strong(LatentThoughtModel(config, decoder=name))
    want, slope = iteration(model, rows, tokens=0.5)
    report, gradient = iteration(model, rows, tokens=0.5, compile=True)
    assert report.nats_per_token == pytest.approx(want.nats_per_token, rel=1e-5)
    assert (gradient - slope).norm() < 1e-4 * slope.norm()
