"""Guides with an encoder."""

import functools

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Slow, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import Amortized, Guide, MeanField, SemiAmortized
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel, LinearGaussianModel
from ltm_pyro.programs.densities import simulate
from ltm_pyro.programs.elbo import elbo_terms, frozen
from ltm_pyro.seeds import generator, seeded

from ..conftest import some_rows
from .helpers import bound, fit


@pytest.fixture
def linear():
    """A model, its documents of equal lengths, and the bound of the best factorised q."""
    model = LinearGaussianModel(
        Thoughts(2, 1, 2), 0.7 * torch.randn(6, 4, generator=generator(0)), 0.8
    )
    rows, _ = simulate(model, torch.full((256,), 6))
    _, covariance = model.posterior(rows)
    precision = torch.linalg.inv(covariance.detach())
    diagonal = precision.diagonal(0, -2, -1).log().sum(-1)
    gap = 0.5 * (diagonal - precision.logdet())
    return model, rows, model.log_marginal(rows).detach() - gap


def trained(model, rows, make, steps, fast_steps=0):
    """An encoder trained by hand, on half of the rows."""
    optimizer = torch.optim.Adam(make.keywords["shared"].parameters(), lr=0.02)
    for step in range(steps):
        batch = rows[(step * 16 + torch.arange(16)) % 128]
        guide = fit(model, make, batch, fast_steps, particles=1, seed=step)
        with frozen(model), seeded(0, step):
            loss = -elbo_terms(model, guide, batch, 2).elbo.mean(0)
        extra = guide.slow_loss()
        optimizer.zero_grad()
        (loss if extra is None else extra).mean().backward()
        optimizer.step()
    return make


def test_a_trained_encoder_reaches_the_best_factorised_posterior(linear):
    model, rows, best = linear
    make = Amortized.of(model)
    held_out = rows[128:]
    before = bound(model, fit(model, make, held_out, 0), held_out, 100)[0]
    trained(model, rows, make, 400)
    after = bound(model, fit(model, make, held_out, 0), held_out, 100)[0]
    gap, start = (best[128:] - after).mean(), (best[128:] - before).mean()
    assert -0.1 < gap < 0.3
    assert start > 10 * gap
    guide = fit(model, make, held_out, 0)
    mean, _ = model.posterior(held_out)
    assert guide.loc.flatten(1).numpy() == pytest.approx(mean.detach().numpy(), abs=0.5)


@pytest.mark.slow
def test_an_encoder_learns_to_propose_what_the_steps_end_with(linear):
    """After training, few fast steps from the proposal are worth more than from N(0, I)."""
    model, rows, best = linear
    make = trained(model, rows, SemiAmortized.of(model), 150, fast_steps=10)
    held_out = rows[128:]
    found = {
        name: (best[128:] - bound(model, fit(model, m, held_out, 3), held_out, 100)[0]).mean()
        for name, m in (("proposal", make), ("prior", MeanField))
    }
    assert found["proposal"] < 0.3 * found["prior"]


def test_the_proposal_is_where_the_steps_start(linear):
    model, rows, _ = linear
    make = SemiAmortized.of(model)
    guide = make(model.thoughts, 8)
    assert guide.slow_loss() is None
    guide.start(model, rows[:8])
    loc, log_variance = make.keywords["shared"](rows[:8])
    assert torch.equal(guide.loc, loc)
    assert torch.equal(guide.log_variance, log_variance)
    assert guide.slow_loss().abs().max() < 1e-5
    with torch.no_grad():
        guide.loc += 1.0
    loss = guide.slow_loss()
    assert loss.shape == (8,)
    assert loss.detach().numpy() == pytest.approx(
        (0.5 / log_variance.exp()).flatten(1).sum(1).detach().numpy(), rel=1e-4
    )
    loss.sum().backward()
    assert guide.loc.grad is None
    assert all(p.grad is not None for p in make.keywords["shared"].parameters())


@pytest.mark.parametrize("cls", [Amortized, SemiAmortized])
def test_the_encoder_is_not_local(cls, model):
    make = cls.of(model, width=8)
    guide = make(model.thoughts, 3)
    shared = {id(p) for p in make.keywords["shared"].parameters()}
    assert not shared & {id(p) for p in guide.parameters()}
    assert guide.shared is make.keywords["shared"]
    assert make.keywords["width"] == 8
    assert isinstance(guide, Guide)


def test_a_fitted_guide_keeps_what_the_encoder_said(model, rows):
    """It is the posterior of the encoder it was made with; only the slow step asks anew."""
    make = Amortized.of(model, width=8)
    guide = fit(model, make, rows, 0)
    with torch.no_grad():
        before = guide.distribution().mean.clone()
        make.keywords["shared"].head.bias += 1.0
        with seeded(0):
            kept = guide(rows)
        with seeded(0):
            assert torch.equal(kept, guide.distribution().sample())
    assert torch.equal(guide.distribution().mean, before)
    elbo_terms(model, guide, rows).elbo.sum().backward()
    assert all(p.grad is not None for p in make.keywords["shared"].parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tokens_are_encoded_row_by_row(model, dtype):
    """Neither padding nor the other rows of a batch change what a row is encoded to."""
    encoder = Amortized.make_shared(model.to(dtype), width=8)
    rows = some_rows(6)
    loc, log_variance = encoder(rows)
    assert loc.shape == log_variance.shape == (6, 2, 2, 3)
    assert loc.dtype == dtype
    noisy = rows.tokens.clone()
    noisy[~rows.mask] = 7
    assert torch.equal(loc, encoder(Rows(noisy, rows.lengths, rows.document, rows.bytes))[0])
    for i in range(6):
        assert encoder(rows[i])[0][0].detach().numpy() == pytest.approx(
            loc[i].detach().numpy(), abs=1e-6
        )
    assert loc.abs().max() < 0.3
    assert log_variance.abs().max() < 0.3
    # Order counts: it is not a bag of words.
    turned = some_rows(6, full=True)
    back = Rows(turned.tokens.flip(1), turned.lengths, turned.document, turned.bytes)
    assert (encoder(turned)[0] - encoder(back)[0]).abs().max() > 1e-5


@pytest.mark.parametrize("cls", [Amortized, SemiAmortized])
def test_it_trains_with_the_decoder(cls, config, rows):
    model = LatentThoughtModel(config)
    make = cls.of(model, width=8)
    before = [p.clone() for p in make.keywords["shared"].parameters()]
    svi = ltm.DualRateSVI(model, make, Fast(steps=2), Slow(lr=0.01, warmup=1))
    svi.fit(rows, steps=3, batch_size=4, progress=False)
    after = list(make.keywords["shared"].parameters())
    assert all((a != b).any() for a, b in zip(after, before, strict=True))
    report = ltm.evaluate(model, rows, ["elbo:2", "iwae:4"], guide=make, repeat=0, progress=False)
    assert report["elbo"].nats.sum() > 0


def test_what_an_encoder_cannot_read_is_named(config):
    with pytest.raises(ltm.InputError, match="AutoregressiveModel has no thoughts"):
        Amortized.of(AutoregressiveModel(config))
    with pytest.raises(ltm.InputError, match=r"width is 7: expected .* a multiple of 2"):
        Amortized.of(LatentThoughtModel(config), width=7)

    other = torch.nn.Sequential(torch.nn.Linear(1, 1))
    other.thoughts = Thoughts(1, 1, 2)
    with pytest.raises(ltm.InputError, match="no encoder is known for Sequential: give Amortized"):
        Amortized.of(other)


def test_an_encoder_of_ones_own(linear):
    model, rows, _ = linear

    class Known(torch.nn.Module):
        """The posterior mean by the formula, and a learned variance."""

        def __init__(self):
            super().__init__()
            self.log_variance = torch.nn.Parameter(torch.zeros(model.thoughts.shape))

        def forward(self, batch):
            mean, _ = model.posterior(batch)
            loc = mean.detach().unflatten(-1, model.thoughts.shape)
            return loc, self.log_variance.expand_as(loc)

    make = functools.partial(Amortized, shared=Known())
    guide = fit(model, make, rows[:8], 0)
    elbo, _, iwae = bound(model, guide, rows[:8], 200)
    assert (iwae >= elbo).all()
