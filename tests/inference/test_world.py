"""Several processes: real ones that meet through gloo, and what one of them alone would do."""

import dataclasses
import functools
import time
from collections import Counter
from unittest import mock

import pytest
import torch
import torch.distributed as dist

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Named, Objective, Slow, Warm
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Amortized, Langevin, SemiAmortized
from ltm_pyro.inference import Hierarchical, SpeakThenThink, StopTraining, processes
from ltm_pyro.inference.part import Part
from ltm_pyro.inference.processes import here
from ltm_pyro.inference.released import Released
from ltm_pyro.inference.world import ALONE
from ltm_pyro.models import LatentThoughtModel

from ..conftest import some_rows, strong
from ..processes import together
from .test_shared_sites import grouped

SLOW = Slow(lr=1e-2, warmup=1)
PROTOCOLS = {
    "fresh": {},
    "quick": {"fast": Fast.quick(2)},
    "warm": {"warm": Warm(1)},
    "joint": {"fast": Fast.quick(2), "warm": Warm(0, lr=1.0)},
    "released": {"fast": Released(steps=2)},
    "speak": {"speak": 0.5, "warm": Warm(1, lr=0.1)},
    "some-tokens": {"fast": Fast(steps=2, tokens=0.5)},
    "weighted": {"slow": dataclasses.replace(SLOW, importance=3), "warm": Warm(1)},
    "speak-weighted": {
        "speak": 0.5,
        "slow": dataclasses.replace(SLOW, importance=2),
        "warm": Warm(1),
        "batch": 2,
    },
    "accumulate": {"slow": dataclasses.replace(SLOW, accumulate=2, steps=2)},
    "free-bits": {"objective": Objective(free_bits=0.5)},
    "moved": {"guide": Langevin},
    "encoder": {"guide": Amortized},
    "encoder-and-steps": {"guide": SemiAmortized},
    "learned-prior": {"prior": Named("energy")},
    "shared-sites": {},
}
"""What differs of `DualRateSVI`, for each way in which a run can be trained."""
QUICK = ["fresh", "joint", "speak-weighted", "shared-sites"]
COLLECTIVES = ("all_reduce", "all_gather", "all_gather_object", "all_to_all", "barrier",
               "broadcast", "gather", "gather_object", "reduce", "reduce_scatter", "send", "recv",
               "isend", "irecv")  # fmt: skip


def fitted(config, name, steps=6, batch=3, world=ALONE):
    """Weights, the histories' figures, and the SVI after some iterations of a protocol, in fp64."""
    options = {"fast": Fast(steps=2), "slow": SLOW, **PROTOCOLS[name]}
    batch = options.pop("batch", batch)  # of two, one process may have none
    torch.manual_seed(0)
    if name == "shared-sites":
        model, rows = grouped()
        model, guide = model.double(), Hierarchical.of(model, rows=rows)
        rows = dataclasses.replace(rows, tokens=rows.tokens.double())
        guide.keywords["shared"].double()
    else:
        rows = some_rows(7)
        config = config.replace(prior=options.pop("prior", config.prior))
        model = strong(LatentThoughtModel(config)).double()
        guide = options.pop("guide", ltm.guides.MeanField)
        if hasattr(guide, "make_shared") and guide in (Amortized, SemiAmortized):
            guide = guide.of(model)
            guide.keywords["shared"].double()
    svi = SpeakThenThink(model, guide, world=world, seed=1, **options)
    placed = []

    def in_place(svi, report):  # a sum that tells which document has which value
        seen = report.log_likelihood
        placed.append(float((seen * torch.arange(len(seen))).sum()))

    fit = svi.fit(rows, steps, batch, [in_place], progress=False)
    weights = [p.detach().clone() for p in svi.global_parameters()]
    return weights, fit.history.drop(columns="seconds").assign(placed=placed), svi


def parts(config, names):
    """Of each protocol what `fitted` has, in this process among others, and its collectives."""
    found = []
    for name in names:
        counted = Counter()
        with mock.patch.multiple(dist, **{c: _counting(c, counted) for c in COLLECTIVES}):
            weights, history, svi = fitted(config, name, world=here())
        remembered = {} if svi.memory is None else svi.memory.changed
        found.append((weights, history, counted, remembered))
    return found


def _counting(name, counted):
    original = getattr(dist, name)

    @functools.wraps(original)
    def call(*arguments, **options):
        counted[name] += 1
        return original(*arguments, **options)

    return call


@pytest.mark.parametrize("names", [
    pytest.param(QUICK, id="quick"),
    pytest.param([n for n in PROTOCOLS if n not in QUICK], id="rest", marks=pytest.mark.slow),
])  # fmt: skip
def test_two_processes_train_the_same_weights_by_one_collective_a_slow_step(config, names):
    """Within 1e-9 in fp64, so that what differs is the order of sums; every protocol there is."""
    both = together(parts, config, names)
    for i, name in enumerate(names):
        weights, history, svi = fitted(config, name)
        for mine, figures, counted, _ in (both[0][i], both[1][i]):
            for one, other in zip(mine, weights, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, msg=name)
            assert counted == {"all_reduce": svi.slow.steps * svi.done}, name
            assert list(figures["tokens"]) == list(history["tokens"]), name
            for column in history:
                torch.testing.assert_close(
                    torch.tensor(figures[column]), torch.tensor(history[column]),
                    rtol=1e-5, atol=1e-6, msg=f"{name}: {column}",
                )  # fmt: skip
        if svi.memory is not None:
            first, second = both[0][i][3], both[1][i][3]
            assert not first.keys() & second.keys(), (
                "a document has one process for all of training"
            )
            assert (first | second).keys() == svi.memory.changed.keys()


def in_halves(config, deaf=False):
    """Weights of one process among others after four steps, in fp32."""
    torch.manual_seed(0)
    model = strong(LatentThoughtModel(config))
    svi = ltm.DualRateSVI(model, fast=Fast(steps=2), slow=SLOW, world=here())
    added, last = dist.all_reduce, here().size + 1

    def but_for_gradients(flat):
        whole = flat.clone()
        added(whole)
        flat[-last:] = whole[-last:]  # marks, by which others are known to be at the same step

    with mock.patch.object(dist, "all_reduce", but_for_gradients if deaf else added):
        svi.fit(some_rows(9), 4, 6, progress=False)
    return [p.detach() for p in model.parameters()]


def test_it_is_bit_for_bit_where_the_order_of_sums_is_the_same(config):
    """One process that cuts its batch in two adds up the same two parts."""
    torch.manual_seed(0)
    model = strong(LatentThoughtModel(config))
    halves = dataclasses.replace(SLOW, accumulate=2)
    ltm.DualRateSVI(model, fast=Fast(steps=2), slow=halves).fit(some_rows(9), 4, 6, progress=False)
    alone = [p.detach() for p in model.parameters()]
    for mine in together(in_halves, config):
        assert all(map(torch.equal, mine, alone))
    for deaf in together(in_halves, config, True):
        assert not any(map(torch.equal, deaf, alone)), "gradients that are not added would show"


def apart(config, how):
    """What a process is told that trains on rows, or from weights, of its own, or stops alone."""
    world = here()
    torch.manual_seed(world.rank if how == "weights" else 0)
    svi = ltm.DualRateSVI(LatentThoughtModel(config), fast=Fast(steps=1), slow=SLOW, world=world)
    rows = some_rows(9, seed=world.rank if how == "rows" else 0)
    if how != "stop":
        with pytest.raises(InputError, match="not at the same step of the same training"):
            svi.fit(rows, 2, 6, progress=False)
        return 0

    def stop(svi, report):
        if world.rank == 0 and svi.done == 2:
            raise StopTraining

    svi.fit(rows, 6, 6, [stop], progress=False)
    first = svi.done
    svi.fit(rows, 2, 6, progress=False)  # nobody asked this one to stop
    return first, svi.done


@pytest.mark.parametrize("how", ["weights", "rows", "stop"])
def test_processes_that_differ_are_told_and_stop_together(config, how):
    for found in together(apart, config, how):
        assert found == ((3, 5) if how == "stop" else 0)


def shared_parts(rows):
    """What the world does beside training."""
    world = here()
    part, own = world.share(rows), world.share(rows, owned=True)
    assert isinstance(part, Part)
    assert world.share(part) is part
    assert world.tokens(part) == world.tokens(own) == rows.token_count
    with pytest.raises(InputError, match=r"a batch of 1 has no document for each of 2 processes"):
        world.share(rows[:1])
    with pytest.raises(InputError, match=r"cuda:1 is one for 2 processes: say cuda"):
        world.device("cuda:1")
    with world.in_turn():
        entered = time.monotonic()
        time.sleep(0.1)
        left = time.monotonic()
    turns = world.gather((entered, left))
    return part.key.tolist(), own.key.tolist(), turns, world.collect(world.rank)


def test_a_batch_is_cut_into_neighbours_or_by_owners():
    rows = some_rows(7)
    first, second = together(shared_parts, rows)
    assert first[0] + second[0] == rows.key.tolist()
    assert (len(first[0]), len(second[0])) == (4, 3)
    assert sorted(first[1] + second[1]) == sorted(rows.key.tolist())
    assert {key % 2 for key in first[1]} <= {0}
    assert {key % 2 for key in second[1]} <= {1}
    assert first[2] == second[2]
    assert first[2][0][1] <= first[2][1][0], "the first is through before the second enters"
    assert (first[3], second[3]) == ([0, 1], [1])


def test_alone_it_is_nothing(monkeypatch):
    assert (ALONE.size, ALONE.rank, ALONE.first) == (1, 0, True)
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.gather("x") == ALONE.collect("x") == ["x"]
    assert ALONE.device("cuda") == "cuda"
    batch, seen = some_rows(3), {"kl": torch.ones(3)}
    assert ALONE.share(batch) is ALONE.like(batch) is batch
    assert ALONE.tokens(batch) == batch.token_count
    assert ALONE.gradients([], seen, batch) is seen
    monkeypatch.setenv("WORLD_SIZE", "1")
    processes._all.cache_clear()
    assert here() is ALONE
    assert not dist.is_initialized()


def test_processes_that_do_not_meet_are_told_how(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    processes._all.cache_clear()
    with pytest.raises(
        InputError, match=r"WORLD_SIZE is 2.* do not meet.* start them with torchrun"
    ):
        here()
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError, match=r"WORLD_SIZE is 'two'.* expected a whole number"):
        here()
