"""Speak, then think: the decoder learns alone first, and what is grown on it is not heard yet."""

import pytest
import torch

from ltm_pyro.config import Architecture, Config, Fast, Named, Objective, Slow, Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField, NoGuide
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.speaking import SpeakThenThink, silence
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.models.decoders import Decoder
from ltm_pyro.models.likelihood import TokenSequence

from ..conftest import strong

FAST, SLOW = Fast.quick(2), Slow(lr=1e-2, warmup=1)


def likelihood(model, rows, z):
    return TokenSequence(model.decoder, z, rows.lengths, rows.tokens.shape[1]).log_prob(rows.tokens)


@pytest.mark.parametrize("decoder", ["transformer", "lstm", "gated-linear"])
def test_thoughts_that_were_just_grown_are_not_heard(config, decoder, rows):
    """By none of them: the log-likelihood of every document is the decoder's own, within 1e-6."""
    model = strong(LatentThoughtModel(config.replace(decoder=Named(decoder))))
    z = 10 * torch.randn(50, len(rows), *config.thoughts.shape)
    with torch.no_grad():
        before = likelihood(model, rows, z)
        silence(model, 0)
        heard, alone = likelihood(model, rows, z), likelihood(model, rows, None)
    assert before.std(0).min() > 0.1  # it would be seen
    assert (heard - alone).abs().max() <= 1e-6 * alone.abs().max()


def test_they_can_be_heard_after_one_step(model, rows):
    silence(model, 0)
    DualRateSVI(model, MeanField, FAST, SLOW).step(rows, 10)
    z = torch.randn(20, len(rows), *model.thoughts.shape)
    assert likelihood(model, rows, z).std(0).min() > 1e-3
    for name, parameter in model.decoder.named_parameters():
        assert torch.isfinite(parameter).all(), name


def test_queries_and_keys_are_at_unit_scale():
    config = Config(
        Architecture(50, 0, 64, window=8, layers=1, width=256, heads=4, feedforward=64),
        Thoughts(1, 8, 32),
    )
    model = LatentThoughtModel(config)
    silence(model, 0)
    attention = model.decoder.layers[0].thought
    with torch.no_grad():
        q = attention.q(torch.randn(500, 256))
        k, v = attention.keys_and_values(torch.randn(500, 8, 32))
    for part in (q, k, v):  # a standard error of about 0.3%, and of the weights' own draw
        assert part.square().mean().sqrt() == pytest.approx(1, abs=0.03)


def test_the_decoder_learns_as_it_would_without_latents(model, config, rows):
    """While it speaks, its weights are those of the same decoder trained alone, bit for bit."""
    silence(model, 3)
    alone = AutoregressiveModel(config)
    state = model.decoder.state_dict()
    alone.decoder.load_state_dict({name: state[name] for name in alone.decoder.state_dict()})
    svi = SpeakThenThink(model, MeanField, FAST, SLOW, seed=3, speak=0.5)
    other = DualRateSVI(alone, NoGuide, slow=SLOW, seed=3)
    for _ in range(4):
        report, its = svi.step(rows, 8), other.step(rows, 8)
        assert report.nats_per_token == its.nats_per_token
        assert report.kl.sum() == 0
    state = model.decoder.state_dict()
    for name, value in alone.decoder.state_dict().items():
        assert torch.equal(state[name], value), name
    assert svi.speaking
    svi.step(rows, 8)
    assert not svi.speaking
    assert svi.spoken == 4
    changed = model.decoder.state_dict()["layers.0.thought.out.weight"]
    assert changed.abs().max() > 0


def test_the_weight_of_the_kl_rises_where_thoughts_begin(model, rows):
    svi = SpeakThenThink(model, MeanField, FAST, SLOW, Objective(start=0.1, warmup=1.0), speak=0.5)
    weights = [svi.step(rows, 8).kl_weight for _ in range(8)][4:]
    assert weights == pytest.approx([0.1, 0.325, 0.55, 0.775])


def test_without_a_share_nothing_changes(config, rows):
    def trained(make):
        torch.manual_seed(0)
        model = LatentThoughtModel(config)
        svi = make(model, MeanField, FAST, SLOW, Objective(start=0.1, warmup=0.6))
        reports = [svi.step(rows, 4).nats_per_token for _ in range(4)]
        return reports, model.state_dict()

    (reports, state), (others, other) = trained(DualRateSVI), trained(SpeakThenThink)
    assert reports == others
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_more_iterations_never_take_the_thoughts_away_again(model, rows):
    svi = SpeakThenThink(model, MeanField, FAST, SLOW, speak=0.5)
    for _ in range(3):
        svi.step(rows, 4)
    state = svi.state_dict()
    again = SpeakThenThink(model, MeanField, FAST, SLOW, speak=0.5)
    again.load_state_dict(state)
    again.step(rows, 100)  # half of it would be 50
    assert (again.done, again.spoken) == (4, 2)


def test_what_cannot_be_is_told(model, rows):
    with pytest.raises(InputError, match=r"speak is 1\.5"):
        SpeakThenThink(model, speak=1.5)
    with pytest.raises(InputError, match="say step"):
        SpeakThenThink(model, speak=0.5).step(rows)

    with pytest.raises(InputError, match="cannot be grown thoughts on"):  # a class without its own
        Decoder.silence(model.decoder)
    with pytest.raises(InputError, match=r"no rate of their own: give it a method hearing\(\)"):
        Decoder.hearing(model.decoder)


@pytest.mark.parametrize("decoder", ["transformer", "lstm", "gated-linear"])
def test_weights_that_read_thoughts_have_a_rate_of_their_own(config, decoder, rows):
    """They are those that a decoder without thoughts has no use for; at rate 0 they stay."""
    model = strong(LatentThoughtModel(config.replace(decoder=Named(decoder))))
    likelihood(model, rows, None).sum().backward()
    unused = {name for name, p in model.decoder.named_parameters() if p.grad is None}
    before = {name: p.detach().clone() for name, p in model.decoder.named_parameters()}
    hearing = {id(p) for p in model.decoder.hearing()}
    assert unused == {name for name, p in model.decoder.named_parameters() if id(p) in hearing}
    slow = Slow(lr=1e-2, warmup=1, decay=0.0, thoughts_lr=0.0)
    DualRateSVI(model, MeanField, FAST, slow).step(rows, 10)
    moved = {n for n, p in model.decoder.named_parameters() if not torch.equal(p, before[n])}
    assert unused
    assert moved == set(before) - unused
