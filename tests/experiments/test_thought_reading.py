"""What a decoder makes of thoughts, where the answer is known."""

import numpy as np
import pytest
import torch

from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.experiments.probing import reading
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models.decoders.decode import decode
from ltm_pyro.programs.densities import token_log_prob

from ..conftest import some_rows


@pytest.fixture
def posterior(model, rows):
    return infer(model, rows, MeanField, Fast(steps=2), chunk=2)


def draws(n=6, seed=0):
    return torch.randn(n, 5, 2, 2, 3, generator=torch.Generator().manual_seed(seed))


def test_a_slot_is_credited_with_what_it_gives_and_another_with_nothing():
    weight = torch.tensor([1.0, -2.0, 0.5])

    def score(z):  # of four tokens: they read layer 0, slot 1 alone, the last not at all
        return (z[:, :, 0, 1] @ weight)[..., None] * torch.tensor([1.0, 2.0, 3.0, 0.0])

    z, others = draws(400, 1) + 1, draws(400, 2)
    found = reading.attribution(score, z, others)
    assert found.gain.shape == found.error.shape == (2, 2, 5, 4)
    for layer, slot in ((0, 0), (1, 0), (1, 1)):
        assert not found.gain[layer, slot].any()
        assert not found.error[layer, slot].any()
    # z is N(1, 1), the others N(0, 1): the mean is sum(weight), the variance twice sum(weight^2).
    expected = float(weight.sum()) * np.array([1.0, 2.0, 3.0, 0.0])
    error = (2 * float(weight.square().sum()) / 400) ** 0.5 * np.array([1.0, 2.0, 3.0, 0.0])
    assert found.error[0, 1] == pytest.approx(np.broadcast_to(error, (5, 4)), rel=0.2)
    assert (np.abs(found.gain[0, 1] - expected) <= 4.5 * error).all()
    total = found.by_slot(np.full(5, 4.0))
    assert total[0][1].value == pytest.approx(found.gain[0, 1].sum() / 20)
    assert total[1][0].told() == [0.0, 0.0]


def test_a_layer_that_does_not_hear_its_thoughts_is_credited_with_nothing(model, rows):
    with torch.no_grad():
        model.decoder.layers[1].thought.out.weight.zero_()
    found = reading.attribution(
        lambda z: reading.token_scores(model, rows, z), draws(4, 1), draws(4, 2)
    )
    assert not found.gain[1].any()
    assert found.gain[0][:, 0].any()
    assert not found.gain[..., ~rows.mask.numpy()].any()  # nor is padding


def test_scores_are_those_of_the_program(model, rows):
    z = draws(3)
    found = reading.token_scores(model, rows, z)
    assert torch.allclose(found, token_log_prob(model, {"z": z}, rows), atol=1e-5)


def test_the_likeliest_token_is_the_one_whose_score_is_highest(model):
    rows = some_rows(5, full=True)
    z = draws(2)
    hidden = model.decoder(rows.tokens, z[0])
    best = (hidden @ model.decoder.head.T).argmax(-1)
    assert torch.equal(reading.likeliest(model, rows, z[0]), best)
    counts = [reading.right(model, rows, one) for one in z]
    assert reading.right(model, rows, z) == pytest.approx(np.mean(counts, 0))
    # A text of the likeliest tokens is all right, and padding does not count.
    best_first = decode(model.decoder, z[0], 5, 9, lambda logits, *_: logits.argmax(-1))
    sizes = torch.tensor([9, 3, 5, 9, 1])
    texts = Rows(best_first, sizes, torch.arange(5), sizes)
    assert reading.right(model, texts, z[0]).tolist() == texts.lengths.tolist()


def test_rows_that_are_read_apart_keep_their_own_thoughts(model, rows, monkeypatch):
    z = draws(1)[0]
    whole = reading.likeliest(model, rows, z)
    assert not torch.equal(reading.likeliest(model, rows, z[[2, 3, 4, 0, 1]]), whole)
    monkeypatch.setattr(reading, "LOGITS", 2 * 12 * 20)  # two rows of 12 tokens at once
    assert torch.equal(reading.likeliest(model, rows, z), whole)


def test_the_ends_of_a_line_are_the_documents_own():
    first, last = draws(2)
    line = reading.along(first, last, 5)
    assert torch.equal(line[0], first)
    assert torch.equal(line[-1], last)
    assert torch.allclose(line[1], 0.75 * first + 0.25 * last)


def test_prior_draws_are_the_priors_and_not_the_batchs(posterior):
    z = reading.prior_draws(posterior, 400, 0)
    assert z.shape == (400, 5, 2, 2, 3)
    assert z.mean().abs() < 4.5 / z.numel() ** 0.5
    assert abs(z.var() - 1) < 4.5 * (2 / z.numel()) ** 0.5
    whole = infer(posterior.model, posterior.rows, MeanField, Fast(steps=2), chunk=5)
    assert torch.equal(reading.prior_draws(whole, 400, 0), z)
    # What they are compared with has draws of its own.
    apart = (whole.sample(400, 0) - whole.sample(400, 0).mean(0)) * z
    assert apart.mean().abs() < 4.5 * apart.std() / apart.numel() ** 0.5


def test_overlap_counts_tokens():
    one, other = some_rows(2, 4, seed=0, full=True), some_rows(2, 4, seed=1, full=True)
    one.tokens[:] = torch.tensor([[1, 1, 2, 3], [4, 5, 6, 7]])
    other.tokens[:] = torch.tensor([[1, 2, 2, 9], [8, 9, 8, 9]])
    assert reading.overlap(one, other, 20).tolist() == [0.5, 0.0]
    assert reading.overlap(one, one, 20).tolist() == [1.0, 1.0]
    # 2 of 2 tokens are among 2 of 4, and what stands behind a text is none of it.
    short = Rows(one.tokens, torch.tensor([3, 2]), torch.arange(2), torch.zeros(2))
    longer = torch.tensor([[1, 1, 8, 8], [4, 5, 6, 7]])
    found = reading.overlap(short, Rows(longer, one.lengths, one.document, one.bytes), 20)
    assert found == pytest.approx([2 * 2 / 7, 2 * 2 / 6])
