"""The slow step's pass moves local parameters too (`Warm.lr`), from a memory."""

import copy
import dataclasses

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.commands import cli
from ltm_pyro.config import Fast, Objective, Slow, Warm
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Amortized, Langevin, MeanField, NoGuide
from ltm_pyro.models import AutoregressiveModel

from ..conftest import some_rows
from ..exact import linear_gaussian, z_score

STILL = Slow(lr=0.0)


def visited(model, rows, fast, warm, visits=1, seed=0, slow=STILL, **options):
    """The memory's means and log variances after visits to all rows."""
    svi = ltm.DualRateSVI(model, fast=fast, slow=slow, warm=warm, seed=seed, **options)
    svi.remember(rows)
    kept = []
    for _ in range(visits):
        svi.step(rows)
        guide = MeanField(model.thoughts, len(rows))
        assert svi.memory.recall(guide, rows).all()
        kept.append([p.detach() for p in guide.parameters()])
    return kept


@pytest.mark.parametrize("optimizer", ["NaturalGradient", "SGD", "Adam"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_it_is_the_step_that_the_fast_loop_would_take(model, optimizer, accumulate):
    rows = some_rows(5)
    fast = Fast(steps=1, lr=0.1, optimizer=optimizer)
    slow = dataclasses.replace(STILL, accumulate=accumulate)
    weighted = Objective(beta=0.3)
    (apart,) = visited(model, rows, fast, Warm(1), objective=weighted)
    (joint,) = visited(model, rows, fast, Warm(0, lr=0.1), slow=slow, objective=weighted)
    for one, other in zip(apart, joint, strict=True):
        torch.testing.assert_close(one, other)
    assert any((p != 0).any() for p in joint)


def test_it_follows_fast_steps_as_one_more(model):
    """Nothing of their gradients is left in its own."""
    rows = some_rows(5)
    fast = Fast(steps=2, lr=0.1, final=1.0, optimizer="SGD")
    (apart,) = visited(model, rows, fast, Warm(2))
    (joint,) = visited(model, rows, fast, Warm(1, lr=0.1))
    for one, other in zip(apart, joint, strict=True):
        torch.testing.assert_close(one, other)


def test_the_weights_move_as_if_it_did_not(model):
    rows, fast = some_rows(5), Fast(steps=2, lr=0.1)
    weights = []
    for local_lr in (0.0, 0.3):
        own = copy.deepcopy(model)
        visited(own, rows, fast, Warm(2, local_lr), slow=Slow(lr=1e-2, warmup=0))
        weights.append([p.detach() for p in own.parameters()])
    for before, one, other in zip(model.parameters(), *weights, strict=True):
        assert torch.equal(one, other)
        assert not torch.equal(one, before)


def shrinkage(seed: int, groups: int, beta: float = 1.0) -> list[float]:
    """How far joint visits take q's mean from the prior's, over how far the posterior's is.

    Of each group of eight documents, which the model wrote independently.
    """
    model, rows = linear_gaussian(seed, documents=8 * groups)
    kept = visited(
        model, rows, Fast(optimizer="SGD"), Warm(0, lr=0.06), 250, seed,
        objective=Objective(beta=beta),
    )  # fmt: skip
    found = torch.stack([mean for mean, _ in kept[100:]]).mean(0).flatten(1)
    truth = model.posterior(rows)[0].detach()
    parts = zip(found.chunk(groups), truth.chunk(groups), strict=True)
    return [float((q * p).sum() / (p * p).sum()) for q, p in parts]


@pytest.mark.parametrize(
    ("seeds", "groups"), [(range(1), 6), pytest.param(range(6), 1, marks=pytest.mark.slow)]
)
def test_it_finds_a_known_posterior(seeds, groups):
    """Steps with fresh noise wander about the posterior's mean; another posterior is told apart."""
    right, other = ([one for seed in seeds for one in shrinkage(seed, groups, beta)]
                    for beta in (1.0, 0.5))  # fmt: skip
    assert abs(z_score(right, 1.0)) < 4.5
    assert abs(z_score(other, 1.0)) > 4.5


def test_what_it_needs_is_said(config, model):
    rows, warm = some_rows(5), Warm(1, lr=0.3)
    with pytest.raises(InputError, match=r"a warm start has to know its documents: call svi.remem"):
        ltm.DualRateSVI(model, warm=warm).step(rows)
    before = copy.deepcopy(model.state_dict())
    for kind in (Langevin, Amortized):
        guide = kind.of(model)
        svi = ltm.DualRateSVI(model, guide, warm=warm)
        svi.remember(rows)
        with pytest.raises(InputError, match="parameters that are not a document's own, or none"):
            svi.step(rows)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    plain = AutoregressiveModel(config)
    with pytest.raises(InputError, match="NoGuide has parameters that are not"):
        ltm.DualRateSVI(plain, NoGuide, warm=warm).fit(rows, 1, progress=False)


def test_held_out_text_has_the_fast_loop_of_its_own(model):
    rows = some_rows(5)
    svi = ltm.DualRateSVI(model, fast=Fast(steps=3), warm=Warm(1))
    svi.remember(rows)
    assert len(svi.step(rows).inner.lr) == 1
    assert len(svi.infer(rows).inner.lr) == 3


def test_the_joint_protocol_is_defaults_of_options(tmp_path):
    def config(*options):
        return cli.parse(["train", "--out", "x", "--protocol", "joint", *options]).config()

    found = config("--preset=small")
    assert found.fast == Fast.quick()
    assert found.warm == Warm(steps=0, lr=1.0)
    other = config("--warm.steps", "2", "--warm.lr", "0.5", "--fast.steps", "3")
    assert (other.warm, other.fast.steps) == (Warm(2, 0.5), 3)
    with pytest.raises(InputError, match=r"warm\.steps is -1: expected a whole number, 0 or"):
        config("--warm.steps", "-1")
