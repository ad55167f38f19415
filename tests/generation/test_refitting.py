"""Thoughts that are fitted anew while a text is written, and the search that writes it again."""

import dataclasses
import functools

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError
from ltm_pyro.generation import rethink
from ltm_pyro.generation.refitting import Refits
from ltm_pyro.generation.writing import Draft
from ltm_pyro.guides import Langevin, MeanField
from ltm_pyro.inference import posterior
from ltm_pyro.programs.elbo import elbo_terms
from ltm_pyro.seeds import Stream, derive, seeded

from .test_generation import lively

QUICK = Fast(steps=3)
PROMPTS = ["sea 1: fish and", "", "wood", "sea 1: fish and"]


@pytest.fixture
def writer(run_config, corpus):
    architecture = dataclasses.replace(run_config.architecture, length=40, window=5)
    return lively(run_config.replace(architecture=architecture)), corpus.tokenizer


@pytest.fixture
def fits(monkeypatch):
    """Each fit of q: where its locations started, its rows, where they ended, and the guide."""
    known = []

    def noted(model, guide, batch, fast, noise, **more):
        memory = more.get("memory")
        twin = MeanField(guide.thoughts, guide.batch_size)
        if memory is not None:
            memory.recall(twin, batch)
        start = twin.loc.detach().clone()
        trace = fit(model, guide, batch, fast, noise, **more)
        known.append((start, batch, guide.loc.detach().clone(), guide))
        return trace

    fit = posterior.fit_guide
    monkeypatch.setattr(posterior, "fit_guide", noted)
    return known


def test_as_many_tokens_as_a_text_has_are_no_progress(writer):
    plain = ltm.generate(*writer, PROMPTS, fast=QUICK)
    for progressive in (40, 400):
        found = ltm.generate(*writer, PROMPTS, fast=QUICK, progressive=progressive)
        assert found.texts == plain.texts
        assert torch.equal(found.tokens, plain.tokens)
        assert torch.equal(found.lengths, plain.lengths)
        assert torch.equal(found.thoughts, plain.thoughts)


def test_a_text_goes_on_under_thoughts_of_what_is_written(writer, fits):
    """Every six tokens, from where the last fit ended; until then it is the plain text."""
    model, tokenizer = writer
    plain = ltm.generate(model, tokenizer, ["sea 1", ""], fast=QUICK)
    fits.clear()
    found = ltm.generate(model, tokenizer, ["sea 1", ""], fast=QUICK, progressive=6)
    sizes = [len(tokenizer.encode("sea 1")), 0]
    (_, _, ended, _), *again = fits
    assert len(again) == 6  # 6, 12, ... tokens of the text without a prompt, 36 at most
    before = torch.cat([ended, torch.zeros_like(ended)])  # the prior's text has no fit yet
    for stage, (start, batch, end, _) in enumerate(again, 1):
        alive = [i for i in (0, 1) if sizes[i] + 6 * stage < 40]
        assert batch.lengths.tolist() == [sizes[i] + 6 * stage for i in alive]
        for row, i in enumerate(alive):
            assert torch.equal(batch.tokens[row, : batch.lengths[row]],
                               found.tokens[i, : batch.lengths[row]])  # fmt: skip
            assert torch.equal(start[row], before[i])
            before[i] = end[row]
    for i in (0, 1):
        size = sizes[i] + 6
        assert torch.equal(found.tokens[i, :size], plain.tokens[i, :size])
        assert not torch.equal(found.tokens[i], plain.tokens[i])
    assert "then z ~ q(z | text so far) every 6 tokens, each fit begun from its last state" in (
        found.protocol
    )


@pytest.mark.parametrize(
    "write",
    [
        lambda *given: ltm.generate(*given, fast=QUICK, progressive=15),
        lambda *given: rethink(*given, fast=QUICK, rounds=2),
    ],
    ids=["progressive", "rethink"],
)
def test_a_text_does_not_depend_on_the_texts_beside_it(writer, write):
    prompts = ["sea 1: fish and", "", "sea 1: fish and"]
    found = write(*writer, prompts)
    assert len(set(found.texts)) == 3
    for prompt, n, which in (("", 1, [1]), (prompts[0], 1, [0]), (prompts[0], 2, [0, 2])):
        alone = write(*writer, prompt, n)
        torch.testing.assert_close(alone.thoughts, found.thoughts[which], atol=1e-4, rtol=1e-4)
        assert alone.texts == [found.texts[i] for i in which]


def test_texts_go_on_where_others_have_ended(writer):
    prompts, given = ["sea 1: fish and", "", "wood"], {"fast": QUICK, "progressive": 6, "stop": "a"}
    found = ltm.generate(*writer, prompts, **given)
    assert found.lengths[0] + 6 <= found.lengths[1]  # the others go on for a stage or more
    assert found.lengths[1] + 6 <= found.lengths[2]
    assert found.texts == [ltm.generate(*writer, one, **given).texts[0] for one in prompts]


def test_what_comes_out_piece_by_piece_is_the_text(writer):
    pieces, order = {i: "" for i in range(4)}, []
    found = ltm.generate(
        *writer, PROMPTS[:2], n=2, fast=QUICK, progressive=7, stop="e", on_end=order.append,
        on_text=lambda i, piece: pieces.update({i: pieces[i] + piece}),
    )  # fmt: skip
    assert list(pieces.values()) == found.continuations
    assert sorted(order) == [0, 1, 2, 3]
    assert not any("e" in text for text in found.continuations)


def test_a_guide_without_parameters_of_its_own_starts_anew(writer):
    guide = Langevin.of(writer[0])
    for prompt in ("sea", None):
        found = ltm.generate(*writer, prompt, fast=QUICK, progressive=15, guide=guide)
        assert found.protocol.endswith("each fit begun anew")


def test_thoughts_that_are_given_are_not_fitted(writer):
    with pytest.raises(InputError, match=r"progressive fits thoughts, but thoughts are given"):
        ltm.generate(*writer, thoughts=torch.zeros(1, 2, 2, 3), progressive=5)


def test_no_round_is_the_plain_text(writer):
    plain = ltm.generate(*writer, PROMPTS, fast=QUICK)
    found = rethink(*writer, PROMPTS, rounds=0, fast=QUICK)
    assert found.texts == plain.texts
    assert torch.equal(found.thoughts, plain.thoughts)
    assert found.scores.shape == (1, 4)
    assert not found.kept.any()


def test_the_text_with_the_highest_score_is_kept(writer, fits):
    model, tokenizer = writer
    settings = {"n": 3, "fast": QUICK, "rounds": 4}
    found = rethink(model, tokenizer, "sea 1", **settings)
    assert torch.equal(found.kept, found.scores.argmax(0))
    assert found.kept.max() > 0
    assert "search, no draw of the model and no likelihood" in found.protocol
    # Each fit but the first two starts where that of the best text so far ended.
    (_, _, prompt, _), *fitted = fits
    assert len(fitted) == 5
    for text in range(3):
        assert torch.equal(fitted[0][0][text], prompt[0])
        for turn in range(1, 5):
            best = int(found.scores[:turn, text].argmax())
            assert torch.equal(fitted[turn][0][text], fitted[best][2][text])
        # The text is the one that was fitted in that round, decoded with the thoughts it tells.
        batch = fitted[int(found.kept[text])][1]
        assert torch.equal(batch.tokens[text, : batch.lengths[text]],
                           found.tokens[text, : batch.lengths[text]])  # fmt: skip
    # Fewer rounds are the beginning of more.
    fewer = rethink(model, tokenizer, "sea 1", **{**settings, "rounds": 2})
    torch.testing.assert_close(fewer.scores[:2], found.scores[:2])


def test_each_round_is_written_under_a_draw_of_the_best_texts_q(writer, monkeypatch):
    """Of all rounds before, not of the last; with random numbers of its own for its tokens."""
    thoughts, numbers, fitted = [], [], []
    write, fit = Draft.write, Refits.fit
    monkeypatch.setattr(
        Draft, "write",
        lambda draft, z: (thoughts.append(z), numbers.append(draft.uniforms), write(draft, z))[-1],
    )  # fmt: skip
    monkeypatch.setattr(Refits, "fit", lambda *given: fitted.append(fit(*given)) or fitted[-1])
    found = rethink(*writer, "sea 1", n=8, rounds=6, fast=QUICK, seed=3)
    assert torch.equal(found.kept, found.scores.argmax(0))
    fell = found.scores[2:] > found.scores[1:-1]
    assert (fell & (found.scores[2:] < found.scores[:-2])).any()  # better than the last alone
    for turn in range(1, 7):
        for text in range(8):
            best = int(found.scores[:turn, text].argmax())
            drawn = fitted[best].sample(1, derive(3, Stream.RETHOUGHT, best, turn - 1))[0]
            assert torch.equal(thoughts[turn][text], drawn[text])
    assert len({tuple(one.flatten().tolist()) for one in numbers}) == 7
    assert len({one.seed for one in fitted}) == 7  # nor are fits and scores of the same draws
    kept = [thoughts[turn][text] for text, turn in enumerate(found.kept.tolist())]
    assert torch.equal(found.thoughts, torch.stack(kept))


def test_a_score_is_the_elbo_of_prompt_and_continuation(writer, fits):
    model, tokenizer = writer
    narrow = functools.partial(MeanField, log_variance=-6.0)
    found = rethink(model, tokenizer, "sea 1", rounds=0, particles=64, guide=narrow, fast=QUICK)
    _, batch, _, guide = fits[-1]
    assert batch.lengths.item() == found.lengths.item()
    with torch.no_grad(), seeded(5):
        terms = elbo_terms(model, guide, batch, 1024)
    error = float(terms.elbo.std()) / 8  # of 64 draws
    assert float(terms.kl.mean()) > 10 * error  # so that a score without it would fail
    assert abs(float(found.scores) * batch.lengths.item() - float(terms.elbo.mean())) < 5 * error
