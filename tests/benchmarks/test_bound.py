import torch

from benchmarks import bound
from benchmarks.bound import time_to_bound, topic_rows
from benchmarks.shapes import SHAPES


def test_the_time_is_to_where_plain_got():
    found = time_to_bound(SHAPES["tiny"], iterations=4, look=2)
    assert found["iterations"][0] == 4
    assert found["nats_per_token"] > 0
    assert found["median"] is None or found["median"] > 0


def test_who_never_gets_there_has_no_ratio(monkeypatch):
    monkeypatch.setattr(bound, "SLOW", bound.Slow(lr=0.0))
    start = bound.valid_bound

    def worse(model, rows, fast, particles=4):
        worse.calls += 1
        nats = start(model, rows, fast, particles)
        return nats - 1.0 if worse.calls == 1 else nats  # the first is plain's

    worse.calls = 0
    monkeypatch.setattr(bound, "valid_bound", worse)
    assert time_to_bound(SHAPES["tiny"], iterations=1, look=2)["median"] is None


def test_documents_are_of_topics():
    one, same, other = (topic_rows(20, 200, 30, seed) for seed in (0, 0, 1))
    assert torch.equal(one.tokens, same.tokens)
    assert not torch.equal(one.tokens, other.tokens)
    counts = torch.stack([torch.bincount(row, minlength=30) for row in one.tokens]) / 200
    assert counts.var(0).sum() > 3 * (counts.mean(0) / 200).sum()  # more than one topic would vary
