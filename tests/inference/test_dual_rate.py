import copy
import dataclasses
import functools
import itertools

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Slow
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField, NoGuide
from ltm_pyro.inference import StopTraining
from ltm_pyro.inference.local import fit_guide
from ltm_pyro.inference.released import FixedNoise, Leaking, Released
from ltm_pyro.inference.schedule import warmup_of
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.models.priors import StandardNormal
from ltm_pyro.programs.elbo import elbo_terms
from ltm_pyro.seeds import Noise, Stream, derive

from ..conftest import some_rows


def gradients(model):
    return [p.grad.clone() for p in model.parameters()]


def slow_gradient_by_hand(model, rows, fast, seed=0):
    """The gradient at the fitted guide, of nats per token, and nothing else."""
    guide, noise = (
        MeanField(model.thoughts, len(rows)),
        Noise(derive(seed, Stream.TRAIN, 0), rows.key),
    )
    fit_guide(model, guide, rows, fast, noise)
    model.zero_grad(set_to_none=True)
    with noise.draw():
        loss = -elbo_terms(model, guide, rows).elbo.sum() / rows.token_count
    return list(torch.autograd.grad(loss, list(model.parameters())))


def test_the_slow_gradient_holds_nothing_of_the_fast_loop(model, rows):
    fast, slow = Fast(steps=5), Slow(clip=1e9)
    expected = slow_gradient_by_hand(copy.deepcopy(model), rows, fast)
    leaky = copy.deepcopy(model)
    ltm.DualRateSVI(model, MeanField, fast, slow).step(rows)
    for got, want in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(got, want)

    ltm.DualRateSVI(leaky, MeanField, Released(steps=5, lr=fast.lr), slow).step(rows)
    apart = [
        (a - b).norm() > 0.5 * b.norm() for a, b in zip(gradients(leaky), expected, strict=True)
    ]
    assert all(apart), "a leak of the fast loop would not be noticed"


def test_what_the_released_loop_does_otherwise_can_be_had_apart(model, rows):
    """A leak changes the slow gradient whatever the noise, and one draw is seen by all steps."""
    found = {}
    for loop in (Fast, FixedNoise, Leaking, Released):
        own, fast = copy.deepcopy(model), loop(steps=3)
        ltm.DualRateSVI(own, MeanField, fast, Slow(clip=1e9)).step(rows)
        found[loop] = torch.cat([g.flatten() for g in gradients(own)])
        assert fast.draws(0, rows.key).fixed is (loop in (FixedNoise, Released))
        assert fast.leaks is (loop in (Leaking, Released))
    leaks = found[Leaking] - found[Fast], found[Released] - found[FixedNoise]
    assert all(leak.norm() > 0.5 * found[Fast].norm() for leak in leaks)
    assert not torch.allclose(found[Fast], found[FixedNoise])


def test_the_released_protocol_is_there_by_name(config, model, rows):
    svi = Released.svi(model, steps=4)
    assert svi.fast == Released(steps=4)
    assert svi.fast.draws(0, rows.key).fixed
    assert svi.fast.leaks
    assert svi.step(rows).kl.min() > 12 * 0.5  # log variance -5 leaves a KL nobody asked for
    named = ltm.released_protocol(config)
    assert named.guide.options == {"log_variance": -5.0}
    assert named.fast == Released(config.fast.steps)


def test_accumulated_parts_equal_the_whole_batch(config, rows):
    grads = []
    for accumulate in (1, 2, 5):
        torch.manual_seed(0)
        model = AutoregressiveModel(config)
        report = ltm.DualRateSVI(model, NoGuide, slow=Slow(clip=1e9, accumulate=accumulate)).step(
            rows
        )
        grads.append((gradients(model), report.nats_per_token))
    for other, nats in grads[1:]:
        assert nats == pytest.approx(grads[0][1], rel=1e-5)
        for a, b in zip(other, grads[0][0], strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("optimizer", "options"), [
    ("SGD", {"momentum": 0.5}), pytest.param("AdamW", {}, marks=pytest.mark.slow),
    pytest.param(torch.optim.RMSprop, {}, marks=pytest.mark.slow),
])  # fmt: skip
def test_any_torch_optimizer_learns(model, optimizer, options):
    rows = some_rows(8, full=True)
    slow = Slow(lr=0.01, warmup=0, optimizer=optimizer, options=options, steps=2)
    fit = ltm.DualRateSVI(model, MeanField, Fast(steps=2), slow).fit(rows, 30, 8, progress=False)
    bound = fit.history.nats_per_token
    assert bound[-5:].mean() < bound[:5].mean() - 0.1
    assert list(fit.history.step) == list(range(1, 31))


def test_rates_follow_their_schedules(model, rows):
    svi = ltm.DualRateSVI(
        model, fast=Fast(steps=1), slow=Slow(lr=1.0, warmup=4, final=0.1, clip=1e-9)
    )
    lr = svi.fit(rows, 20, 4, progress=False).history.lr
    assert list(lr[:4]) == [0.25, 0.5, 0.75, 1.0]
    assert lr.iloc[-1] == pytest.approx(0.1)
    assert (lr.diff()[5:] < 0).all()


def test_the_warm_up_follows_training_unless_it_is_given(model, rows):
    svi = ltm.DualRateSVI(model, fast=Fast(steps=1))
    lr = svi.fit(rows, 30, 4, progress=False).history.lr
    assert list(lr[:3]) == pytest.approx([4e-4 / 3, 8e-4 / 3, 4e-4])
    assert (lr.diff()[4:] < 0).all()
    assert [warmup_of(Slow(), total) for total in (1, 60, 10_000, 10**6)] == [1, 6, 1000, 1000]
    assert warmup_of(Slow(warmup=1000), 60) == 1000


def test_where_training_stopped_does_not_show_in_its_rates(model, rows):
    def stop(svi, report):
        if report.step == 4:
            raise StopTraining

    ends = []
    for halts in ([], [stop]):
        svi = ltm.DualRateSVI(copy.deepcopy(model), fast=Fast(steps=1))
        records = svi.fit(rows, 30, 4, halts, progress=False).records
        records += svi.fit(rows, 30 - svi.done, 4, progress=False).records
        ends.append([{k: v for k, v in one.items() if k != "seconds"} for one in records])
    assert ends[0] == ends[1]


def test_the_defaults_learn_in_a_few_iterations(config):
    """A word said over and over; with a warm-up of 1,000 iterations a third of it is learned."""
    wide = dataclasses.replace(config.architecture, width=64)
    rows = some_rows(4, full=True)
    rows.tokens[:] = 3
    svi = ltm.DualRateSVI(AutoregressiveModel(config.replace(architecture=wide)), NoGuide)
    bound = svi.fit(rows, 60, 4, progress=False).history.nats_per_token
    assert bound.iloc[-1] < bound.iloc[0] - 1.0


def test_same_seed_same_numbers_whatever_was_drawn_before(model, rows):
    ends = []
    for waste in (0, 1000):
        one = copy.deepcopy(model)
        torch.randn(waste)
        state = torch.get_rng_state()
        ltm.DualRateSVI(one, fast=Fast(steps=2), seed=7).fit(rows, 3, 4, progress=False)
        assert torch.equal(torch.get_rng_state(), state), "the caller's generator was touched"
        ends.append(one.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ends[0].values(), ends[1].values(), strict=True))


def test_weights_learn_while_the_guide_is_gone(model, rows):
    guides = []

    class Kept(MeanField):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            if self.batch_size == len(rows):  # not the small one that its sites are read from
                guides.append(self)

    before = copy.deepcopy(model.state_dict())
    svi = ltm.DualRateSVI(model, Kept, Fast(steps=2), Slow(warmup=0))
    svi.step(rows)
    svi.step(rows)
    assert len(guides) == 2
    assert not any(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(
        p is not q for p in svi.optimizer.param_groups[0]["params"] for q in guides[0].parameters()
    )


def test_inference_comes_in_chunks(model):
    rows = some_rows(7)
    svi = ltm.DualRateSVI(model, MeanField, Fast(steps=3))
    posterior = svi.infer(rows, steps=6, chunk=3)
    assert [len(part) for _, part in posterior.chunks] == [3, 3, 1]
    assert posterior.inner.elbo.shape == (6, 7)
    assert posterior.sample(4).shape == (4, 7, 2, 2, 3)
    assert torch.equal(posterior.sample(4), posterior.sample(4))
    assert not torch.equal(posterior.sample(4), posterior.sample(4, seed=1))
    terms = posterior.elbo(5)
    assert terms.elbo.shape == (5, 7)
    assert torch.equal(posterior.elbo(20).z, posterior.sample(20))
    first = svi.infer(rows[:3], steps=6).elbo(5)
    torch.testing.assert_close(first.elbo, terms.elbo[:, :3])


def test_padding_does_not_change_inference(model):
    some = some_rows(3)
    wide = ltm.Rows(some.tokens, torch.tensor([5, 8, 3]), some.document, some.bytes)
    trimmed = wide[:]
    assert trimmed.tokens.shape[1] == 8
    svi = ltm.DualRateSVI(model, functools.partial(MeanField, log_variance=-1.0), Fast(steps=5))
    torch.testing.assert_close(svi.infer(wide).elbo(3).elbo, svi.infer(trimmed).elbo(3).elbo)


def test_the_weight_of_the_kl_rises_and_the_bound_is_reported_without_it(model, rows):
    objective = ltm.Objective(start=0.0, warmup=0.5)
    svi = ltm.DualRateSVI(model, MeanField, Fast(steps=8, lr=0.1), objective=objective)
    history = svi.fit(rows, 8, 5, progress=False).history
    assert list(history.kl_weight) == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]
    assert objective.weight(3, None) == 1.0
    charged = history.nats_per_token - (1 - history.kl_weight) * history.kl_per_token
    assert list(history.objective) == pytest.approx(list(charged), rel=1e-5)
    report = svi.step(rows)
    assert report.nats_per_token == pytest.approx(
        ((report.kl - report.log_likelihood).sum() / report.tokens.sum()).item()
    )
    assert report.kl.min() > 0
    with pytest.raises(ltm.InputError, match="warm-up that outlasts training"):
        ltm.Objective(warmup=1.5)


@pytest.mark.parametrize(
    "betas", [(0.1, 10.0), pytest.param((0.1, 1.0, 10.0), marks=pytest.mark.slow)]
)
def test_an_unpaid_kl_grows(model, rows, betas):
    def kl(beta, seed):
        objective = ltm.Objective(beta=beta)
        svi = ltm.DualRateSVI(
            copy.deepcopy(model), fast=Fast(steps=40, lr=0.1), objective=objective, seed=seed
        )
        return svi.step(rows).kl.mean()

    kls = torch.tensor([[kl(beta, seed) for seed in range(4)] for beta in betas])
    for more, less in itertools.pairwise(kls):
        gap = more - less
        assert gap.mean() > 4.5 * gap.std() / 2


def test_adamw_is_fused_unless_told_how(model):
    def how(**options):
        return ltm.DualRateSVI(model, slow=Slow(options=options)).optimizer.param_groups[0]

    assert how()["fused"]
    assert how()["betas"] == (0.9, 0.95)
    assert not how(foreach=True)["fused"]
    assert how(fused=False)["fused"] is False
    with pytest.raises(InputError, match="AdamW"):
        how(foreach=True, fused=True)


def test_a_prior_has_a_loss_of_its_own_in_the_slow_step(config, rows):
    """In nats a row: its gradient comes in whole, divided by tokens like the rest."""

    class Pulled(StandardNormal):
        def __init__(self, thoughts, pull):
            super().__init__(thoughts)
            self.pull, self.free = pull, torch.nn.Parameter(torch.ones(()))

        def slow_loss(self):
            return self.pull * self.free

    for pull in (0.0, 3.0):
        model = LatentThoughtModel(config, Pulled(config.thoughts, pull))
        ltm.DualRateSVI(model, fast=Fast(steps=1), slow=Slow(clip=1e9)).step(rows)
        expected = pull * len(rows) / rows.token_count
        assert float(model.prior.free.grad) == pytest.approx(expected)
