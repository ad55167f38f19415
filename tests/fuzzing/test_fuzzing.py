"""A few inputs of each kind, and that a fault would be seen."""

import time

import pytest

from ltm_pyro.errors import InputError

from . import ends as ends_
from .__main__ import give, read
from .ends import Ends, Kind
from .kinds import KINDS, make_run

FEW = {"configuration": 200, "dataclass": 300, "records": 60, "table": 60, "plain": 60,
       "parquet": 40, "in-memory": 40, "part": 40, "memory": 40, "manifest": 30, "seen": 30,
       "tokenizer": 15, "record": 60, "log": 15, "weights": 10, "resume": 15, "folder": 20,
       "prompt": 5, "command-line": 4, "question": 2, "saved": 3}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("fuzzing")
    make_run(place)
    return place


@pytest.mark.parametrize("name", KINDS)
def test_every_input_ends_in_success_or_an_error_of_ours(place, name, monkeypatch):
    (place / name).mkdir()
    monkeypatch.chdir(place / name)
    kind, ends = KINDS[name](place / name), Ends()
    for number in range(FEW[name]):
        ends.give(name, kind, number)
    assert not ends.faults, "\n".join(ends.faults[:5])
    assert ends.of(name) == FEW[name]
    assert set(ends.counts[name]) != {"told"} or FEW[name] < 10, "nothing was ever taken"


class Panic(BaseException):
    """As another language has them."""


class Faulty(Kind):
    """Ends in every way that there is."""

    ways = ("fine", KeyError, SystemExit, InputError, Panic, None)

    def make(self, draw):
        how = draw.choice(self.ways)

        def call():
            if how is None:
                while True:
                    pass
            if how != "fine":
                raise how("it")
            return how

        return "something", call


def test_a_fault_is_seen_and_given_again_by_its_number(tmp_path, monkeypatch):
    monkeypatch.setattr(ends_, "SECONDS", 0.1)
    ends, again = Ends(), Ends()
    for number in range(30):
        ends.give("faulty", Faulty(tmp_path), number)
    assert set(ends.counts["faulty"]) == {"fine", "told", "FAULT"}
    kinds = {fault.split(": ")[1] for fault in ends.faults}
    assert kinds == {"KeyError", "SystemExit", "Panic", "TooLong"}
    number = int(ends.faults[0].split()[1].rstrip(":"))
    again.give("faulty", Faulty(tmp_path), number)
    assert again.faults == [ends.faults[0]]


def test_counts_are_kept_and_gone_on_from(tmp_path):
    state, until = tmp_path / "state.json", time.monotonic() + 60
    kinds = {name: KINDS[name](tmp_path) for name in ("dataclass", "part")}
    for total in (30, 60):
        ends = read(state)
        give(ends, kinds, total, until, state)
        assert (ends.total, read(state).counts) == (total, ends.counts)
    assert [ends.of(name) for name in kinds] == [50, 10]
    at_once = Ends()
    give(at_once, kinds, 60, until)
    assert at_once.counts == ends.counts
    give(at_once, kinds, 90, time.monotonic())
    assert at_once.total == 60
