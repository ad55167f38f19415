"""Thoughts grown on a trained decoder, in two commands or in one; and the controls beside them."""

import dataclasses
import json

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.commands.cli import main
from ltm_pyro.config import Named, Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.guides import NoGuide
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.models import AutoregressiveModel
from ltm_pyro.models.likelihood import TokenSequence
from ltm_pyro.runs.build import build_model
from ltm_pyro.runs.control import build_control
from ltm_pyro.runs.trainer import Trainer

from ..conftest import strong
from .conftest import documents, small
from .helpers import equal, train, weights, with_training


def spread(model, rows):
    """How far the log-likelihood of any document differs between draws of z, over its size."""
    z = 5 * torch.randn(20, len(rows), *model.thoughts.shape)
    with torch.no_grad():
        found = TokenSequence(model.decoder, z, rows.lengths, rows.tokens.shape[1]).log_prob(
            rows.tokens
        )
    return float((found.amax(0) - found.amin(0)).max() / found.abs().max())


@pytest.fixture(scope="module")
def spoken_at(tmp_path_factory):
    """The folder of a run beside its control, trained once."""
    place = tmp_path_factory.mktemp("spoken")
    text = place / "documents.jsonl"
    text.write_text(documents())
    corpus = ltm.load_corpus(text, length=12, vocabulary=300)
    config = small(corpus.vocabulary, corpus.begin, text)
    return train(with_training(config, baseline=True), place / "run", corpus=corpus).path


@pytest.fixture
def spoken(spoken_at):
    return ltm.load(spoken_at)


OTHERS = {
    "the same": {},
    "another prior": {"prior": Named("mixture", {"components": 3})},
    "another guide": {"guide": Named("covariance", {"rank": 1})},
    "more slots": {"thoughts": Thoughts(1, 5, 4)},
}


@pytest.mark.parametrize(
    ("of", "changed"),
    [
        *(("control", name) for name in OTHERS),
        ("model", "the same"),
        *(pytest.param("model", n, marks=pytest.mark.slow) for n in OTHERS if n != "the same"),
    ],
)
def test_grown_thoughts_change_nothing_at_first(run_config, corpus, tmp_path, spoken, of, changed):
    """On the control's decoder, and on a model's whose own thoughts are left behind."""
    strong(spoken.model)
    start = spoken.baseline if of == "control" else spoken.model
    config = run_config.replace(**OTHERS[changed])
    rows = corpus.train[:6]
    trainer = Trainer(corpus, config, tmp_path / "grown", start=start)
    assert spread(trainer.svi.model, rows) <= 1e-6
    if of == "control":
        exact = ltm.evaluate(
            spoken.model, rows, ["prior:1"], baseline=start, repeat=0, progress=False
        )
        here = ltm.evaluate(trainer.svi.model, rows, ["elbo:1"], fast=config.fast,
                            guide=trainer.svi.guide, repeat=0, progress=False)  # fmt: skip
        own = here["elbo"].nats - here["elbo"].parts["kl"]
        assert own == pytest.approx(exact["baseline"].nats, rel=1e-6)
    else:
        assert spread(start, rows) > 0.01


def test_a_control_goes_on_from_the_same_decoder(run_config, tmp_path, spoken, corpus):
    config = with_training(run_config, baseline=True)
    run = train(config, tmp_path / "grown", grow_on=spoken)
    assert run.record["grown_on"]["step"] == 4
    assert run.record["grown_on"]["of"] == "its control"
    # The control, by hand: four more iterations from the weights it had.
    trainer = Trainer(corpus, config, tmp_path / "hand", start=spoken.baseline)
    assert equal(
        weights(trainer.svi.model.decoder) | weights(spoken.baseline.decoder),
        weights(trainer.svi.model.decoder),
    )
    assert not equal(weights(run.baseline), weights(spoken.baseline))
    wider = with_training(run_config, baseline=True, control="parameters")
    with pytest.raises(InputError, match="has fewer"):
        train(wider, tmp_path / "wider", grow_on=spoken)
    other = dataclasses.replace(run_config.architecture, feedforward=16)
    with pytest.raises(InputError, match=r"has no decoder|has no layers"):
        train(run_config.replace(architecture=other), tmp_path / "other", grow_on=spoken)


def test_the_control_is_the_decoder_that_never_thought(run_config, corpus, tmp_path):
    """Its weights are those of training alone, all the way, over the same batches: bit for bit."""
    config = with_training(run_config, steps=4, speak=0.5, baseline=True)
    run = train(config, tmp_path / "run")
    seed = config.training.seed
    start = build_model(config)
    alone = AutoregressiveModel(config)
    state = start.decoder.state_dict()
    alone.decoder.load_state_dict({name: state[name] for name in weights(alone.decoder)})
    svi = DualRateSVI(alone, NoGuide, slow=config.slow, seed=seed)
    svi.fit(corpus.train, 4, config.training.batch, progress=False)
    assert equal(weights(run.baseline), weights(alone))
    shared = {n: v for n, v in weights(run.model.decoder).items() if n in weights(alone.decoder)}
    assert not equal(shared, weights(alone.decoder))  # the model's went another way


def test_a_resumed_run_needs_no_other(run_config, tmp_path, spoken):
    """Killed before its first iteration was saved, it begins where it had begun."""
    config = with_training(run_config, steps=3, baseline=True, save_every=50, check_every=2)
    whole = train(config, tmp_path / "whole", grow_on=spoken)

    class Stop(Exception):
        pass

    def stop(line):
        raise Stop

    with pytest.raises(Stop):
        train(config, tmp_path / "halted", grow_on=spoken, note=stop)
    resumed = train(config, tmp_path / "halted", resume=True)
    assert equal(weights(whole.model), weights(resumed.model))
    assert equal(weights(whole.baseline), weights(resumed.baseline))


@pytest.mark.parametrize(
    ("control", "stopped"),
    [pytest.param("decoder", 2, marks=pytest.mark.slow), ("decoder", 3),
     pytest.param("parameters", 4, marks=pytest.mark.slow), ("flops", 4)],
)  # fmt: skip
def test_both_phases_resume_as_one(run_config, tmp_path, control, stopped):
    """Stopped while it speaks, where it begins to think, and while it thinks."""
    config = with_training(
        run_config, steps=6, speak=0.5, baseline=True, save_every=1, check_every=1,
        control=control,
    )  # fmt: skip
    whole = train(config, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(line):
        if line.startswith(f"step {stopped + 1}:"):
            raise Stop

    with pytest.raises(Stop):
        train(config, tmp_path / "halted", note=stop)
    resumed = train(config, tmp_path / "halted", resume=True)
    assert equal(weights(whole.model), weights(resumed.model))
    assert equal(weights(whole.baseline), weights(resumed.baseline))

    def lines(run):
        return [{k: v for k, v in line.items() if k != "seconds"} for line in run.log()]

    assert lines(whole) == lines(resumed)
    kl = [line["kl_per_token"] for line in whole.log()]
    assert kl[:3] == [0, 0, 0]
    assert kl[4] > 0
    if control == "decoder":
        first = whole.log()[2]
        assert first["held_out_elbo"] == pytest.approx(first["held_out_baseline"], rel=1e-6)


def test_a_control_has_as_many_parameters(run_config, spoken):
    config = with_training(run_config, control="parameters")
    many, few = spoken.model.parameter_count(), spoken.baseline.parameter_count()
    found = build_control(config, spoken.model).parameter_count()
    each = 3 * config.architecture.width * config.architecture.layers
    assert abs(found - many) <= each / 2 < many - few


def test_a_control_costs_as_much(run_config, corpus, tmp_path):
    """In FLOPs as counted by hand: every product with a weight, and the scores of attention."""
    steps = 4
    config = with_training(run_config, steps=steps, baseline=True, control="flops")
    trainer = Trainer(corpus, config, tmp_path / "run")
    trainer.run(progress=False)
    control = trainer.callbacks[0]
    # A fast step costs two thirds of a slow one at most, and more than one third: the first
    # reading is not done again.
    low, high = 1 + config.fast.steps / 3, 1.35 + config.fast.steps * 2 / 3 * 1.35
    assert low < control.passes < high
    assert control.svi.done == int(control.passes * steps)


def test_the_command_line(run_config, tmp_path, text_file, capsys):
    shared = ["--steps", "2", "--batch", "4", "--fast.steps", "1", "--quiet"]
    first = ["train", "--data", str(text_file), "--length", "12", "--vocabulary", "300"]
    assert main([*first, "--out", str(tmp_path / "a"), "--baseline", *shared]) == 0
    grow = ["train", "--from", str(tmp_path / "a"), *shared]
    out = str(tmp_path / "b")
    assert main([*grow, "--out", out, "--prior", "laplace", "--thoughts.slots", "3"]) == 0
    run = ltm.load(out)
    assert run.config.prior.name == "laplace"
    assert run.config.thoughts.slots == 3
    assert run.config.architecture == ltm.load(tmp_path / "a").config.architecture
    capsys.readouterr()
    assert main([*grow, "--out", str(tmp_path / "c"), "--architecture.width", "64"]) == 2
    assert "--architecture.width is given beside --from" in capsys.readouterr().err
    again = ["train", "--config", str(tmp_path / "b"), "--out", str(tmp_path / "d"), "--quiet"]
    assert main(again) == 0
    assert "its thoughts were grown on" in capsys.readouterr().err
    capsys.readouterr()
    score = ["--bounds", "elbo:2,prior:2", "--split", "train", "--json", "--tax"]
    assert main(["evaluate", str(tmp_path / "a"), *score]) == 0
    found = json.loads(capsys.readouterr().out)
    gap = found["elbo"]["nats_per_token"] - found["baseline"]["nats_per_token"]
    assert found["tax"]["elbo"]["nats_per_token"] == pytest.approx(gap)
    assert found["tax"]["prior"]["standard_error"] > 0
    assert main(["evaluate", out, *score]) == 2
    assert "has no control to tax thoughts against" in capsys.readouterr().err
