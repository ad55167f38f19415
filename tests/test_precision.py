import copy
import dataclasses

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Slow
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.likelihood import TokenSequence
from ltm_pyro.models import LinearGaussianModel
from ltm_pyro.precision import computing_in


def log_prob(model, rows, z):
    return TokenSequence(model.decoder, z, rows.lengths, 12).log_prob(rows.tokens)


@pytest.mark.parametrize("fixed", [True, False])
def test_the_likelihood_hardly_moves_and_stays_fp32(model, rows, fixed):
    z = torch.randn(5, 2, 2, 3, requires_grad=True)
    want = log_prob(model, rows, z)
    prelude = model.read(rows).detach()
    if fixed:
        model.requires_grad_(False)
    with computing_in("bf16", model, fixed):
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
        with computing_in("bf16", model, fixed=True):
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
    ltm.evaluate(model, rows, ["elbo:2"], fast=fast, progress=False)
    assert seen[:3] == [torch.bfloat16] * 3
    assert seen[3:] == [None] * len(seen[3:])
    assert len(seen) > 3


def test_what_cannot_be_is_told(rows):
    model = LinearGaussianModel(ltm.Thoughts(2, 1, 3), torch.randn(12, 6))
    with pytest.raises(InputError, match="no decoder to run in bf16"):
        ltm.DualRateSVI(model, fast=Fast(steps=1, precision="bf16")).step(rows)
    with pytest.raises(InputError, match="fp16"):
        dataclasses.replace(Slow(), precision="fp16")
