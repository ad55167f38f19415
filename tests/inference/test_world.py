"""Several processes: two halves of a batch give what the whole gives; alone nothing changes."""

import copy

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Slow, Warm
from ltm_pyro.inference.world import ALONE, World

from ..conftest import some_rows


class Half(World):
    """One of two processes, in a test that runs them one after the other.

    What the other adds is given: its token count, and its gradients, once they are known.
    """

    size = 2

    def __init__(self, rank, others_tokens, others_gradients=None):
        self.rank, self.others_tokens, self.others = rank, others_tokens, others_gradients
        self.own = []

    def sum(self, value):
        return value + self.others_tokens

    def gradients(self, parameters):
        parameters = list(parameters)
        self.own = [p.grad.clone() for p in parameters]
        for p, other in zip(parameters, self.others or [], strict=bool(self.others)):
            p.grad += other


def weights_after(model, batch, world=ALONE, **options):
    svi = ltm.DualRateSVI(model, fast=Fast(steps=2), slow=Slow(lr=1e-2, warmup=0), world=world,
                          **options)  # fmt: skip
    if "warm" in options:
        svi.remember(batch)
    svi.step(world.share(batch))
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("options", [{}, {"warm": Warm(1, lr=0.3)}], ids=["fresh", "joint"])
def test_two_halves_are_the_whole(model, options):
    batch = some_rows(6)
    tokens = [World.share(Half(rank, 0), batch).token_count for rank in (0, 1)]
    assert sum(tokens) == batch.token_count
    second = Half(1, tokens[0])
    weights_after(copy.deepcopy(model), batch, second, **options)
    start = [p.detach().clone() for p in model.parameters()]
    first = Half(0, tokens[1], second.own)
    both = weights_after(copy.deepcopy(model), batch, first, **options)
    alone = weights_after(copy.deepcopy(model), batch, **options)
    for one, other, before in zip(both, alone, start, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        assert not torch.equal(one, before)
    deaf = weights_after(copy.deepcopy(model), batch, Half(0, tokens[1]), **options)
    apart = [not torch.allclose(a, b, rtol=1e-4, atol=1e-6)
             for a, b in zip(deaf, alone, strict=True)]  # fmt: skip
    assert any(apart), "a world that adds no gradients would not be noticed"


def test_fit_takes_its_share_of_every_batch(model):
    rows, seen = some_rows(9), []

    class Listening(ltm.DualRateSVI):
        def step(self, batch, total=None):
            seen.append(batch.key.tolist())
            return super().step(batch, total)

    svi = Listening(model, fast=Fast(steps=1), world=Half(1, 10))
    svi.fit(rows, 2, batch_size=4, progress=False)
    assert seen == [rows.batch(step, 4, 0).key[1::2].tolist() for step in range(2)]


def test_alone_it_is_nothing():
    assert (ALONE.size, ALONE.rank, ALONE.first) == (1, 0, True)
    assert ALONE.sum(3) == 3
    assert ALONE.any(True)
    assert not ALONE.any(False)
    batch = some_rows(3)
    assert ALONE.share(batch) is batch
