import dataclasses

import pytest
import tokenizers
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast
from ltm_pyro.data import Tokenizer
from ltm_pyro.errors import InputError
from ltm_pyro.generation.continuation import Continuation
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.models.likelihood import TokenSequence

from ..conftest import strong

QUICK = Fast(steps=3)


def lively(config):
    """A model that writes no token for long: what it reads outweighs its last token."""
    model = strong(LatentThoughtModel(config))
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if name.endswith("out.weight"):
                parameter *= 4
    return model


@pytest.fixture
def writer(run_config, corpus):
    return lively(run_config), corpus.tokenizer


@pytest.fixture
def long_writer(run_config, corpus):
    """Rows of 40 tokens, windows of 5."""
    architecture = dataclasses.replace(run_config.architecture, length=40, window=5)
    return lively(run_config.replace(architecture=architecture)), corpus.tokenizer


def test_samples_from_the_prior(writer):
    found = ltm.generate(*writer, n=3)
    assert len(found.texts) == 3
    assert found.thoughts.shape == (3, 2, 2, 3)
    assert found.prompts == [""] * 3
    assert len({str(z) for z in found.thoughts}) == 3
    again = ltm.generate(*writer, n=3)
    assert again.texts == found.texts
    assert ltm.generate(*writer, n=3, seed=1).texts != found.texts


def test_prompts_are_kept_and_shape_the_thoughts(writer):
    prompts = ["sea 1", "wood 2: tr"]
    found = ltm.generate(*writer, prompts, n=2, fast=QUICK)
    assert found.prompts == ["sea 1", "sea 1", "wood 2: tr", "wood 2: tr"]
    assert all(t.startswith(p) for t, p in zip(found.texts, found.prompts, strict=True))
    assert not torch.equal(found.thoughts[0], found.thoughts[1])


def test_thoughts_are_fitted_to_the_prompt_alone(writer):
    """Thoughts of a prompt explain it better than thoughts of the prior do."""
    model, tokenizer = writer
    prompt = "sea 7: fish salt"
    ids = torch.tensor([tokenizer.encode(prompt)])
    size = ids.shape[1]

    def score(z):
        return TokenSequence(model.decoder, z, torch.tensor([size]), size).log_prob(ids).mean()

    fitted = ltm.generate(model, tokenizer, prompt, n=64, fast=Fast(steps=100, lr=0.1)).thoughts
    prior = ltm.generate(model, tokenizer, n=64).thoughts
    assert score(fitted) > score(prior) + 1.0


def test_a_text_does_not_depend_on_the_texts_beside_it(long_writer):
    prompts = ["sea 1: fish and", "", "wood", "sea 1: fish and"]
    found = ltm.generate(*long_writer, prompts, n=2, fast=QUICK)
    for first, prompt in enumerate(prompts[:3]):
        # What was asked for twice goes on where the first two texts of that prompt ended.
        texts = [found.texts[i] for i in range(8) if found.prompts[i] == prompt]
        z = torch.stack([found.thoughts[i] for i in range(8) if found.prompts[i] == prompt])
        assert texts[:2] == found.texts[2 * first : 2 * first + 2]
        assert len(set(texts)) == len(texts)
        for n in (1, len(texts)):
            alone = ltm.generate(*long_writer, prompt, n=n, fast=QUICK)
            torch.testing.assert_close(alone.thoughts, z[:n], atol=1e-4, rtol=1e-4)
            assert alone.texts == texts[:n]


def test_a_shorter_text_is_the_beginning_of_a_longer_one(long_writer):
    long = ltm.generate(*long_writer, "sea", n=3, fast=QUICK)
    short = ltm.generate(*long_writer, "sea", n=3, fast=QUICK, length=15)
    assert torch.equal(short.tokens, long.tokens[:, :15])


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"top_k": 40, "top_p": 0.9}, {}])
def test_cached_texts_equal_texts_without_a_cache(long_writer, settings):
    """One prompt is shorter than the window of 5 tokens, the others are longer."""
    prompts = ["se", "wood 3: leaf root moss", "", "sea 12: wave fish sail salt wave"]
    sizes = [len(long_writer[1].encode(prompt)) for prompt in prompts]
    assert sizes[0] < 5 < sizes[1] < sizes[3] < 40
    settings = {"sampling": ltm.Sampling(**settings)}
    stop = {"stop": ["e", "oss"], "fast": QUICK}
    for more in ({}, stop):
        found, reference = (
            ltm.generate(*long_writer, prompts, n=2, cached=cached, **settings, **more)
            for cached in (True, False)
        )
        assert found.texts == reference.texts
        assert found.ended == reference.ended
        assert torch.equal(found.tokens, reference.tokens)
        assert torch.equal(found.lengths, reference.lengths)


def test_thoughts_can_be_edited_and_decoded_again(long_writer):
    prompts = ["sea 1: fish", "wood 2: tree"]
    found = ltm.generate(*long_writer, prompts, sampling=ltm.Sampling(2.0), fast=Fast(steps=30))

    def decoded(thoughts, which=prompts):
        return ltm.generate(*long_writer, which, sampling=ltm.Sampling(2.0), thoughts=thoughts)

    again = decoded(found.thoughts)
    assert again.texts == found.texts
    assert torch.equal(again.thoughts, found.thoughts)
    # Decoded alone, with the thoughts it had in the batch, a text is the same.
    assert decoded(found.thoughts[1:], prompts[1]).texts == found.texts[1:]
    edited = [found.thoughts.flip(0), found.thoughts.lerp(found.thoughts.flip(0), 0.5).numpy()]
    for layer in range(2):
        without = found.thoughts.clone()
        without[:, layer] = 0
        edited.append(without)
    for thoughts in edited:
        texts = decoded(thoughts).texts
        assert all(a != b for a, b in zip(texts, found.texts, strict=True))


def test_a_text_ends_at_its_end_token(long_writer):
    model, tokenizer = long_writer
    whole = ltm.generate(model, tokenizer, n=6)
    by_text = [set(tokens) for tokens in whole.tokens[:, 10:30].tolist()]
    shared = next(t for t in range(300) if sum(t in tokens for tokens in by_text) == 2)
    tokenizer.end = shared  # a token that some of the texts have
    order = []
    found = ltm.generate(model, tokenizer, n=6, on_end=order.append)
    assert {"end", "length"} == set(found.ended)
    lengths = found.lengths.tolist()
    assert sorted(order) == list(range(6))
    assert [lengths[i] for i in order] == sorted(lengths)
    assert lengths != sorted(lengths)
    for i, size in enumerate(lengths):
        tokens, before = found.tokens[i].tolist(), whole.tokens[i].tolist()
        assert tokens[:size] == before[:size]
        assert not any(tokens[size:])
        if found.ended[i] == "end":
            assert before.index(shared) == size - 1
        else:
            assert shared not in before
        assert found.texts[i] == tokenizer.decode(t for t in tokens[:size] if t != shared)


def test_an_end_of_text_in_a_prompt_ends_nothing(long_writer):
    found = ltm.generate(*long_writer, "sea<|end|>wood", fast=QUICK, length=20)
    assert found.lengths.item() > len(long_writer[1].encode("sea<|end|>wood")) + 1


def test_pieces_make_up_the_continuation(long_writer):
    """A model of random weights writes bytes that are no UTF-8 as well as some that are."""
    tokenizer = long_writer[1]
    pieces = {i: [] for i in range(6)}
    found = ltm.generate(
        *long_writer, ["sea é", "wood 数学"], n=3, fast=QUICK, sampling=ltm.Sampling(3.0),
        on_text=lambda i, piece: pieces[i].append(piece),
    )  # fmt: skip
    assert any(len(p) > 5 for p in pieces.values())
    for i, continuation in enumerate(found.continuations):
        assert all(pieces[i])
        assert "".join(pieces[i]) == continuation
        first = len(tokenizer.encode(found.prompts[i]))
        assert continuation == tokenizer.decode(found.tokens[i, first : found.lengths[i]].tolist())


def test_a_text_ends_before_a_stop_string(long_writer):
    tokenizer = long_writer[1]
    settings = {"n": 4, "fast": QUICK, "sampling": ltm.Sampling(top_k=60)}
    whole = ltm.generate(*long_writer, "sea 1", **settings)
    for row, before in enumerate(whole.continuations):
        pairs = [before[i : i + 2] for i in range(len(before) - 1)]
        whole_characters = [pair for pair in pairs if "\ufffd" not in pair]
        stop = whole_characters[row % len(whole_characters)]
        pieces = []
        found = ltm.generate(
            *long_writer, "sea 1", **settings, stop=[stop, "never written"],
            on_text=lambda i, piece, row=row, pieces=pieces: pieces.extend([piece] * (i == row)),
        )  # fmt: skip
        for text, before, ended, tokens, size in zip(
            found.continuations, whole.continuations, found.ended, found.tokens, found.lengths,
            strict=True,
        ):  # fmt: skip
            assert text == before.partition(stop)[0]
            assert (ended == "stop") == (stop in before)
            if ended == "stop":  # and no later than the token that completes it
                ids = tokens[len(tokenizer.encode("sea 1")) : size].tolist()
                assert stop in tokenizer.decode(ids)
                assert stop not in tokenizer.decode(ids[:-1])
        assert found.ended[row] == "stop"
        assert "".join(pieces) == found.continuations[row]


BYTES = Tokenizer.train(["no merges"], 258)


def written(text, stops=(), tokenizer=BYTES, prompt=""):
    """The pieces of a text whose tokens come one by one, and the continuation they belong to."""
    found = Continuation(tokenizer, tokenizer.encode(prompt), stops)
    pieces = []
    for token in [*tokenizer.encode(prompt + text)[len(tokenizer.encode(prompt)) :], tokenizer.end]:
        pieces.append(found.add(token))
        if found.ended:
            break
    return pieces, found


def test_only_whole_characters_come_out():
    assert len(BYTES.encode("é")) == 2
    pieces, found = written("aé🙂b")
    assert pieces == ["a", "", "é", "", "", "", "🙂", "b", ""]
    assert (found.text, found.ended, found.count) == ("aé🙂b", "end", 9)
    cut = Continuation(BYTES, [])
    for i, token in enumerate(BYTES.encode("a🙂")[:3]):
        cut.add(token, last=i == 2)
    assert (cut.text, cut.ended) == ("a\ufffd", "length")


@pytest.mark.parametrize(
    ("text", "stops", "pieces", "ended"),
    [
        ("ab--c", ["--"], ["a", "b", "", ""], "stop"),
        ("ab-c", ["--"], ["a", "b", "", "-c", ""], "end"),
        ("ab-", ["--"], ["a", "b", "", "-"], "end"),
        ("aaab", ["aab"], ["", "", "a", ""], "stop"),
        ("a数b", ["数"], ["a", "", "", ""], "stop"),
        ("a数b", ["a数b"], ["", "", "", "", ""], "stop"),
        ("a教b", ["a数b"], ["", "", "", "a教", "b", ""], "end"),
        ("xyz", ["yz", "y"], ["x", ""], "stop"),
        ("xyz", ["z", "xyzzy"], ["", "", "xy"], "stop"),
    ],
)
def test_no_part_of_a_stop_string_comes_out(text, stops, pieces, ended):
    found, continuation = written(text, stops)
    assert found == pieces
    assert continuation.ended == ended


def test_a_stop_string_counts_in_the_continuation_alone():
    _, found = written("-b", ["--"], prompt="a-")
    assert (found.text, found.ended) == ("-b", "end")


def test_a_token_that_holds_more_than_the_stop_string_is_cut():
    tokenizer = Tokenizer.train(["stop stop stop stop stop"], 262)
    assert len(tokenizer.encode("stop")) == 1
    _, found = written("a stop stop", ["to"], tokenizer)
    assert found.text == "a s"


def test_words_keep_the_spaces_that_the_tokenizer_writes_between_them():
    """Many tokenizers drop the space before the first token of a text."""
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"?": 0, "once": 1, "upon": 2, "a": 3}, "?")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    pieces, _ = written(" a once", tokenizer=Tokenizer(inner), prompt="once upon")
    assert pieces == [" a", " once", ""]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 13}, "length 13: this decoder writes 1 to 12 tokens"),
        ({"n": 0}, "n is 0"),
        ({"seed": -1}, "seed is -1: expected a whole number, 0 or"),
        ({"stop": ""}, "stop holds an empty string"),
        ({"stop": ["a", 3]}, r"stop\[1\] is 3: expected text"),
        ({"prompt": []}, "prompt is an empty list"),
        ({"prompt": 5}, "prompt is 5: expected text, or a list, each text"),
        ({"prompt": ["sea", None]}, r"prompt\[1\] is None: expected text"),
        ({"prompt": b"sea"}, "prompt is b'sea': expected text"),
        ({"prompt": "sea \udcff"}, "cannot be UTF-8"),
        (
            {"prompt": "sea " * 30},
            r"has \d+ tokens and leaves no room in a row of 12: shorten it, or train with a larger "
            "--length",
        ),
        ({"prompt": "sea wood", "length": 2}, r"in a row of 2: .* allow more tokens \(up to 12\)"),
        (
            {"thoughts": torch.zeros(2, 2, 3)},
            r"thoughts have shape \(2, 2, 3\): expected \(1, 2, 2, 3\), that is \(texts, layers",
        ),
        ({"thoughts": torch.zeros(1, 2, 2, 3), "n": 2}, r"expected \(2, 2, 2, 3\)"),
        ({"thoughts": torch.full((1, 2, 2, 3), float("nan"))}, "thoughts hold a NaN"),
    ],
)
def test_settings_out_of_range_are_named(writer, settings, message):
    with pytest.raises(InputError, match=message):
        ltm.generate(*writer, **settings)


@pytest.mark.parametrize("thoughts", [None, torch.zeros(1, 2, 2, 3)])
def test_a_token_that_the_model_does_not_have_is_told(writer, thoughts):
    other = Tokenizer.train([" ".join(f"word{i}" for i in range(99))] * 2, 400)
    with pytest.raises(InputError, match="token id 350 lies outside the vocabulary of 300"):
        ltm.generate(writer[0], other, other.decode([350]), thoughts=thoughts, fast=QUICK)


def test_a_control_writes_without_thoughts(long_writer):
    model, tokenizer = long_writer
    control = AutoregressiveModel(model.config)
    control.decoder.load_state_dict(model.decoder.state_dict(), strict=False)
    prompts = ["sea 1: fish", ""]
    found = ltm.generate(control, tokenizer, prompts, n=2, sampling=ltm.Sampling(top_k=40))
    assert len({*found.continuations}) == 2 * len(prompts)  # each has random numbers of its own
    assert found.protocol == "no thoughts"
    assert found.thoughts.shape == (4, 0, 0, 0)
    slow = ltm.generate(
        control, tokenizer, prompts, n=2, sampling=ltm.Sampling(top_k=40), cached=False
    )
    assert slow.texts == found.texts
    # At temperature 0 each token is the likeliest under the control's own likelihood.
    greedy = ltm.generate(control, tokenizer, "sea 1: fish", sampling=ltm.Sampling(0.0), length=20)
    tokens = greedy.tokens[:, : greedy.lengths[0]]
    with torch.no_grad():
        logits = control.decoder(tokens, None) @ control.decoder.head.T
    first = len(tokenizer.encode("sea 1: fish"))
    assert torch.equal(logits.argmax(-1)[0, first:], tokens[0, first:])
    with pytest.raises(InputError, match=r"this model has no latents"):
        ltm.generate(control, tokenizer, thoughts=torch.zeros(1, 2, 2, 3))
