"""Fast steps on a part of the tokens: unbiased, and no document sees another."""

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField, Stein
from ltm_pyro.inference import fit_guide
from ltm_pyro.inference import local as fast_loop
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LinearGaussianModel
from ltm_pyro.models.likelihood import TokenSequence, draw_positions
from ltm_pyro.programs.elbo import elbo_terms
from ltm_pyro.seeds import Noise

from ..conftest import some_rows
from ..exact import z_score

DRAWS = 800
QUARTER = Fast(steps=6, lr=0.1, tokens=0.25)


def as_mask(positions, mask):
    """Positions (documents, m) as a mask (documents, tokens), each no more than once."""
    times = torch.zeros_like(mask, dtype=torch.long)
    times.scatter_add_(1, positions.clamp(min=0), (positions >= 0).long())
    assert times.max() <= 1
    return times > 0


@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.5, 0.9, 1.0])
def test_each_document_gives_its_share_of_its_own_tokens(fraction):
    rows = some_rows(40)
    drawn = as_mask(draw_positions(rows.mask, fraction), rows.mask)
    assert not (drawn & ~rows.mask).any()
    assert torch.equal(drawn.sum(-1), (fraction * rows.lengths).ceil().long())


def test_all_tokens_are_drawn_equally_often():
    mask = torch.arange(7).expand(DRAWS, 7) < 5
    drawn = as_mask(draw_positions(mask, 0.4), mask).double()
    assert (drawn.sum(-1) == 2).all()
    assert abs(drawn[:, :5].mean(0) - 0.4).max() < 4.5 * (0.4 * 0.6 / DRAWS) ** 0.5
    together = (drawn[:, 0] * drawn[:, 1]).mean()  # 1 of 10 pairs: without replacement
    assert abs(together - 0.1) < 4.5 * (0.1 * 0.9 / DRAWS) ** 0.5


def test_likelihood_and_gradient_are_unbiased(model):
    rows = some_rows(3)
    for i in range(3):
        one = rows[[i]]
        n = one.tokens.shape[1]
        z = torch.randn(1, 2, 2, 3, requires_grad=True)
        full = TokenSequence(model.decoder, z, one.lengths, n).log_prob(one.tokens)
        (slope,) = torch.autograd.grad(full.sum(), z)
        many = z.detach().expand(DRAWS, 2, 2, 3).clone().requires_grad_()
        positions = draw_positions(one.mask.expand(DRAWS, n), 0.3)
        part = TokenSequence(
            model.decoder, many, one.lengths.expand(DRAWS), n, positions=positions
        ).log_prob(one.tokens.expand(DRAWS, n))
        (slopes,) = torch.autograd.grad(part.sum(), many)
        assert abs(z_score(part.detach().numpy(), full.item())) < 4
        random = torch.randn(2, 2, 3)  # one number of the gradient, so that the level is one test's
        assert abs(z_score((slopes * random).sum((1, 2, 3)).numpy(), (slope * random).sum())) < 4
        unscaled = part.detach() * (positions >= 0).sum(-1) / n
        assert abs(z_score(unscaled.numpy(), full.item())) > 10  # so the scale is seen


def test_a_step_sees_the_scored_tokens_alone(model, rows):
    positions = draw_positions(rows.mask, 0.5)
    z = torch.randn(5, 2, 2, 3)
    every = TokenSequence(model.decoder, z, rows.lengths, 12).token_log_prob(rows.tokens)
    some = TokenSequence(model.decoder, z, rows.lengths, 12, positions=positions)
    expected = torch.where(as_mask(positions, rows.mask), every, 0.0)
    torch.testing.assert_close(some.token_log_prob(rows.tokens), expected)


def test_the_share_does_not_depend_on_the_batch_nor_on_padding(model):
    rows = some_rows(9)
    whole = infer(model, rows, MeanField, QUARTER)
    order = torch.tensor([7, 2, 4])
    some = infer(model, rows[order], MeanField, QUARTER)
    torch.testing.assert_close(whole.inner.elbo[:, order], some.inner.elbo, atol=1e-4, rtol=1e-4)
    alone = infer(model, rows[[2]], MeanField, QUARTER)
    torch.testing.assert_close(whole.inner.elbo[:, [2]], alone.inner.elbo, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(whole.sample(3)[:, [2]], alone.sample(3), atol=1e-4, rtol=1e-4)


def test_each_step_draws_others_unless_noise_is_fixed(model, rows, monkeypatch):
    seen = []

    def spy(mask, fraction):
        seen.append(draw_positions(mask, fraction))
        return seen[-1]

    monkeypatch.setattr(fast_loop, "draw_positions", spy)
    for fixed in (False, True):
        seen.clear()
        guide = MeanField(model.thoughts, 5)
        fit_guide(model, guide, rows, QUARTER, Noise(0, rows.key, fixed=fixed))
        assert len(seen) == 6
        assert all(torch.equal(a, seen[0]) for a in seen[1:]) == fixed


def test_figures_and_slow_steps_are_of_all_tokens(model, rows, monkeypatch):
    scored = []
    inner = TokenSequence.log_prob

    def spy(self, value):
        scored.append(self.positions is None)
        return inner(self, value)

    monkeypatch.setattr(TokenSequence, "log_prob", spy)
    svi = ltm.DualRateSVI(model, MeanField, QUARTER)
    svi.step(rows)
    assert scored == [False] * 6 + [True]
    posterior = svi.infer(rows)
    scored.clear()
    posterior.elbo(3)
    assert all(scored)


def test_a_quarter_of_the_tokens_still_raises_the_bound(model, rows):
    guide = MeanField(model.thoughts, 5)
    fast = Fast(steps=60, lr=0.05, tokens=0.25, particles=4)

    def bound():
        with torch.no_grad(), Noise(1, rows.key).draw():
            return elbo_terms(model, guide, rows, 200).elbo.mean(0)

    before = bound()
    fit_guide(model, guide, rows, fast, Noise(0, rows.key))
    assert (bound() > before).all()


def test_who_needs_all_tokens_says_so(rows):
    model = LinearGaussianModel(ltm.Thoughts(2, 1, 3), torch.randn(12, 6))
    guide = MeanField(model.thoughts, 5)
    with pytest.raises(InputError, match=r"LinearGaussianModel takes no `positions`"):
        fit_guide(model, guide, rows, QUARTER, Noise(0))
    for fraction in (0.0, -1.0, 1.5):
        with pytest.raises(InputError, match="tokens is"):
            Fast(tokens=fraction)


def test_samplers_need_all_tokens(model, rows):
    with pytest.raises(InputError, match="Stein needs the likelihood itself"):
        fit_guide(model, Stein(model.thoughts, 5), rows, QUARTER, Noise(0))
