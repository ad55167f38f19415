import functools

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Warm
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField, NoGuide
from ltm_pyro.inference.memory import ARRAY, STAGED, Memory

from ..conftest import some_rows


def guide(thoughts, rows, value):
    made = MeanField(thoughts, len(rows))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape) + value)
    return made


@pytest.mark.parametrize("on_disk", [False, True])
def test_documents_start_where_they_ended(model, tmp_path, on_disk):
    rows = some_rows(9)
    memory = Memory(rows, tmp_path if on_disk else None)
    first = guide(model.thoughts, rows[[7, 2, 5]], 3.0)
    memory.remember(first, rows[[7, 2, 5]])
    if on_disk:
        memory.stage(1)
        memory.settle(1)
        memory = Memory(rows, tmp_path)
    again = MeanField(model.thoughts, 4)
    known = memory.recall(again, rows[[0, 2, 7, 8]])
    assert known.tolist() == [False, True, True, False]
    assert torch.equal(again.loc[1], first.loc[1])
    assert torch.equal(again.log_variance[2], first.log_variance[0])
    assert (again.loc[[0, 3]] == 0).all()


def test_what_was_staged_counts_only_with_its_checkpoint(model, tmp_path):
    rows = some_rows(4)
    memory = Memory(rows, tmp_path)
    old, new = (guide(model.thoughts, rows, v) for v in (1.0, 2.0))
    memory.remember(old, rows)
    memory.stage(10)
    memory.settle(10)
    memory.remember(new, rows)
    memory.stage(20)  # and here the process dies, before or after the checkpoint of step 20

    def resumed(step):
        kept = {name: (tmp_path / name).read_bytes() for name in (ARRAY, STAGED)}
        memory = Memory(rows, tmp_path)
        memory.settle(step)
        found = MeanField(model.thoughts, 4)
        memory.recall(found, rows)
        for name, data in kept.items():
            (tmp_path / name).write_bytes(data)
        return found.loc

    assert torch.equal(resumed(10), old.loc)
    assert torch.equal(resumed(20), new.loc)


def test_a_warm_start_lowers_the_loss_of_a_short_loop(model):
    """The same batch again and again, the decoder still: fits go on instead of starting anew."""
    rows = some_rows(8)
    fast, still = Fast(steps=2, lr=0.05, final=1.0), ltm.Slow(lr=0.0)
    elbo = {}
    for warm in (True, False):
        svi = ltm.DualRateSVI(model, MeanField, fast, still, warm=Warm(2) if warm else None)
        svi.remember(rows)  # which is not looked at where there is no warm start
        for _ in range(15):
            report = svi.step(rows)
        elbo[warm] = float((report.log_likelihood - report.kl).mean())
    assert elbo[True] > elbo[False] + 1.0


def test_what_cannot_be_remembered_is_named(model, tmp_path):
    rows = some_rows(4)
    memory = Memory(rows, tmp_path)
    with pytest.raises(InputError, match="not among those this memory was made for"):
        memory.recall(MeanField(model.thoughts, 6), some_rows(6, seed=9))
    with pytest.raises(InputError, match="NoGuide has parameters that are not a document's own"):
        memory.remember(NoGuide(), rows)
    memory.remember(guide(model.thoughts, rows, 0.0), rows)
    memory.stage(1)
    memory.settle(1)
    other = functools.partial(MeanField, batch_size=4)(type(model.thoughts)(2, 2, 5))
    with pytest.raises(InputError, match="holds 24 numbers for a document, MeanField has 40"):
        memory.recall(other, rows)
    with pytest.raises(InputError, match="belongs to other data"):
        Memory(some_rows(5, seed=3), tmp_path)
    assert np.load(tmp_path / ARRAY).shape == (4, 25)
