import pytest
import torch

from ltm_pyro.errors import InputError
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.models.decoders import Transformer
from ltm_pyro.models.decoders.decode import decode
from ltm_pyro.presets import preset

from ...conftest import some_rows


@pytest.mark.parametrize(("name", "millions"), [("small", 38.4), ("medium", 51.0), ("large", 76.3)])
def test_presets_have_the_papers_sizes(name, millions):
    with torch.device("meta"):
        model = LatentThoughtModel(preset(name))
    assert model.parameter_count() / 1e6 == pytest.approx(millions, rel=0.01)


def test_cached_steps_equal_one_pass(model, rows):
    decoder, z = model.decoder, torch.randn(5, 2, 2, 3)
    inputs, whole = decoder.inputs(rows.tokens), decoder(rows.tokens, z)
    state = decoder.start(z, 5)
    steps = [decoder.next(state, inputs[:, n : n + 1]) for n in range(12)]
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-5, rtol=1e-4)
    state = decoder.start(z, 5)
    pieces = [decoder.next(state, part) for part in inputs.split([7, 2, 3], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-4)
    window = model.config.architecture.window
    assert [k.shape[1] for memory in state.layers for k in memory.held] == [window - 1] * 4


def test_no_position_sees_its_own_token_or_later_ones(model, rows):
    z = torch.randn(5, 2, 2, 3)
    before = model.decoder(rows.tokens, z)
    changed = rows.tokens.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 20
    moved = (model.decoder(changed, z) - before).abs().amax((0, 2)) > 1e-6
    assert moved.nonzero()[0, 0] == 7


def test_text_beyond_the_window_is_reached_only_through_thoughts(model):
    rows = some_rows(full=True)
    layers, window = 2, 4
    changed = rows.tokens.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 20
    z = torch.randn(5, 2, 2, 3)
    gap = (model.decoder(changed, z) - model.decoder(rows.tokens, z)).abs()
    reach = 1 + layers * (window - 1)  # positions that token 0 can reach through the layers
    assert model.decoder.reach == reach
    assert gap.amax((0, 2))[1 : reach + 1].min() > 1e-6
    assert gap.amax((0, 2))[reach + 1 :].max() == 0


def test_every_layer_reads_its_own_thoughts(model, rows):
    z = torch.randn(5, 2, 2, 3)
    before = model.decoder(rows.tokens, z)
    for layer in range(2):
        other = z.clone()
        other[:, layer] += 1.0
        assert (model.decoder(rows.tokens, other) - before).abs().max() > 1e-3


def test_the_baseline_has_no_thoughts(config):
    decoder = Transformer(config.architecture, thoughts=None)
    assert not any("thought" in name for name, _ in decoder.named_parameters())
    assert decoder(some_rows().tokens).shape == (5, 12, 16)


def test_tokens_from_another_vocabulary_are_refused(model, rows):
    bad = rows.tokens.clone()
    bad[2, 3] = 20
    with pytest.raises(InputError, match="token id 20 lies outside the vocabulary of 20"):
        model.decoder.inputs(bad)
    with pytest.raises(InputError, match="reads 12"):
        model.decoder.inputs(torch.zeros(1, 13, dtype=torch.long))


def test_decoding_keeps_prompts_of_different_lengths(model):
    prompt = torch.tensor([[3, 4, 5], [6, 0, 0]])
    tokens = decode(
        model.decoder, torch.randn(2, 2, 2, 3), 2, 8,
        prompt=prompt, prompt_lengths=torch.tensor([3, 1]),
    )  # fmt: skip
    assert tokens[0, :3].tolist() == [3, 4, 5]
    assert tokens[1, 0] == 6
