"""Ctrl-C leaves a state that can be gone on from: an iteration is done altogether or not at all."""

import copy
import signal

import pytest
import torch
from pyro.poutine.runtime import _PYRO_STACK

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Slow, Warm
from ltm_pyro.inference import slow_step
from ltm_pyro.inference.interrupts import whole

STEPS = 6


@pytest.fixture(autouse=True)
def _pythons_own_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def once(model, at, act):
    """Do something in the decoder's `at`-th pass from now."""
    passes = []

    def count(*_):
        passes.append(1)
        if len(passes) == at:
            act()

    return model.decoder.layers[0].register_forward_pre_hook(count)


def ask():
    signal.raise_signal(signal.SIGINT)


def stop():
    """As a second Ctrl-C does."""
    raise KeyboardInterrupt


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("act", "at", "warm"), [
    (ask, 5, None), (ask, 6, None), (stop, 5, None), (stop, 6, None),  # a fast step, a slow one
    (ask, 6, Warm(steps=1, lr=1.0)),  # in which thoughts are remembered
])  # fmt: skip
def test_training_goes_on_as_if_there_had_been_none(model, rows, act, at, warm):
    def made(of):
        return ltm.DualRateSVI(of, fast=Fast.quick(2), slow=Slow(lr=1e-2), warm=warm)

    straight, halted = copy.deepcopy(model), copy.deepcopy(model)
    history = made(straight).fit(rows, STEPS, 4, progress=False).history
    svi = made(halted)
    hook = once(halted, at, act)
    with pytest.raises(KeyboardInterrupt):
        svi.fit(rows, STEPS, 4, progress=False)
    hook.remove()
    assert 0 < svi.done < STEPS
    assert not _PYRO_STACK
    assert all(p.requires_grad for p in halted.parameters())
    first = svi.fitted.records
    assert len(first) == svi.done
    rest = svi.fit(rows, STEPS - svi.done, 4, progress=False).records
    seen = [one["nats_per_token"] for one in (*first, *rest)]
    assert seen == list(history.nats_per_token)
    assert same(straight, halted)


def test_inference_that_was_interrupted_left_nothing(model, rows):
    svi = ltm.DualRateSVI(model, fast=Fast(steps=3))
    before = svi.infer(rows).inner.elbo
    for act in (stop, ask):
        hook = once(model, 2, act)
        with pytest.raises(KeyboardInterrupt):
            svi.infer(rows)
        hook.remove()
        assert not _PYRO_STACK
        assert all(p.requires_grad for p in model.parameters())
        assert torch.equal(svi.infer(rows).inner.elbo, before)


def test_a_second_one_does_not_wait():
    done = []

    def twice():
        with whole():
            for _ in range(2):
                ask()
                done.append("asked")

    with pytest.raises(KeyboardInterrupt, match="half changed"):
        twice()
    assert done == ["asked"]


def test_an_iteration_broken_off_by_a_second_one_is_not_called_whole(model, rows, monkeypatch):
    step = slow_step.take_step

    def broken_off(*given):
        step(*given)
        ask()
        ask()

    monkeypatch.setattr(slow_step, "take_step", broken_off)
    svi = ltm.DualRateSVI(model, fast=Fast(steps=1))
    with pytest.raises(KeyboardInterrupt, match="half changed"):
        svi.fit(rows, 3, 4, progress=False)
    assert svi.done == 0


def test_it_is_not_lost_in_an_error():
    def fails(asked):
        with whole():
            ask() if asked else None
            raise ValueError("x")

    with pytest.raises(KeyboardInterrupt, match="error") as told:
        fails(asked=True)
    assert isinstance(told.value.__cause__, ValueError)
    with pytest.raises(ValueError, match="x"):
        fails(asked=False)


def test_another_s_handler_is_left_in_place():
    heard = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    with whole():
        ask()
    assert heard == [signal.SIGINT]
    signal.signal(signal.SIGINT, signal.default_int_handler)
