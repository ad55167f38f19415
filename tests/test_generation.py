import math

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError
from ltm_pyro.generation import chooser
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.seeds import generator

from .conftest import strong


@pytest.fixture
def writer(run_config, corpus):
    return strong(LatentThoughtModel(run_config)), corpus.tokenizer


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
    model, tokenizer = writer
    prompts = ["sea 1", "wood 2: tr"]
    found = ltm.generate(model, tokenizer, prompts, n=2, fast=Fast(steps=60, lr=0.3))
    assert found.prompts == ["sea 1", "sea 1", "wood 2: tr", "wood 2: tr"]
    assert all(t.startswith(p) for t, p in zip(found.texts, found.prompts, strict=True))
    alone = ltm.generate(model, tokenizer, prompts[0], n=2, fast=Fast(steps=60, lr=0.3))
    assert alone.thoughts.shape == (2, 2, 2, 3)
    assert not torch.equal(found.thoughts[0], found.thoughts[1])


def test_thoughts_are_fitted_to_the_prompt_alone(writer):
    """Thoughts of a prompt explain it better than thoughts of the prior do."""
    model, tokenizer = writer
    prompt = "sea 7: fish salt"
    ids = torch.tensor([tokenizer.encode(prompt)])
    size = ids.shape[1]
    from ltm_pyro.likelihood import TokenSequence

    def score(z):
        return TokenSequence(model.decoder, z, torch.tensor([size]), size).log_prob(ids).mean()

    fitted = ltm.generate(model, tokenizer, prompt, n=64, fast=Fast(steps=100, lr=0.1)).thoughts
    prior = ltm.generate(model, tokenizer, n=64).thoughts
    assert score(fitted) > score(prior) + 1.0


def test_decoding_rules():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).expand(20_000, 4)
    assert (chooser(0, 1.0, generator(0))(logits) == 0).all()

    def shares(temperature, top_p):
        drawn = chooser(temperature, top_p, generator(0))(logits)
        return torch.bincount(drawn, minlength=4) / 20_000

    error = 4.5 * 0.5 / math.sqrt(20_000)
    torch.testing.assert_close(shares(1.0, 1.0), logits[0].exp(), atol=error, rtol=0)
    nucleus = torch.tensor([0.625, 0.375, 0.0, 0.0])
    torch.testing.assert_close(shares(1.0, 0.79), nucleus, atol=error, rtol=0)
    sharp = (logits[0] / 0.5).softmax(-1)
    torch.testing.assert_close(shares(0.5, 1.0), sharp, atol=error, rtol=0)


def test_a_text_ends_at_its_end_token(writer):
    model, tokenizer = writer
    with torch.no_grad():  # every position now prefers the end of text
        model.decoder.norm.weight.fill_(1.0)
        model.decoder.embedding.weight[tokenizer.end] = 0
    found = ltm.generate(model, tokenizer, n=2, temperature=0)
    assert all("<|end|>" not in text for text in found.texts)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 13}, "length 13: this decoder writes 1 to 12 tokens"),
        ({"n": 0}, "n is 0"),
        ({"temperature": -1}, "temperature -1"),
        ({"top_p": 0}, "top_p 0"),
        ({"prompt": "sea " * 30}, "leaves no room: texts end at 12 tokens"),
    ],
)
def test_settings_out_of_range_are_named(writer, settings, message):
    with pytest.raises(InputError, match=message):
        ltm.generate(*writer, **settings)
