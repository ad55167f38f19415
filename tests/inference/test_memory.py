import functools

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Warm
from ltm_pyro.errors import Damaged, InputError
from ltm_pyro.guides import MeanField, NoGuide
from ltm_pyro.inference.memory import ARRAY, STAGED, Memory

from ..conftest import some_rows


def guide(thoughts, rows, value):
    made = MeanField(thoughts, len(rows))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape) + value)
    return made


def saved(memory, step):
    """As a checkpoint does it."""
    data = memory.stage(step)
    (memory.folder / STAGED).write_bytes(data)


def opened(rows, path, step, record=None):
    memory = Memory(rows, path)
    memory.open(step, record)
    return memory


@pytest.mark.parametrize("on_disk", [False, True])
def test_documents_start_where_they_ended(model, tmp_path, on_disk):
    rows = some_rows(9)
    memory = Memory(rows, tmp_path if on_disk else None)
    first = guide(model.thoughts, rows[[7, 2, 5]], 3.0)
    memory.remember(first, rows[[7, 2, 5]])
    if on_disk:
        saved(memory, 1)
        memory = opened(rows, tmp_path, 1)
    again = MeanField(model.thoughts, 4)
    known = memory.recall(again, rows[[0, 2, 7, 8]])
    assert known.tolist() == [False, True, True, False]
    assert torch.equal(again.loc[1], first.loc[1])
    assert torch.equal(again.log_variance[2], first.log_variance[0])
    assert (again.loc[[0, 3]] == 0).all()


def test_both_checkpoints_can_be_gone_back_to(model, tmp_path):
    """The last, and the one before: also while what changed is on its way into the array."""
    rows = some_rows(4)
    memory = Memory(rows, tmp_path)
    fits = {step: guide(model.thoughts, rows, float(step)) for step in (10, 20, 30)}
    records = {}

    def found(step):
        kept = {p: p.read_bytes() for p in tmp_path.iterdir()}
        memory = opened(rows, tmp_path, step, records[step])
        again = MeanField(model.thoughts, 4)
        memory.recall(again, rows)
        for path, data in kept.items():
            path.write_bytes(data)
        return again.loc

    before = None
    for step, fit in fits.items():
        memory.remember(fit, rows)
        data = memory.stage(step)  # and here the process may die, before or after it is written
        records[step] = memory.record()
        if before is not None:
            assert torch.equal(found(before), fits[before].loc)
        (tmp_path / STAGED).write_bytes(data)
        assert torch.equal(found(step), fit.loc)
        if before is not None:
            assert torch.equal(found(before), fits[before].loc)
        before = step
    with pytest.raises(Damaged, match="not what belongs to the checkpoint of iteration 10"):
        found(10)


def test_any_bit_of_a_memory_counts(model, tmp_path):
    rows = some_rows(6)
    memory = Memory(rows, tmp_path)
    for step, part in ((1, [0, 2]), (2, [2, 4])):  # rows 1, 3, 5 are not known
        memory.remember(guide(model.thoughts, rows[part], 1.0), rows[part])
        saved(memory, step)
    record = memory.record()
    path = tmp_path / ARRAY
    whole = path.read_bytes()
    opened(rows, tmp_path, 2, record)
    for bit in range(0, 8 * len(whole), 61):
        turned = bytearray(whole)
        turned[bit // 8] ^= 1 << bit % 8
        path.write_bytes(turned)
        where = bit // 8 - (len(whole) - 4 * 6 * 25)
        staged = where >= 0 and where // 100 in memory.staged  # goes there anew
        if staged:
            opened(rows, tmp_path, 2, record)
        else:
            with pytest.raises(Damaged, match="memory"):
                opened(rows, tmp_path, 2, record)
    for data in (whole[:-4], whole + b"1234", b"", whole[:100]):
        path.write_bytes(data)
        with pytest.raises(Damaged, match=ARRAY):
            opened(rows, tmp_path, 2, record)
    path.unlink()
    with pytest.raises(Damaged, match="damaged, missing or another run's"):
        opened(rows, tmp_path, 2, record)
    path.symlink_to("elsewhere.npy")
    (tmp_path / "elsewhere.npy").write_bytes(whole)
    with pytest.raises(InputError, match="is a symbolic link"):
        opened(rows, tmp_path, 2, record)


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
    saved(memory, 1)
    memory.stage(2)
    other = functools.partial(MeanField, batch_size=4)(type(model.thoughts)(2, 2, 5))
    with pytest.raises(InputError, match="holds 24 numbers for a document, MeanField has 40"):
        memory.recall(other, rows)
    with pytest.raises(InputError, match="belongs to other data"):
        Memory(some_rows(5, seed=3), tmp_path).open(1)
    assert np.load(tmp_path / ARRAY).shape == (4, 25)
