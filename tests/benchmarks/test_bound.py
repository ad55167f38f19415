import dataclasses

import pytest
import torch

from benchmarks import bound
from benchmarks.bound import Look, Race, reached, time_to_bound
from benchmarks.shapes import SHAPES
from ltm_pyro.config import Architecture, Config, Fast, Thoughts
from ltm_pyro.data.synthetic import topic_rows

RACE = Race(
    Config(
        Architecture(32, 0, 12, window=2, layers=1, width=8, heads=2, feedforward=8),
        Thoughts(1, 1, 2),
    ),
    documents=20, held_out=3, batch=4, plain=Fast(steps=2), look=2,
)  # fmt: skip
TARGET = dataclasses.replace(SHAPES["tiny"], target=2.0, seeds=2)


def bounds(monkeypatch, *values):
    """Lets the valid bound be each of these in turn, the last one for ever."""
    left = list(values)
    monkeypatch.setattr(bound, "valid_bound", lambda *_: torch.full(
        (3,), left.pop(0) if len(left) > 1 else left[0]))  # fmt: skip


def test_every_way_is_timed_to_the_same_bound():
    found = time_to_bound(dataclasses.replace(TARGET, target=9.0), RACE)
    assert set(found["ways"]) == set(RACE.ways)
    for way in found["ways"].values():
        assert way["iterations"] == [4, 4]
        assert all(seconds > 0 for seconds in way["seconds"])
    assert found["low"] <= found["median"] <= found["high"]


def test_it_must_be_as_low_twice_whoever_runs(monkeypatch):
    one = dataclasses.replace(TARGET, seeds=1)
    bounds(monkeypatch, 1.9, 2.1, 2.0, 1.9, 1.9, 1.9)
    found = time_to_bound(one, RACE)
    assert {name: way["iterations"] for name, way in found["ways"].items()} == {
        "plain": [8], "ours": [4],
    }  # fmt: skip
    plain, ours = (found["ways"][name]["seconds"][0] for name in ("plain", "ours"))
    assert found["median"] == pytest.approx(plain / ours)


def test_who_never_gets_there_has_no_ratio(monkeypatch):
    bounds(monkeypatch, 2.1)
    found = time_to_bound(TARGET, RACE, longest=3)
    assert found["median"] is None
    assert found["ways"]["ours"]["iterations"] == [3, 3]
    assert found["ways"]["ours"]["there"] == [False, False]
    bounds(monkeypatch, 2.1, 2.1, 2.1, 1.9)  # plain does not in six iterations, ours does
    found = time_to_bound(dataclasses.replace(TARGET, seeds=1), RACE, longest=6)
    assert found["ways"]["plain"]["there"] == [False]
    assert found["median"] > 0


def test_looks_tell_when_easier_bounds_were_reached(monkeypatch):
    looks = [Look(2 * i, float(i), b) for i, b in enumerate([3.0, 2.2, 2.3, 2.4, 2.1, 2.0], 1)]
    assert [reached(looks, target) for target in (3.0, 2.3, 2.1, 2.0)] == [
        looks[1], looks[2], looks[5], None,
    ]  # fmt: skip
    bounds(monkeypatch, 2.1, 2.04, 2.0, 2.0, 2.0)  # plain takes three looks, ours two
    found = time_to_bound(dataclasses.replace(TARGET, seeds=1, target=2.0), RACE)
    plain, ours = (found["ways"][name] for name in ("plain", "ours"))
    assert (plain["iterations"], ours["iterations"]) == ([8], [4])
    sooner = found["easier"]["2.05"] * ours["seconds"][0]  # plain's seconds in three looks
    assert 0 < sooner < plain["seconds"][0]


def test_documents_are_of_topics():
    one, same, other = (topic_rows(20, 200, 30, seed) for seed in (0, 0, 1))
    assert torch.equal(one.tokens, same.tokens)
    assert not torch.equal(one.tokens, other.tokens)
    counts = torch.stack([torch.bincount(row, minlength=30) for row in one.tokens]) / 200
    assert counts.var(0).sum() > 3 * (counts.mean(0) / 200).sum()  # more than one topic would vary
