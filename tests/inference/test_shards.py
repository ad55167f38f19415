"""A slow step that is shared out among processes is the step that all would take."""

import dataclasses
import math
from unittest import mock

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Slow
from ltm_pyro.errors import InputError, Lost
from ltm_pyro.inference.processes import here
from ltm_pyro.models import LatentThoughtModel

from ..conftest import some_rows, strong
from ..processes import together
from .test_world import PROTOCOLS, SLOW, fitted

NAMES = ["fresh", "joint", "speak-weighted", "shared-sites", "accumulate", "encoder-and-steps"]
NEVER = 1e9
"""A norm to which nothing is clipped."""


def trained(config, names, slow):
    """Of each protocol the weights and the whole state, in this process among others, in fp64."""
    found = []
    for name in names:
        own = PROTOCOLS[name].get("slow", SLOW)
        PROTOCOLS[name] = {**PROTOCOLS[name], "slow": dataclasses.replace(own, **slow)}
        weights, history, svi = fitted(config, name, world=here())
        svi.slowly.gather()
        state = svi.state_dict()["optimizer"] if here().first else None
        held = sum(
            value.numel()
            for p in svi.slowly.parameters if p.dim() > 1
            for value in svi.optimizer.state.get(svi.slowly.held(p), {}).values() if value.dim()
        )  # fmt: skip
        norms = list(history["gradient_norm"])
        found.append((weights, state, held, norms))
    return found


def alike(one, other, exact):
    """Whether two states are the same, tensor by tensor, bit for bit or up to rounding."""
    assert one.keys() == other.keys()
    for place, values in one.items():
        assert values.keys() == other[place].keys()
        for name, value in values.items():
            if exact:
                assert torch.equal(value, other[place][name]), (place, name)
            else:
                torch.testing.assert_close(value, other[place][name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("size", "names"), [
    pytest.param(2, NAMES[:3], id="quick"),
    pytest.param(2, NAMES[3:], id="rest", marks=pytest.mark.slow),
    pytest.param(3, ["fresh"], id="three", marks=pytest.mark.slow),
])  # fmt: skip
@pytest.mark.parametrize("clip", [NEVER, 1e-3])
def test_weights_and_state_are_those_of_processes_that_all_step(config, size, names, clip):
    """Bit for bit for two, whose sums have one order, where nothing is clipped; a norm has sums of
    its own. Of three the ring adds up in an order that depends on the place."""
    whole, shared = (
        together(trained, config, names, {"clip": clip, "sharded": sharded}, size=size)
        for sharded in (False, True)
    )
    exact = size == 2 and clip == NEVER
    for i in range(len(names)):
        for process in shared:
            weights, state, held, norms = process[i]
            want, known, all_held, want_norms = whole[0][i]
            for one, other in zip(weights, want, strict=True):
                if exact:
                    assert torch.equal(one, other)
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
            if state is not None:
                assert state["param_groups"] == known["param_groups"]
                alike(state["state"], known["state"], exact)
            assert norms == pytest.approx(want_norms, rel=1e-9)
            assert held <= all_held / size + 2 * len(want), "rounded up once a matrix and moment"
        assert sum(process[i][2] for process in shared) == whole[0][i][2], "each element once"
        if clip == NEVER:
            assert max(whole[0][i][3]) < NEVER
        else:
            assert min(whole[0][i][3]) > clip


def with_parts(config, adds):
    """Weights of a process whose parts are not summed, or not sent, as they should be."""
    torch.manual_seed(0)
    model = strong(LatentThoughtModel(config))
    svi = ltm.DualRateSVI(
        model, slow=dataclasses.replace(SLOW, sharded=True, clip=NEVER), world=here()
    )
    size = here().size
    if not adds:
        svi.world.scatter = lambda x: x.tensor_split(size)[here().rank]
    svi.fit(some_rows(9), 2, 6, progress=False)
    return [p.detach() for p in model.parameters() if p.dim() > 1]


def test_gradients_that_are_not_added_up_would_show(config):
    config = config.replace(
        architecture=dataclasses.replace(config.architecture, vocabulary=20, feedforward=24)
    )
    right, wrong = (together(with_parts, config, adds)[0] for adds in (True, False))
    assert not any(map(torch.equal, right, wrong))


def test_an_optimizer_that_may_need_whole_matrices_is_refused(config):
    model = LatentThoughtModel(config)
    with pytest.raises(InputError, match="'Adafactor' may need whole ones: choose one of Adadelta"):
        Slow(optimizer="Adafactor", sharded=True)
    with pytest.raises(InputError, match="SGD, or leave"):
        Slow(optimizer=lambda parameters, lr: torch.optim.SGD(parameters, lr), sharded=True)
    Slow(optimizer=torch.optim.AdamW, sharded=True)
    alone = ltm.DualRateSVI(model, slow=Slow(sharded=True))
    assert alone.slowly.shards is None, "one process has nothing to share out"
    alone.step(some_rows(2))
    assert math.isfinite(alone.state_dict()["optimizer"]["state"][0]["exp_avg"].sum())


def asked_too_soon(config):
    svi = ltm.DualRateSVI(LatentThoughtModel(config), slow=Slow(sharded=True), world=here())
    with pytest.raises(InputError, match=r"call svi.slowly.gather\(\) in every process"):
        svi.state_dict()
    with pytest.raises(InputError, match="other groups of parameters"):
        svi.load_state_dict({"done": 0, "seed": 0, "optimizer": {"state": {}, "param_groups": []}})
    svi.step(some_rows(4))
    svi.slowly.gather()
    assert (svi.slowly._whole is not None) == here().first, "the others keep nothing of it"
    svi.step(some_rows(4))
    with pytest.raises(InputError, match="in every process, then"):
        svi.state_dict()  # that was of the step before
    svi.slowly.gather()
    if not here().first:
        return
    state = svi.state_dict()
    name = next(n for n, v in state["optimizer"]["state"].items() if v["exp_avg"].dim() > 1)
    state["optimizer"]["state"][name]["exp_avg"] = torch.zeros(3)
    with pytest.raises(InputError, match=f"exp_avg of parameter {name} is damaged"):
        svi.load_state_dict(state)


def test_a_part_is_not_taken_for_the_whole(config):
    together(asked_too_soon, config)


def with_odd(config, sharded):
    """Weights of a model of which one lies in memory column by column, and one is frozen."""
    torch.manual_seed(0)
    model = strong(LatentThoughtModel(config))
    first = next(one for one in model.decoder.modules() if isinstance(one, torch.nn.Linear))
    first.weight = torch.nn.Parameter(first.weight.detach().t().contiguous().t())
    assert not first.weight.is_contiguous()
    model.decoder.head.requires_grad_(False)
    slow = dataclasses.replace(SLOW, sharded=sharded, clip=NEVER)
    ltm.DualRateSVI(model, slow=slow, world=here()).fit(some_rows(9), 2, 6, progress=False)
    return [p.detach().clone() for p in model.parameters()]


def fails_for_want_of_memory(config):
    """What each process is told where one has no memory for what it sends."""
    torch.manual_seed(0)
    model = LatentThoughtModel(config)
    svi = ltm.DualRateSVI(model, slow=dataclasses.replace(SLOW, sharded=True), world=here())
    if here().rank:

        def full(*given):
            raise torch.OutOfMemoryError("none left")

        patched = mock.patch("ltm_pyro.inference.processes.SCATTER", full)
        with patched, pytest.raises(torch.OutOfMemoryError):
            svi.step(some_rows(4))
        return True
    with pytest.raises(Lost):
        svi.step(some_rows(4))
    return True


def test_want_of_memory_is_told_as_such(config):
    assert all(together(fails_for_want_of_memory, config))


def test_weights_of_every_form_are_stepped(config):
    plain, shared = (together(with_odd, config, sharded)[0] for sharded in (False, True))
    assert all(map(torch.equal, plain, shared))
