"""What is saved is finite, whatever of it becomes a NaN; what is not finite is not used."""

import json
import math

import pytest
import safetensors.torch
import torch

import ltm_pyro as ltm
from ltm_pyro.commands import cli
from ltm_pyro.commands.text import as_json
from ltm_pyro.config import Named, Warm
from ltm_pyro.errors import NotFinite
from ltm_pyro.runs import folder
from ltm_pyro.runs.callbacks import Baseline, Callback
from ltm_pyro.runs.trainer import Trainer

from .helpers import train, weights, with_training


class Mean(Callback):
    """A state of a callback's own; infinity in it is its own affair."""

    def __init__(self):
        self.mean, self.best = torch.zeros(()), torch.tensor(math.inf)

    def state_dict(self):
        return {"mean": self.mean, "best": self.best, "by": [{"layer": self.mean}]}


class Poison(Callback):
    """Puts a NaN somewhere after iteration 3."""

    def __init__(self, where):
        self.where = where

    def after(self, trainer, report, line):
        if trainer.svi.done == 3:
            self.where(trainer)


def baseline(trainer):
    return next(c for c in trainer.callbacks if isinstance(c, Baseline)).svi


def moment(svi, key):
    parameter = svi.model.decoder.norm.weight
    svi.optimizer.state[parameter][key].reshape(-1)[0] = math.nan


@torch.no_grad()
def fill(parameter, value=math.nan):
    parameter.reshape(-1)[0] = value


def memory(trainer):
    place = next(iter(trainer.svi.memory.changed))
    trainer.svi.memory.changed[place][3] = math.nan


def mean(trainer):
    next(c for c in trainer.callbacks if isinstance(c, Mean)).mean.fill_(math.nan)


PLACES = {
    "parameter decoder.norm.weight": lambda t: fill(t.svi.model.decoder.norm.weight, math.inf),
    "exp_avg of the slow optimizer for decoder.norm.weight": lambda t: moment(t.svi, "exp_avg"),
    "exp_avg_sq of the slow optimizer for decoder.norm.weight": lambda t: moment(
        t.svi, "exp_avg_sq"
    ),
    "the guide's parameter ": lambda t: fill(next(t.svi.shared.parameters())),
    "the baseline's parameter decoder.norm.weight": lambda t: fill(
        baseline(t).model.decoder.norm.weight
    ),
    "the baseline's exp_avg of the slow optimizer": lambda t: moment(baseline(t), "exp_avg"),
    "what the warm start remembers of row ": memory,
    "the state of callback mean: mean": mean,
}


NORMAL = {"parameter decoder.norm.weight", "the baseline's exp_avg of the slow optimizer",
          "what the warm start remembers of row ", "the state of callback mean: mean"}  # fmt: skip


@pytest.mark.parametrize(
    "place", [p if p in NORMAL else pytest.param(p, marks=pytest.mark.slow) for p in PLACES]
)
def test_the_last_good_checkpoint_is_kept(run_config, tmp_path, place):
    config = with_training(run_config, baseline=True, save_every=1, check_every=10, steps=6)
    guide = Named("semi-amortized", {"width": 8})
    config = config.replace(warm=Warm(2), guide=guide)
    out = tmp_path / "run"
    with pytest.raises(
        NotFinite, match=rf"^{place}.* is not finite after iteration 3; the last good checkpoint, "
        "of iteration 2, is in .*train another run with a lower --slow.lr",
    ):  # fmt: skip
        train(config, out, callbacks=[Mean(), Poison(PLACES[place])])
    assert ltm.load(out).step == 2
    assert train(config, out, callbacks=[Mean()], resume=True).step == 6


@pytest.fixture
def poisoned(run_config, tmp_path):
    """A run whose saved weights have a NaN, and a manifest that agrees."""
    run = train(with_training(run_config, baseline=True), tmp_path / "run")
    return run, tmp_path / "run"


@pytest.mark.parametrize("name", ["decoder.norm.weight", "baseline.decoder.norm.weight"])
def test_weights_that_are_not_finite_are_not_used(poisoned, name, capsys):
    _, path = poisoned
    place = path / folder.MODEL
    with safetensors.safe_open(place, "pt") as file:
        facts = file.metadata()
    state = safetensors.torch.load_file(place)
    state[name][0] = math.nan
    safetensors.torch.save_file(state, place, facts)
    folder.seal(path)
    told = r"model.safetensors: parameter .*norm.weight is not finite, so nothing can be"
    with pytest.raises(NotFinite, match=told):
        ltm.load(path)
    for command in ("evaluate", "generate"):
        capsys.readouterr()
        assert cli.main([command, str(path)]) == 1
        assert "ltm: stopped: " in capsys.readouterr().err


def test_nor_are_they_from_python(poisoned, corpus):
    run, _ = poisoned
    fill(run.model.decoder.norm.weight)
    with pytest.raises(NotFinite, match=r"parameter decoder.norm.weight of LatentThoughtModel is"):
        ltm.generate(run.model, run.tokenizer)
    with pytest.raises(NotFinite, match=r"parameter decoder.norm.weight of LatentThoughtModel is"):
        ltm.evaluate(run.model, corpus.test, progress=False)
    fine = train(run.config, run.path.parent / "fine")
    fill(fine.baseline.decoder.norm.weight)
    with pytest.raises(NotFinite, match="of AutoregressiveModel"):
        ltm.evaluate(fine.model, corpus.test, baseline=fine.baseline, progress=False)
    assert weights(fine.model)


def test_json_has_no_bare_nan():
    found = {"a": math.nan, "b": [1.5, -math.inf, {"c": (math.inf, "NaN")}], 3: None, "d": True}
    assert json.loads(as_json(found), parse_constant=lambda word: pytest.fail(word)) == {
        "a": None, "b": [1.5, None, {"c": [None, "NaN"]}], "3": None, "d": True,
    }  # fmt: skip


def test_one_document_has_no_standard_error_in_json(trained, tmp_path, capsys):
    run = trained()
    one = tmp_path / "one.jsonl"
    one.write_text('{"text": "sea 1: wave"}\n')
    capsys.readouterr()
    assert cli.main(["evaluate", str(run.path), "--data", str(one), "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(word))
    assert found["elbo"]["documents"] == 1


def test_a_trainer_says_what_it_is(run_config, corpus, tmp_path):
    trainer = Trainer(corpus, run_config, tmp_path / "run")
    trainer.about = {"asked by": "the reviewers"}
    assert trainer.run(progress=False).record["asked by"] == "the reviewers"
