"""Sites that all documents share: partial pooling with a known posterior, and unbiased batches."""

import copy
import dataclasses
import itertools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds import Figure, sandwich
from ltm_pyro.bounds.estimate import Estimate
from ltm_pyro.bounds.gathering import of_shared
from ltm_pyro.bounds.repetition import error_of_all
from ltm_pyro.config import Fast, Slow, Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Langevin, LaplaceApproximation, MeanField, Mixture, Point
from ltm_pyro.inference import Hierarchical
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LinearGaussianModel
from ltm_pyro.programs.reading import Sites

from ..conftest import some_rows

SIZES = (2, 8, 30)
SPREAD = 2.0


class Grouped(LinearGaussianModel):
    """mu_g ~ N(0, 2^2), x_d ~ N(mu_g(d), 1): conjugate. z is there, and does nothing."""

    def __init__(self):
        super().__init__(Thoughts(1, 1, 1), torch.zeros(1, 1), 1.0)

    def forward(self, batch, prelude=None):
        with pyro.plate("groups", len(SIZES), dim=-1):
            mu = pyro.sample("mu", dist.Normal(0.0 * self.bias[0], SPREAD))
        with pyro.plate("documents", len(batch), dim=-1):
            z = self.prior(batch)
            mean = mu[..., batch.columns["group"]][..., None] + z.flatten(-3) @ self.weight.T
            pyro.sample("tokens", dist.Normal(mean, 1.0).to_event(1), obs=batch.tokens)
        return z


def grouped(seed=0, sizes=SIZES):
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    source = torch.Generator().manual_seed(seed)
    x = 3.0 + torch.randn(len(group), 1, generator=source)
    rows = dataclasses.replace(
        some_rows(len(group)), tokens=x, lengths=torch.ones(len(group)).long(),
        columns={"group": group},
    )  # fmt: skip
    model = Grouped()
    model.weight.requires_grad_(False)
    model.bias.requires_grad_(False)
    return model, rows


def posterior_of(rows):
    """Mean and standard deviation of each mu, exact."""
    group = rows.columns["group"]
    count = torch.bincount(group, minlength=len(SIZES))
    total = torch.zeros(len(SIZES)).index_add(0, group, rows.tokens[:, 0])
    precision = 1 / SPREAD**2 + count
    return total / precision, precision.rsqrt()


def test_partial_pooling_shrinks_as_the_conjugate_posterior_does():
    model, rows = grouped()
    guide = Hierarchical.of(model, rows=rows)
    model.bias.requires_grad_(True)  # something of the model's own, which nothing moves
    slow = Slow(
        lr=0.0, shared_lr=0.1, warmup=1, final=0.02, clip=1e9, options={"betas": (0.8, 0.95)}
    )
    svi = ltm.DualRateSVI(model, guide, Fast(steps=0), slow)
    svi.fit(rows, 200, len(rows), progress=False)
    mean, sd = svi.shared.summary()["mu"]
    exact, exact_sd = posterior_of(rows)
    assert ((mean - exact).abs() / exact_sd).max() < 0.25
    assert (sd / exact_sd - 1).abs().max() < 0.25
    raw = rows.tokens[rows.columns["group"] == 0].mean()
    assert mean[0] < raw - 0.5 * (raw - exact[0])  # two documents are pulled most of the way
    drawn = svi.infer(rows[:4]).sites(400)["mu"]
    assert drawn.shape == (400, 3)
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.2, rtol=0)


def slow_move(batch, of, wrong=1.0):
    """What one slow step of plain descent does to q(mu), in nats per token times tokens."""
    model, rows = grouped(sizes=(1, 2, 3))
    guide = Hierarchical.of(model, rows=rows)
    model.bias.requires_grad_(True)
    slow = Slow(lr=1.0, warmup=0, clip=1e9, optimizer="SGD")
    svi = ltm.DualRateSVI(model, guide, Fast(steps=0), slow)
    svi.documents = int(of * wrong)
    before = [p.detach().clone() for p in svi.shared.parameters()]
    svi.step(rows[list(batch)])
    pairs = zip(svi.shared.parameters(), before, strict=True)
    return torch.cat([(p.detach() - b).flatten() for p, b in pairs]) * len(batch)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_expectation_over_batches_is_the_whole(size):
    """N / B of a batch's gradient, averaged over all batches of B, is that of the full ELBO."""
    whole = slow_move(range(6), 6)
    parts = [slow_move(batch, 6) for batch in itertools.combinations(range(6), size)]
    mean = 6 / size * torch.stack(parts).mean(0)
    torch.testing.assert_close(mean, whole, atol=1e-4, rtol=1e-3)
    if size == 1:  # a KL that every batch counts in full is not
        full = [slow_move(batch, 6, 1 / 6) for batch in itertools.combinations(range(6), 1)]
        assert (6 * torch.stack(full).mean(0) - whole).abs().max() > 0.1


def test_its_kl_has_the_weight_of_the_others():
    """With no data term, a step of plain descent on q(mu) is in proportion to the KL's weight."""
    moves = []
    for beta in (1.0, 0.25, 0.0):
        model, rows = grouped(sizes=(1, 2, 3))
        rows = dataclasses.replace(rows, tokens=torch.zeros_like(rows.tokens))
        model.bias.requires_grad_(True)
        guide = Hierarchical.of(model, rows=rows)
        slow = Slow(lr=1.0, warmup=0, clip=1e9, optimizer="SGD")
        svi = ltm.DualRateSVI(
            model, guide, Fast(steps=0), slow, objective=ltm.Objective(beta=beta), seed=1
        )
        svi.documents = 6
        svi.step(rows)
        moves.append(torch.cat([p.detach().flatten() for p in svi.shared.parameters()]))
    whole, quarter, none = moves
    assert (whole - none).abs().max() > 1e-3
    torch.testing.assert_close(quarter - none, 0.25 * (whole - none), atol=1e-5, rtol=1e-3)


def test_parts_of_a_batch_count_it_once():
    model, rows = grouped(sizes=(1, 2, 3))
    moves = []
    for accumulate in (1, 3):
        own = copy.deepcopy(model)
        own.bias.requires_grad_(True)
        guide = Hierarchical.of(own, rows=rows)
        slow = Slow(lr=1.0, warmup=0, clip=1e9, optimizer="SGD", accumulate=accumulate)
        svi = ltm.DualRateSVI(own, guide, Fast(steps=0), slow)
        svi.documents = 6
        svi.step(rows)
        moves.append(torch.cat([p.detach().flatten() for p in svi.shared.parameters()]))
    torch.testing.assert_close(*moves, atol=1e-3, rtol=1e-3)


def test_figures_of_new_documents_average_over_the_guide():
    """With q(mu) at the exact posterior, IWAE comes to the posterior predictive density."""
    model, rows = grouped()
    guide = Hierarchical.of(model, rows=rows)
    q = guide.keywords["shared"]
    mean, sd = posterior_of(rows)
    with torch.no_grad():
        q.loc[0].copy_((mean - q.middle_0) / q.spread_0)
        q.log_scale[0].copy_((sd / q.spread_0).log())
    _, new = grouped(seed=9, sizes=(4, 4, 4))
    group = new.columns["group"]
    law = dist.Normal(mean[group], (sd**2 + 1).sqrt()[group])
    exact = -law.log_prob(new.tokens[:, 0])
    report = ltm.evaluate(model, new, ["elbo:64", "iwae:160"], guide=guide, fast=Fast(steps=0),
                          progress=False, repeat=12)  # fmt: skip
    figure = report["iwae"]
    assert "averaged over q(mu)" in figure.protocol
    gap = figure.nats.sum() - float(exact.sum())
    assert abs(gap) < 4.5 * figure.monte_carlo_error * 12 + 0.02
    assert report["elbo"].nats.sum() > float(exact.sum())
    with pytest.raises(InputError, match="samples mu once for all documents"):
        ltm.evaluate(model, new, ["ais"], guide=guide, fast=Fast(steps=0), progress=False)


def test_the_error_that_shared_draws_add_is_found_beside_the_documents_own():
    """Repetitions of known spread: 0.2 nats that documents share, and 1 nat of each one's own."""
    documents, repetitions = 50, 400
    source = torch.Generator().manual_seed(0)
    own = torch.randn(repetitions + 1, documents, generator=source)
    common = 0.2 * torch.randn(repetitions + 1, 1, generator=source)
    first, again = (100 + own + common).split([1, repetitions])
    for rows in (50, 25):
        chosen = torch.arange(rows)
        found = error_of_all(first[0], again[:, chosen], chosen)
        # Of 50 documents 10 nats, less well known from half of them.
        spread = 50**2 / rows**2 * (0.04 * rows**2 + rows) * math.sqrt(2 / repetitions)
        low, high = (math.sqrt(100 + k * spread) for k in (-3.5, 3.5))
        assert low < found < high
        if rows == documents:  # were the documents' own left in
            assert math.sqrt(0.04 * rows**2 + rows) > high


def test_the_larger_of_what_draws_and_repetitions_show_counts():
    """Sixteen draws and six repetitions of 50 rows that share 1 nat, or none, as each shows it."""
    source = torch.Generator().manual_seed(0)
    values = torch.randn(16, 50, generator=source)
    alike = values + 4 * torch.randn(16, 1, generator=source)  # 1 nat of a mean of sixteen
    again = [values.mean(0) + shift for shift in (-1.0, 1.0, -1.0, 1.0, -1.0, 1.0)]
    still = [values.mean(0)] * 6
    ones, rows = np.ones(50), torch.arange(50)

    def found(drawn, again, **kept):
        estimates = [Estimate(one, "bound: drawn", 16, **kept) for one in (drawn.mean(0), *again)]
        figure = Figure("elbo", "bound: drawn", estimates[0].nats.double().numpy(), ones, ones)
        return of_shared(figure, estimates[:1], [[one] for one in estimates[1:]], rows, ["mu"])

    assert found(values, again, values=values).shared_error == pytest.approx(50, rel=0.1)
    assert found(values, again, values=values).shared_freedom == 6
    assert found(alike, still, values=alike).shared_error == pytest.approx(50, rel=0.6)
    assert found(alike, still, values=alike).shared_freedom == 15
    assert found(values, again).shared_error == pytest.approx(50, rel=0.1)  # no draws are kept
    assert math.isnan(found(values, []).shared_error)


def scored(rows, model, guide, seed, repeat):
    return ltm.evaluate(model, rows, ["elbo", "iwae:16"], guide=guide, fast=Fast(steps=0),
                        seed=seed, repeat=repeat, progress=False)  # fmt: skip


def test_the_error_that_shared_draws_add_is_that_of_a_quadratic_in_them():
    """-log p(x | mu) is quadratic in mu, so the variance of its sum over q(mu) is known.

    Documents of a row each, and the same rows as five to a document: nothing of it changes.
    """
    model, rows = grouped(sizes=(30, 40, 50))
    guide = Hierarchical.of(model, rows=rows)
    group, count = rows.columns["group"], torch.tensor([30.0, 40.0, 50.0])
    total = torch.zeros(3).index_add(0, group, rows.tokens[:, 0])
    mean, sd = (
        one[0].detach() for one in zip(*guide.keywords["shared"].summary().values(), strict=True)
    )
    slope = count * mean - total
    exact = math.sqrt(float((count**2 * sd**4 / 2 + slope**2 * sd**2).sum()) / 16)
    nats = 0.5 * ((rows.tokens[:, 0] - mean[group]) ** 2 + sd[group] ** 2 + math.log(2 * math.pi))
    found = [scored(rows, model, guide, seed, 0)["elbo"] for seed in range(40)]
    printed = math.sqrt(np.mean([one.shared_error**2 for one in found]))
    # A variance of 16 draws of something like a chi-square, 40 times: good to a fifth.
    assert printed == pytest.approx(exact, rel=0.3)
    assert np.std([one.nats.sum() for one in found]) == pytest.approx(exact, rel=0.4)
    assert all(one.shared_freedom == 15 for one in found)
    cut = dataclasses.replace(rows, document=rows.document // 5)
    one, other = (scored(some, model, guide, 3, 24)["elbo"] for some in (rows, cut))
    assert one.documents == 5 * other.documents
    assert one.shared_error == pytest.approx(other.shared_error, rel=1e-4)
    freedoms = {scored(rows, model, guide, seed, 24)["elbo"].shared_freedom for seed in range(9)}
    assert freedoms == {6, 15}
    held = [
        low < float(nats.sum()) / len(rows) < high
        for seed in range(40)
        for low, high in [scored(rows, model, guide, seed, 24)["elbo"].monte_carlo_interval]
    ]
    assert np.mean(held) > 0.85  # 0.95 less three errors


def test_shared_draws_of_two_figures_are_their_own():
    """So the error of a difference holds both: what seeds differ by is what is printed."""
    model, rows = grouped(sizes=(30, 40, 50))
    guide = Hierarchical.of(model, rows=rows)
    found = [scored(rows, model, guide, seed, 0).difference("elbo", "iwae") for seed in range(40)]
    gaps, errors = np.array(found).T
    assert 0.5 < gaps.std(ddof=1) / math.sqrt(np.mean(errors**2)) < 1.5


def test_it_goes_on_as_if_it_had_not_stopped():
    def fresh():
        model, rows = grouped()
        model.bias.requires_grad_(True)
        guide = Hierarchical.of(model, rows=rows)
        return ltm.DualRateSVI(model, guide, Fast(steps=1), Slow(lr=0.01, shared_lr=0.1)), rows

    whole, rows = fresh()
    whole.fit(rows, 4, 8, progress=False)
    first, _ = fresh()
    first.fit(rows, 2, 8, progress=False)
    states = copy.deepcopy([m.state_dict() for m in (first.model, first.shared, first)])
    second, _ = fresh()
    for module, state in zip((second.model, second.shared, second), states, strict=True):
        module.load_state_dict(state)
    # the schedules span what `fit` is asked for, so both train as if four were all
    second.documents = first.documents = len(rows)
    for svi in (first, second):
        for _ in range(2):
            svi.step(rows.batch(svi.done, 8, svi.seed), 4)
    for one, other in zip(first.shared.parameters(), second.shared.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_guide_of_shared_sites_does_not_decay():
    model, rows = grouped()
    model.bias.requires_grad_(True)
    svi = ltm.DualRateSVI(model, Hierarchical.of(model, rows=rows), slow=Slow(shared_lr=0.5))
    own = svi.optimizer.param_groups[-1]
    assert own["weight_decay"] == 0.0
    assert own["base"] == 0.5
    assert {id(p) for p in own["params"]} == {id(p) for p in svi.shared.parameters()}


def test_what_is_missing_is_told():
    model, rows = grouped()
    model.bias.requires_grad_(True)
    assert Sites.of(model, rows).all["mu"].kind == "shared"
    with pytest.raises(InputError, match=r"samples mu outside the plate.*Hierarchical\.of"):
        ltm.DualRateSVI(model).fit(rows, 1, 4, progress=False)
    with pytest.raises(InputError, match=r"svi.documents = len\(rows\)"):
        ltm.DualRateSVI(model, Hierarchical.of(model, rows=rows), Fast(steps=0)).step(rows)
    plain = LinearGaussianModel(Thoughts(1, 1, 1), torch.ones(1, 1))
    with pytest.raises(InputError, match="samples nothing outside the plate"):
        Hierarchical.of(plain, rows=rows)
    with pytest.raises(InputError, match="needs q of what documents share"):
        infer(model, rows, Hierarchical, Fast(steps=0))


def test_natural_gradients_are_those_of_the_local_guide():
    """Of a guide that knows none it is told before the first step, by its name."""
    model, rows = grouped()
    fast = Fast(steps=2, lr=0.3, optimizer="NaturalGradient")
    mine = Hierarchical.of(model, rows=rows, local=MeanField)
    assert infer(model, rows, mine, fast).chunks[0][0].has_natural_gradient
    with pytest.raises(InputError, match="Mixture does not"):
        infer(model, rows, Hierarchical.of(model, rows=rows, local=Mixture), fast)


@pytest.mark.parametrize("local", [Langevin, Point, LaplaceApproximation])
def test_what_moves_thoughts_alone_is_no_local_guide(local):
    model, rows = grouped()
    with pytest.raises(InputError, match=f"{local.__name__} knows nothing of what documents share"):
        infer(model, rows, Hierarchical.of(model, rows=rows, local=local), Fast(steps=1))


def test_a_sandwich_has_no_path_over_them():
    model, rows = grouped()
    with pytest.raises(InputError, match="the model samples mu once for all documents"):
        sandwich(model, rows.lengths, ["elbo"], columns=rows.columns, progress=False)
