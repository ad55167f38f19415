"""Thoughts that all layers of a decoder share."""

import dataclasses

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Named
from ltm_pyro.diagnostics import thought_use
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.models.decoders.decode import decode

from ...conftest import some_rows


@pytest.fixture
def pair(config):
    """A model whose layers share their thoughts, and one whose layers have each their own."""

    def made(decoder):
        own = config.replace(decoder=Named(decoder))
        shared = own.replace(thoughts=dataclasses.replace(own.thoughts, layers=1))
        one, each = LatentThoughtModel(shared), LatentThoughtModel(own)
        one.decoder.load_state_dict(each.decoder.state_dict())
        return one, each

    return made


@pytest.mark.parametrize("decoder", ["transformer", "lstm", "gated-linear"])
def test_it_is_as_if_each_layer_had_a_copy(pair, decoder, config):
    one, each = pair(decoder)
    rows = some_rows(3)
    z = torch.randn(3, 1, *config.thoughts.shape[1:])
    copies = z.expand(-1, config.thoughts.layers, -1, -1)
    h = one.decoder.read(rows.tokens)
    torch.testing.assert_close(one.decoder.hidden(h, z), each.decoder.hidden(h, copies))
    other = copies.clone()
    other[:, 1] += 1  # where each layer has its own, another one's matters
    assert not torch.allclose(each.decoder.hidden(h, other), each.decoder.hidden(h, copies))

    def likeliest(logits, rows, position):
        return logits.argmax(-1)

    none, sizes = torch.zeros(3, 0, dtype=torch.long), torch.zeros(3, dtype=torch.long)
    written = [
        decode(part.decoder, thoughts, 3, 6, likeliest, none, sizes, None, True)
        for part, thoughts in ((one, z), (each, copies))
    ]
    assert torch.equal(*written)


def test_it_is_trained_scored_and_told(config):
    shared = dataclasses.replace(config.thoughts, layers=1)
    model = LatentThoughtModel(config.replace(thoughts=shared))
    svi = ltm.DualRateSVI(model, fast=Fast(steps=2))
    rows = some_rows(4)
    svi.fit(rows, steps=2, batch_size=3, progress=False)
    assert ltm.evaluate(model, rows, ["elbo:2"], progress=False, repeat=0)["elbo"].is_bound
    assert svi.infer(rows).sample(5).shape == (5, 4, *shared.shape)
    assert thought_use(svi.infer(rows)).kl.shape == shared.shape
