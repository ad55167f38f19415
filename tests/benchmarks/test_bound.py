import dataclasses

import pytest
import torch

from benchmarks import bound
from benchmarks.bound import Race, time_to_bound, topic_rows
from benchmarks.shapes import SHAPES
from ltm_pyro.config import Architecture, Config, Fast, Slow, Thoughts

RACE = Race(
    Config(
        Architecture(32, 0, 12, window=2, layers=1, width=8, heads=2, feedforward=8),
        Thoughts(1, 1, 2),
    ),
    documents=20, held_out=3, batch=4, plain=Fast(steps=2), look=2,
)  # fmt: skip
TARGET = dataclasses.replace(SHAPES["tiny"], target=4)


def bounds(monkeypatch, *values):
    """Lets the valid bound be each of these in turn, the last one for ever."""
    values = list(values)
    monkeypatch.setattr(bound, "valid_bound", lambda *_: torch.full(
        (3,), values.pop(0) if len(values) > 1 else values[0]))  # fmt: skip


def test_the_time_is_to_where_plain_got():
    found = time_to_bound(TARGET, RACE)
    assert found["iterations"][0] == 4
    assert found["nats_per_token"] > 0
    assert (found["median"] is None) == (found["iterations"][1] == 16)


def test_it_must_be_as_low_twice(monkeypatch):
    bounds(monkeypatch, 2.0, 1.9, 2.1, 2.0, 1.9)
    found = time_to_bound(TARGET, RACE)
    assert found["iterations"] == [4, 8]
    assert found["median"] == pytest.approx(found["base_seconds"] / found["seconds"])
    assert [row[2] for row in found["trace"]] == pytest.approx([1.9, 2.1, 2.0, 1.9])


def test_who_never_gets_there_has_no_ratio(monkeypatch):
    bounds(monkeypatch, 2.0, 2.1)
    found = time_to_bound(TARGET, dataclasses.replace(RACE, slow=Slow(lr=0.0)))
    assert found["median"] is None
    assert found["iterations"] == [4, 16]


def test_documents_are_of_topics():
    one, same, other = (topic_rows(20, 200, 30, seed) for seed in (0, 0, 1))
    assert torch.equal(one.tokens, same.tokens)
    assert not torch.equal(one.tokens, other.tokens)
    counts = torch.stack([torch.bincount(row, minlength=30) for row in one.tokens]) / 200
    assert counts.var(0).sum() > 3 * (counts.mean(0) / 200).sum()  # more than one topic would vary
