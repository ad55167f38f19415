"""The next batch is fetched early; it must still be the step's own."""

import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows

from ..conftest import some_rows


def spy_on_batches(monkeypatch):
    steps = []
    inner = Rows.batch

    def spy(self, step, size, seed):
        steps.append(step)
        return inner(self, step, size, seed)

    monkeypatch.setattr(Rows, "batch", spy)
    return steps


def test_each_batch_is_fetched_once_and_none_for_nothing(model, monkeypatch):
    fetched = spy_on_batches(monkeypatch)
    svi = ltm.DualRateSVI(model, fast=Fast(steps=0))
    svi.fit(some_rows(8), 3, 2, progress=False)
    svi.fit(some_rows(8), 2, 2, progress=False)
    assert fetched == [0, 1, 2, 3, 4]
    fetched.clear()
    svi.fit(some_rows(8), 0, 2, progress=False)
    assert fetched == []


def test_who_goes_back_gets_the_batches_of_then(model, monkeypatch):
    used = []
    svi = ltm.DualRateSVI(model, fast=Fast(steps=0))
    inner = svi.step

    def step(batch, total=None):
        used.append((svi.done, batch.key.tolist()))
        return inner(batch, total)

    monkeypatch.setattr(svi, "step", step)

    def back(svi, report):
        if report.step == 3 and len(used) == 3:
            svi.done = 1

    rows = some_rows(8)
    svi.fit(rows, 4, 2, [back], progress=False)
    assert [done for done, _ in used] == [0, 1, 2, 1, 2, 3]
    assert all(key == rows.batch(done, 2, 0).key.tolist() for done, key in used)


def test_rows_keep_their_keys_wherever_they_go():
    rows = some_rows(4)
    for there in (rows.to("cpu"), rows.to("cpu", wait=False), rows[torch.tensor([2, 0])]):
        assert there.key.device.type == "cpu"
    assert torch.equal(rows.to("cpu").key, rows.key)
    assert torch.equal(rows[torch.tensor([2, 0])].key, rows.key[[2, 0]])
