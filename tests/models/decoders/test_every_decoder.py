"""Every decoder passes the checks that users run on their own, and works through the library."""

import dataclasses
import functools

import pytest
import torch
from torch import nn

import ltm_pyro as ltm
from ltm_pyro.commands.cli import parse
from ltm_pyro.config import Fast, Named, Slow
from ltm_pyro.errors import InputError
from ltm_pyro.guides import LaplaceApproximation
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel, decoders
from ltm_pyro.models.decoders import Decoder, GatedLinear, Lstm, Transformer
from ltm_pyro.models.decoders.gated_linear import scan
from ltm_pyro.names import names
from ltm_pyro.runs.build import build_decoder, named_decoder
from ltm_pyro.testing import check_decoder

NAMES = names(decoders, Decoder)
every_decoder = pytest.mark.parametrize("name", NAMES)


def test_the_decoders_there_are():
    assert {"gated-linear": GatedLinear, "lstm": Lstm, "transformer": Transformer} == NAMES


@every_decoder
def test_it_passes_the_checks(name):
    assert len(check_decoder(NAMES[name]).passed) == 13


@every_decoder
def test_a_run_is_trained_saved_loaded_scored_and_writes(name, run_config, corpus, tmp_path):
    training = dataclasses.replace(run_config.training, steps=3, baseline=True)
    config = run_config.replace(decoder=Named(name), training=training)
    ltm.train(config, tmp_path / "run", corpus, progress=False)
    run = ltm.load(tmp_path / "run")
    assert run.step == 3
    assert run.config.decoder == Named(name)
    assert type(run.model.decoder) is type(run.baseline.decoder) is NAMES[name]
    report = ltm.evaluate(
        run.model, corpus.rows("all")[:4], ["elbo:2", "prior:2"], guide=run.guide,
        fast=run.config.fast, baseline=run.baseline, repeat=0, progress=False,
    )  # fmt: skip
    assert all(figure.nats.shape == (4,) for figure in report.figures.values())
    written = ltm.generate(run.model, run.tokenizer, ["sea"], 2, length=8, guide=run.guide)
    assert len(written.texts) == 2


@every_decoder
@pytest.mark.parametrize(
    "how", [{"precision": "bf16"}, {"recompute": True}, {"precision": "bf16", "recompute": True}]
)
def test_an_iteration_is_the_same_however_it_computes(name, how, config, rows):
    reports = []
    for changes in ({}, how):
        torch.manual_seed(1)
        model = LatentThoughtModel(config, decoder=name)
        fast = Fast(steps=3, lr=0.1, tokens=0.5, **changes)
        reports.append(ltm.DualRateSVI(model, fast=fast, slow=Slow(**changes)).step(rows))
    assert reports[1].nats_per_token == pytest.approx(reports[0].nats_per_token, rel=0.02)


@every_decoder
def test_its_curvature_makes_a_guide(name, config, rows):
    model = LatentThoughtModel(config, decoder=name)
    fast = Fast(steps=2)
    report = ltm.evaluate(
        model, rows, ["elbo:2"], guide=LaplaceApproximation, fast=fast, repeat=0, progress=False
    )
    assert torch.isfinite(torch.from_numpy(report["elbo"].nats)).all()


def test_a_scan_is_the_recurrence_one_step_at_a_time():
    for n in (1, 2, 3, 5, 8, 13, 32):
        a, b = (torch.rand(2, n, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
        state, states = torch.zeros(2, 3, dtype=torch.float64), []
        for t in range(n):
            state = a[:, t] * state + b[:, t]
            states.append(state)
        torch.testing.assert_close(scan(a, b), torch.stack(states, 1))
    a, b = (x[:1, :5].detach().requires_grad_() for x in (a, b))
    assert torch.autograd.gradgradcheck(scan, (a, b))


def test_what_a_recurrence_remembers_does_not_grow(config):
    for kind, columns in ((Lstm, 2 * 2), (GatedLinear, 2)):
        decoder = kind(config.architecture, None)
        state = decoder.start(None, 3, rewinds=2)
        decoder.next(state, torch.zeros(3, 7, dtype=torch.long))
        decoder.next(state, torch.zeros(3, 2, dtype=torch.long))
        assert [x.shape[1] for memory in state.layers for x in memory.held] == [3] * columns


def test_more_than_can_be_taken_back_is_refused(config):
    decoder = Transformer(config.architecture, None)
    state = decoder.start(None, 2, rewinds=2)
    decoder.next(state, torch.zeros(2, 5, dtype=torch.long))
    state.rewind(torch.tensor([1, 0]))
    with pytest.raises(InputError, match=r"rewind of \[2, 2\] tokens where \[1, 2\] can be"):
        state.rewind(2)


class Wide(Transformer):
    """An option, for tests of choosing."""

    def __init__(self, architecture, thoughts, factor=2.0):
        super().__init__(architecture, thoughts)
        self.factor = factor


def test_it_is_chosen_by_name_class_partial_or_object(config):
    own = f"{__name__}:Wide"
    for chosen, named in (
        ("lstm", Named("lstm")),
        (Named(own, {"factor": 3.0}), Named(own, {"factor": 3.0})),
        (Lstm, Named("lstm")),
        (functools.partial(Wide, factor=1.5), Named(own, {"factor": 1.5})),
        (GatedLinear(config.architecture, config.thoughts), Named("gated-linear")),
    ):
        model = LatentThoughtModel(config, decoder=chosen)
        assert named_decoder(model.decoder) == named
    config = config.replace(decoder=Named("lstm"))
    assert isinstance(LatentThoughtModel(config).decoder, Lstm)
    assert isinstance(AutoregressiveModel(config).decoder, Lstm)
    assert isinstance(AutoregressiveModel(config, "transformer").decoder, Transformer)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("lstn", "lstm"),
        (Named("lstm", {"depth": 3}), "depth"),
        ("math:pi", "expected a subclass"),
        (3, "decoder 3: expected a name"),
    ],
)
def test_what_is_no_decoder_is_told(config, chosen, message):
    with pytest.raises(InputError, match=message):
        build_decoder(chosen, config.architecture, config.thoughts)


def test_a_decoder_of_other_sizes_is_refused(config):
    made = Lstm(config.architecture, None)
    with pytest.raises(InputError, match=r"this Lstm was made for .* None, the configuration has"):
        LatentThoughtModel(config, decoder=made)


def test_the_command_line_knows_decoders_and_their_options():
    arguments = "train --out run --decoder mine:Conv --decoder.taps 6 --decoder.causal-mode left"
    config = parse(arguments.split()).config()
    assert config.decoder == Named("mine:Conv", {"taps": 6, "causal_mode": "left"})
    assert parse(["train", "--out", "run"]).config().decoder == Named("transformer")


class Peeks(Transformer):
    def read(self, tokens):
        h = super().read(tokens)
        return h + 0.1 * h.roll(-1, dims=1)


class Forgets(Transformer):
    """Its memory is a token short."""

    def start(self, z, rows, rewinds=0):
        state = super().start(z, rows, rewinds)
        for memory in state.layers:
            extend = memory.extend
            memory.extend = lambda last, *new, extend=extend: extend(last - 1, *new)
        return state


class TakesBackTooLittle(Lstm):
    def start(self, z, rows, rewinds=0):
        state = super().start(z, rows, rewinds)
        rewind = state.rewind
        state.rewind = lambda k: rewind(torch.as_tensor(k).clamp(max=1))
        return state


class Unnormalised(Transformer):
    """Its head has words that no tokenizer has."""

    def __init__(self, architecture, thoughts):
        super().__init__(architecture, thoughts)
        more = 3 + architecture.vocabulary
        self.embedding = nn.Embedding(more, architecture.width)


class Deaf(GatedLinear):
    def hidden(self, h, z, wanted=None):
        if z is not None:
            z = torch.cat([z[:, :1], z[:, :1]], dim=1)
        return super().hidden(h, z, wanted)

    def start(self, z, rows, rewinds=0):
        z = None if z is None else torch.cat([z[:, :1], z[:, :1]], dim=1)
        return super().start(z, rows, rewinds)


class Leaks(Lstm):
    """What it reads is scaled by the length of the row, padding and all."""

    def read(self, tokens):
        return super().read(tokens) * (1 + 0.05 * tokens.shape[1])


class Mixes(Lstm):
    """Rows meet."""

    def read(self, tokens):
        h = super().read(tokens)
        return h + 0.1 * h.mean(0, keepdim=True)


class Idle(Lstm):
    def __init__(self, architecture, thoughts):
        super().__init__(architecture, thoughts)
        self.unused = nn.Parameter(torch.zeros(3))


class Further(Transformer):
    """It says that it sees less than it does."""

    reach = 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Peeks, "token 0 changes log-probabilities at positions"),
        (Forgets, "hidden states read in parts of"),
        (TakesBackTooLittle, "after keep and rewind"),
        (Unnormalised, "sum to .*: expected 1"),
        (Deaf, "no gradient reaches z of layer 1"),
        (Leaks, "with padding behind it"),
        (Mixes, "with padding behind it, among other rows"),
        (Idle, "no gradient reaches parameter 'unused'"),
        (Further, "seen beyond the 3 tokens"),
    ],
)
def test_decoders_that_are_wrong_are_caught(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_decoder(wrong)
