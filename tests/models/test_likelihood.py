import itertools

import pytest
import torch

from ltm_pyro.config import Architecture, Config, Thoughts
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.models.likelihood import TokenSequence
from ltm_pyro.seeds import seeded

from ..conftest import some_rows, strong


def test_log_prob_is_the_sum_of_each_tokens(model, rows):
    z = torch.randn(5, 2, 2, 3)
    got = TokenSequence(model.decoder, z, rows.lengths, 12).log_prob(rows.tokens)
    for i in range(5):
        n = int(rows.lengths[i])
        hidden = model.decoder(rows.tokens[i : i + 1, :n], z[i : i + 1])[0]
        logits = hidden @ model.decoder.embedding.weight.T
        by_hand = sum(logits[t].log_softmax(-1)[rows.tokens[i, t]].double() for t in range(n))
        assert got[i].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_padding_never_counts(model, rows):
    z = torch.randn(5, 2, 2, 3)
    padded = TokenSequence(model.decoder, z, rows.lengths, 12)
    scribbled = torch.where(rows.mask, rows.tokens, 7)
    torch.testing.assert_close(padded.log_prob(scribbled), padded.log_prob(rows.tokens))
    assert (padded.token_log_prob(rows.tokens)[~rows.mask] == 0).all()
    for i in range(5):
        alone = rows[[i]]
        one = TokenSequence(model.decoder, z[[i]], alone.lengths, alone.tokens.shape[1])
        torch.testing.assert_close(one.log_prob(alone.tokens), padded.log_prob(rows.tokens)[[i]])


@pytest.fixture
def three_letters() -> tuple[LatentThoughtModel, torch.Tensor]:
    config = Config(
        Architecture(
            vocabulary=3, begin=0, length=4, window=2, layers=1, width=8, heads=2, feedforward=8
        ),
        Thoughts(layers=1, slots=1, dim=2),
    )
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    return strong(LatentThoughtModel(config)), every


def test_it_is_a_distribution_over_sequences(three_letters):
    model, every = three_letters
    z = torch.randn(1, 1, 1, 2).expand(81, 1, 1, 2)
    p = TokenSequence(model.decoder, z, torch.full((81,), 4), 4).log_prob(every).exp()
    assert p.sum().item() == pytest.approx(1.0, abs=1e-5)
    short = TokenSequence(model.decoder, z, torch.full((81,), 2), 4).log_prob(every).exp()
    assert short.sum().item() == pytest.approx(9.0, abs=1e-4)  # nine paddings of each pair


def test_samples_follow_their_log_prob(three_letters):
    model, every = three_letters
    z, draws = torch.randn(1, 1, 1, 2), 20_000
    p = TokenSequence(model.decoder, z.expand(81, 1, 1, 2), torch.tensor(4), 4).log_prob(every)
    one = TokenSequence(model.decoder, z, torch.tensor([4]), 4)
    with seeded(1):
        found = one.sample(torch.Size([draws]))[:, 0]
    number = (found * torch.tensor([27, 9, 3, 1])).sum(-1)
    share = torch.bincount(number, minlength=81) / draws
    error = (p.exp() * (1 - p.exp()) / draws).sqrt()
    assert ((share - p.exp()) / error).abs().max() < 4.5  # 81 cells, each a normal deviate


def test_samples_have_zero_padding(model):
    tokens = TokenSequence(
        model.decoder, torch.randn(3, 2, 2, 2, 3), torch.tensor([4, 9]), 12
    ).sample()
    assert tokens.shape == (3, 2, 12)
    assert (tokens[:, 0, 4:] == 0).all()
    assert (tokens[:, 1, 9:] == 0).all()


def test_particles_share_the_tokens(model, rows):
    z = torch.randn(4, 5, 2, 2, 3)
    together = TokenSequence(model.decoder, z, rows.lengths, 12).log_prob(rows.tokens)
    for s in range(4):
        alone = TokenSequence(model.decoder, z[s], rows.lengths, 12).log_prob(rows.tokens)
        torch.testing.assert_close(together[s], alone)


def test_a_prelude_computed_before_changes_nothing(model, rows):
    z = torch.randn(3, 5, 2, 2, 3)
    fresh = TokenSequence(model.decoder, z, rows.lengths, 12)
    known = TokenSequence(model.decoder, z, rows.lengths, 12, model.read(rows))
    torch.testing.assert_close(known.log_prob(rows.tokens), fresh.log_prob(rows.tokens))


def test_log_probabilities_stay_fp32_under_autocast(model, rows):
    with torch.autocast("cpu", torch.bfloat16):
        got = TokenSequence(model.decoder, torch.randn(5, 2, 2, 3), rows.lengths, 12)
        assert got.log_prob(rows.tokens).dtype == torch.float32


def test_expanding_keeps_every_document(model):
    rows = some_rows()
    one = TokenSequence(model.decoder, torch.randn(5, 2, 2, 3), rows.lengths, 12)
    wide = one.expand((3, 5))
    assert wide.batch_shape == (3, 5)
    torch.testing.assert_close(wide.log_prob(rows.tokens), one.log_prob(rows.tokens).expand(3, 5))
