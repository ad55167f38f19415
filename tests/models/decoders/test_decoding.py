import dataclasses

import pytest
import torch

from ltm_pyro.config import Architecture, Config, Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.generation.choosing import Sampling
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.models.decoders import Transformer
from ltm_pyro.models.decoders.decode import decode

from ...conftest import strong

LENGTH = 24
SETTINGS = {"greedy": Sampling(temperature=0), "seeded": Sampling(0.8, top_k=15, top_p=0.95)}


def new_decoder(window, kind=LatentThoughtModel):
    architecture = Architecture(
        vocabulary=20, begin=0, length=LENGTH, window=window, layers=2, width=16, heads=2,
        feedforward=24,
    )  # fmt: skip
    decoder = strong(kind(Config(architecture, Thoughts(layers=2, slots=2, dim=3)))).decoder
    with torch.no_grad():  # what is read outweighs the last token, which greedy would repeat
        for name, parameter in decoder.named_parameters():
            if name.endswith("out.weight"):
                parameter *= 12
    return decoder


def prompts(*lengths):
    tokens = torch.randint(20, (len(lengths), max(lengths)))
    return {"prompt": tokens, "prompt_lengths": torch.tensor(lengths)}


def spy(sampling, rows=3):
    """A rule that picks tokens by uniforms, and the logits it has seen: {(row, position): (V,)}."""
    uniforms, seen = torch.rand(rows, LENGTH, dtype=torch.float64), {}

    def choose(logits, live, position):
        seen.update({(row, position): x for row, x in zip(live.tolist(), logits, strict=True)})
        return sampling.choose(logits, uniforms[live, position])

    return choose, seen


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("model", [LatentThoughtModel, AutoregressiveModel])
@pytest.mark.parametrize("window", [1, 2, 5, 24])
@pytest.mark.parametrize("lengths", [(0, 0, 0), (3, 3, 3), (9, 12, 7), (0, 17, 4), (23, 22, 23)])
def test_cached_decoding_equals_decoding_without_a_cache(kind, model, window, lengths):
    """Tokens and logits, with prompts shorter and longer than the window."""
    decoder = new_decoder(window, model)
    z = None if decoder.thoughts is None else torch.randn(3, 2, 2, 3)
    choose, seen = spy(SETTINGS[kind])
    given = prompts(*lengths) if max(lengths) else {}
    tokens = decode(decoder, z, 3, LENGTH, choose, **given)
    cached = dict(seen)
    again = decode(decoder, z, 3, LENGTH, choose, **given, cached=False)
    assert torch.equal(tokens, again)
    assert cached.keys() == seen.keys()
    whole = (decoder(tokens, z) @ decoder.head.T).detach()
    for (row, position), logits in cached.items():
        torch.testing.assert_close(logits, seen[row, position], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(logits, whole[row, position], atol=2e-5, rtol=1e-4)
    for row, size in enumerate(lengths):
        if size:
            assert torch.equal(tokens[row, :size], given["prompt"][row, :size])


def test_the_cache_holds_the_window_and_the_prompt_is_read_in_one_pass(monkeypatch):
    decoder, states, widths = new_decoder(5), set(), []
    inner = decoder.next

    def spied(state, inputs):
        widths.append(tuple(inputs.shape))
        states.add(state)
        return inner(state, inputs)

    monkeypatch.setattr(decoder, "next", spied)
    decode(decoder, torch.randn(2, 2, 2, 3), 2, LENGTH, **prompts(9, 14))
    assert widths == [(2, 10)] + [(2, 1)] * (LENGTH - 10)
    (state,) = states
    assert [x.shape[1] for memory in state.layers for x in memory.held] == [4] * 4


@pytest.mark.parametrize("cached", [True, False])
def test_rows_that_have_ended_cost_nothing_and_leave_the_others_as_they_are(cached):
    decoder, z = new_decoder(5), torch.randn(4, 2, 2, 3)
    choose, seen = spy(SETTINGS["seeded"], rows=4)
    given = prompts(2, 8, 3, 4)
    whole = decode(decoder, z, 4, LENGTH, choose, **given)
    ends, before = {0: 6, 1: 15, 2: 6, 3: 9}, dict(seen)
    seen.clear()

    def ended(drawn, rows, position):
        assert torch.equal(drawn, whole[rows, position])
        return [position == ends[row] for row in rows.tolist()]

    tokens = decode(decoder, z, 4, LENGTH, choose, **given, ended=ended, cached=cached)
    assert tokens.shape == (4, 16)
    for row, end in ends.items():
        assert torch.equal(tokens[row, : end + 1], whole[row, : end + 1])
        assert (tokens[row, end + 1 :] == 0).all()
        assert max(position for i, position in seen if i == row) == end
    for place, logits in seen.items():
        torch.testing.assert_close(logits, before[place], atol=2e-5, rtol=1e-4)


def test_rows_that_end_without_thoughts():
    decoder = new_decoder(5, AutoregressiveModel)
    tokens = decode(decoder, None, 2, LENGTH, ended=lambda ids, rows, n: [r <= n for r in rows])
    assert tokens.shape == (2, 2)


def test_tokens_that_no_decoder_has_are_refused():
    decoder, z = new_decoder(5), torch.randn(2, 2, 2, 3)
    with pytest.raises(InputError, match="token id 20 lies outside the vocabulary of 20"):
        decode(decoder, z, 2, LENGTH, prompt=torch.tensor([[3], [20]]))
    with pytest.raises(InputError, match=f"a row of {LENGTH + 1} tokens"):
        decode(decoder, z, 2, LENGTH + 1)


def test_padding_of_a_prompt_may_hold_anything():
    decoder, z = new_decoder(5), torch.randn(2, 2, 2, 3)
    choose, _ = spy(SETTINGS["greedy"])
    sizes = torch.tensor([1, 3])
    padded = [
        decode(decoder, z, 2, LENGTH, choose, torch.tensor([[3, p, p], [4, 5, 6]]), sizes)
        for p in (0, -1, 99)
    ]
    assert torch.equal(padded[0], padded[1])
    assert torch.equal(padded[0], padded[2])


def test_a_window_of_another_size_decodes_otherwise():
    """What the comparison of cached and uncached could not tell if the window did not matter."""
    decoder, z = new_decoder(5), torch.randn(3, 2, 2, 3)
    choose, _ = spy(SETTINGS["greedy"])
    tokens = decode(decoder, z, 3, LENGTH, choose)
    for wrong in (4, 6):
        other = Transformer(
            dataclasses.replace(decoder.architecture, window=wrong), decoder.thoughts
        )
        other.load_state_dict(decoder.state_dict())
        assert not torch.equal(decode(other, z, 3, LENGTH, choose), tokens)
