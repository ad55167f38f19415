"""The state of an optimizer is checked before torch reads it, past the end of a wrong shape."""

import copy

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.errors import InputError
from ltm_pyro.inference.optimizer_state import check_optimizer_state

from ..conftest import some_rows

NAMES = ["AdamW", "Adam", "SGD", "RMSprop", "Adagrad", "Adadelta", "ASGD", "NAdam", "RAdam",
         "Rprop", "Adamax", "Adafactor"]  # fmt: skip


def stepped(model, name, **options):
    svi = ltm.DualRateSVI(model, fast=ltm.Fast(steps=1), slow=ltm.Slow(optimizer=name, **options))
    svi.step(some_rows(4))
    return svi


@pytest.mark.parametrize("name", NAMES)
def test_its_own_state_is_taken_and_goes_on_the_same(model, name):
    """Whichever optimizer it is, before its first step and after."""
    twin = copy.deepcopy(model)
    fresh = ltm.DualRateSVI(model, fast=ltm.Fast(steps=1), slow=ltm.Slow(optimizer=name))
    begun = copy.deepcopy(fresh.state_dict())
    fresh.load_state_dict(begun)
    fresh.step(some_rows(4))
    saved = copy.deepcopy(fresh.state_dict())
    other = ltm.DualRateSVI(twin, fast=ltm.Fast(steps=1), slow=ltm.Slow(optimizer=name))
    twin.load_state_dict(model.state_dict())
    noise = torch.get_rng_state()
    other.load_state_dict(saved)
    assert torch.equal(noise, torch.get_rng_state())
    assert other.done == 1
    for svi in (fresh, other):
        svi.step(some_rows(4, seed=1))
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def matrix(svi):
    """The place of a matrix in the optimizer's state."""
    state = svi.optimizer.state_dict()["state"]
    return next(k for k, v in state.items() if v["exp_avg"].dim() == 2)


CHANGES = {
    "a number": lambda t: torch.zeros(()),
    "a row": lambda t: t[:1].clone(),
    "transposed": lambda t: t.t().contiguous(),
    "strides": lambda t: t.t().contiguous().t(),
    "expanded": lambda t: torch.zeros(()).expand(t.shape),
    "doubles": lambda t: t.double(),
    "integers": lambda t: t.long(),
    "sparse": lambda t: t.to_sparse(),
    "none": lambda t: None,
    "a list": lambda t: t.tolist(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("key", ["exp_avg", "exp_avg_sq"])
def test_a_matrix_of_another_kind_is_named(model, change, key):
    svi = stepped(model, "AdamW")
    place, state = matrix(svi), copy.deepcopy(svi.state_dict())
    held = state["optimizer"]["state"][place]
    held[key] = CHANGES[change](held[key])
    before = copy.deepcopy(svi.state_dict())
    with pytest.raises(InputError, match=rf"the optimizer's {key} of parameter {place} is damaged"):
        svi.load_state_dict(state)
    after = svi.state_dict()["optimizer"]["state"][place][key]
    assert torch.equal(after, before["optimizer"]["state"][place][key])


def test_other_parts_groups_names_and_counts_are_named(model):
    svi = stepped(model, "AdamW")

    def refused(told, act):
        state = copy.deepcopy(svi.state_dict())
        act(state)
        with pytest.raises(InputError, match=told):
            svi.load_state_dict(state)

    refused("other parts", lambda s: s.update(optimizer=[]))
    refused("other parts", lambda s: s["optimizer"].pop("state"))
    refused("other groups", lambda s: s["optimizer"]["param_groups"].pop())
    refused("other groups", lambda s: s["optimizer"]["param_groups"][0]["params"].pop())
    refused("other groups", lambda s: s["optimizer"].update(param_groups=[3, 4]))
    refused("other options: betas", lambda s: s["optimizer"]["param_groups"][0].update(betas="x"))
    refused("other options: fused", lambda s: s["optimizer"]["param_groups"][0].update(fused=[1]))
    for switch in ("amsgrad", "capturable", "foreach", "maximize"):  # which kernel reads the state
        state = copy.deepcopy(svi.state_dict())
        state["optimizer"]["param_groups"][0][switch] = True
        with pytest.raises(InputError, match=f"other options: {switch}"):
            svi.load_state_dict(state)
    refused("of other parameters", lambda s: s["optimizer"]["state"].update({999: {}}))
    refused("exp_avg of parameter 0", lambda s: s["optimizer"]["state"][0].pop("exp_avg"))
    refused("extra of parameter 0", lambda s: s["optimizer"]["state"][0].update(extra=1))
    refused("done is -1", lambda s: s.update(done=-1))
    refused("seed is '0'", lambda s: s.update(seed="0"))


def test_an_optimizer_that_cannot_be_copied_reads_its_state_itself(model):
    class Own(torch.optim.SGD):
        def __deepcopy__(self, memo):
            raise RuntimeError("no")

    check_optimizer_state(Own(model.parameters(), lr=0.1), {})
