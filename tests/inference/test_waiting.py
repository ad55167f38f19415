"""On a GPU, to look at a number is to wait for it: fast steps must not look at any."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import ltm_pyro as ltm
from ltm_pyro.config import Fast
from ltm_pyro.inference import local as fast_loop
from ltm_pyro.models import likelihood
from ltm_pyro.models.likelihood import TokenSequence
from ltm_pyro.programs.elbo import assert_finite

from ..conftest import some_rows

LOOKS = {"_local_scalar_dense", "nonzero", "masked_select", "unique", "equal"}


class Looks(TorchDispatchMode):
    """Counts operations whose result decides what Python does next."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in LOOKS or by_mask:
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))


def looks(svi, rows):
    with Looks() as counted:
        svi.step(rows)
    return counted.seen


@pytest.fixture
def elsewhere(monkeypatch):
    """As if tensors were on a device."""
    monkeypatch.setattr(likelihood, "_waits", lambda x: True)


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "SGD"}, {"optimizer": "NaturalGradient", "tokens": 0.5}, {"particles": 3}],
)
def test_more_fast_steps_do_not_look_more_often(model, elsewhere, changes):
    # torch.optim.Adam looks at its own step count, which it keeps on the CPU.
    changes = {"optimizer": "SGD", "lr": 0.01, **changes}
    few, many = (
        looks(ltm.DualRateSVI(model, fast=Fast(steps=n, **changes)), some_rows()) for n in (2, 7)
    )
    assert few == many


def test_a_look_in_a_step_is_noticed(model, elsewhere, monkeypatch):
    terms = fast_loop.elbo_terms

    def looking(*arguments):
        found = terms(*arguments)
        assert_finite(found, "a step")
        return found

    monkeypatch.setattr(fast_loop, "elbo_terms", looking)
    few, many = (
        looks(ltm.DualRateSVI(model, fast=Fast(steps=n, optimizer="SGD")), some_rows())
        for n in (2, 7)
    )
    assert many["_local_scalar_dense"] > few["_local_scalar_dense"]


@pytest.mark.parametrize("positions", [None, torch.tensor([[0, 2, 5], [4, -1, -1], [1, 0, -1]])])
def test_scores_are_the_same_without_looking(model, monkeypatch, positions):
    rows = some_rows(3)
    z = torch.randn(4, 3, 2, 2, 3, requires_grad=True)

    def scored():
        tokens = TokenSequence(model.decoder, z, rows.lengths, rows.tokens.shape[1],
                               positions=positions).token_log_prob(rows.tokens)  # fmt: skip
        return tokens, torch.autograd.grad(tokens.sum(), z)[0]

    want = scored()
    monkeypatch.setattr(likelihood, "_waits", lambda x: True)
    for found, wanted in zip(scored(), want, strict=True):
        torch.testing.assert_close(found, wanted)
    assert (want[0] != 0).sum() == 4 * (rows.lengths.sum() if positions is None else 6)
