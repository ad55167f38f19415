"""Callbacks of a run: their order, their states, and a resume that is exact with all of them on."""

import json
from types import SimpleNamespace

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.commands import cli
from ltm_pyro.config import Named
from ltm_pyro.errors import InputError
from ltm_pyro.inference.world import World
from ltm_pyro.runs.callbacks import Baseline, Callback, Log, Looks, Saving, TimeLeft, duration
from ltm_pyro.runs.trainer import Trainer

from .helpers import equal, train, weights, with_training


class Average(Callback):
    """A running mean of the training bound: a state that a resumed run has to go on from."""

    def __init__(self):
        self.mean, self.begun, self.ended = torch.zeros(()), 0, 0

    def begin(self, trainer):
        self.begun += 1

    def after(self, trainer, report, line):
        self.mean = 0.9 * self.mean + 0.1 * report.nats_per_token
        line["average"] = float(self.mean)

    def end(self, trainer):
        self.ended += 1

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean = state["mean"]


class Stop(Exception):
    pass


class Halt(Callback):
    """Ends the process after an iteration, as a kill would: nothing is saved on the way out."""

    def __init__(self, step):
        self.step = step

    def after(self, trainer, report, line):
        if trainer.svi.done == self.step:
            raise Stop


def test_they_stand_in_one_list_in_order(run_config, corpus, tmp_path):
    own = Average()
    trainer = Trainer(corpus, with_training(run_config, baseline=True), tmp_path / "r", [own])
    kinds = [type(c) for c in trainer.callbacks]
    assert kinds == [Baseline, TimeLeft, Looks, Average, Log, Saving]
    run = trainer.run(progress=False)
    assert (own.begun, own.ended) == (1, 1)
    lines = run.log()
    assert lines[-1]["average"] == pytest.approx(float(own.mean))
    assert {"held_out_elbo", "baseline_nats_per_token", "seconds"} <= set(lines[-1])


def test_the_time_left_is_told_once_and_again_where_thoughts_begin(monkeypatch):
    """Iterations of 0.5 s alone and of 3 s with thoughts, one of them slow for another reason."""
    said, now = [], [0.0]
    monkeypatch.setattr("ltm_pyro.runs.callbacks.time.perf_counter", lambda: now[0])
    svi = SimpleNamespace(done=0, speak=0.5, speaking=True)
    training = SimpleNamespace(training=SimpleNamespace(steps=200))
    trainer, left = SimpleNamespace(svi=svi, config=training, note=said.append), TimeLeft()
    for step in range(1, 200):
        now[0] += 40.0 if step == 5 else 0.5 if step <= 100 else 3.0
        svi.done, svi.speaking = step, step <= 100
        left.after(trainer, None, {})
    assert said == [
        "about 48 s until thoughts begin, looks aside: 95 iterations of 0.5 s",
        "about 4 min 40 s to the end, looks aside: 95 iterations of 3 s",
    ]


@pytest.mark.parametrize(("seconds", "words"), [
    (0.1234, "0.12 s"), (99.4, "99 s"), (99.6, "1 min 40 s"), (120, "2 min"), (3599, "1 h"),
    (7500, "2 h 5 min"),
])  # fmt: skip
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize("trackers", [(), ("tensor-board", "wandb")], ids=["own", "trackers"])
def test_a_resume_is_exact_with_all_of_them_on(run_config, tmp_path, trackers):
    for name in trackers:
        pytest.importorskip({"tensor-board": "tensorboard"}.get(name, name))
    config = with_training(run_config, steps=7, save_every=2, check_every=3, baseline=True)
    config = config.replace(callbacks=tuple(Named(name) for name in trackers))
    whole = train(config, tmp_path / "whole", callbacks=[Average()])
    with pytest.raises(Stop):
        train(config, tmp_path / "halted", callbacks=[Average(), Halt(6)])
    resumed = train(config, tmp_path / "halted", callbacks=[Average()], resume=True)
    assert equal(weights(whole.model), weights(resumed.model))
    assert equal(weights(whole.baseline), weights(resumed.baseline))
    both = [[{k: v for k, v in line.items() if k != "seconds"} for line in run.log()]
            for run in (whole, resumed)]  # fmt: skip
    assert both[0] == both[1]
    assert len(both[0]) == 7
    if trackers:
        assert list((resumed.path / "tensorboard").glob("events*"))
        assert list((resumed.path / "wandb").glob("offline-run*"))


def test_tensorboard_has_every_step_once(run_config, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = with_training(run_config, steps=5, save_every=2)
    config = config.replace(callbacks=(Named("tensor-board"),))
    with pytest.raises(Stop):
        train(config, tmp_path / "run", callbacks=[Halt(3)])
    run = train(config, tmp_path / "run", resume=True)
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    written = events.Scalars("nats_per_token")
    assert [event.step for event in written] == [1, 2, 3, 4, 5]
    for event, line in zip(written, run.log(), strict=True):
        assert event.value == pytest.approx(line["nats_per_token"], rel=1e-6)


def test_what_is_no_callback_is_named(run_config, corpus, tmp_path):
    with pytest.raises(InputError, match="expected an object of a class below"):
        Trainer(corpus, run_config, tmp_path, [print])
    with pytest.raises(InputError, match="two callbacks are named 'average'"):
        Trainer(corpus, run_config, tmp_path, [Average(), Average()])
    with pytest.raises(InputError, match="unknown callback 'tensorbord': did you mean 'tensor-bo"):
        Trainer(corpus, run_config.replace(callbacks=(Named("tensorbord"),)), tmp_path)


def test_a_state_that_would_be_lost_is_told(run_config, tmp_path):
    config = with_training(run_config, steps=4, save_every=2)
    with pytest.raises(Stop):
        train(config, tmp_path / "run", callbacks=[Average(), Halt(3)])
    with pytest.raises(InputError, match="trained with callback average, which has a state: give"):
        train(config, tmp_path / "run", resume=True)
    train(config, tmp_path / "run", callbacks=[Average()], resume=True)


def test_a_state_that_cannot_be_read_again_is_told_before_it_is_saved(run_config, tmp_path):
    class Odd(Average):
        def state_dict(self):
            return {"mean": Stop}

    with pytest.raises(InputError, match=r"callback odd.* state.* tensors and plain"):
        train(with_training(run_config, steps=2), tmp_path / "run", callbacks=[Odd()])
    assert not (tmp_path / "run" / "trainer.pt").exists()


def test_they_are_found_by_name_and_path(text_file, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(
        "from ltm_pyro.runs.callbacks import Callback\n\n\n"
        "class Shout(Callback):\n"
        "    def after(self, trainer, report, line):\n"
        "        line['shout'] = 'step ' + str(line['step'])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    out = str(tmp_path / "run")
    words = ["train", "--data", str(text_file), "--out", out, "--steps", "2", "--batch", "2",
             "--vocabulary", "300", "--callback", "mine:Shout", "--quiet"]  # fmt: skip
    assert cli.main(words) == 0
    run = ltm.load(out)
    assert run.config.callbacks == (Named("mine:Shout"),)
    assert [line["shout"] for line in run.log()] == ["step 1", "step 2"]
    assert json.loads((run.path / "config.json").read_text())["config"]["callbacks"]
    assert cli.main([*words[:3], "--out", out + "2", "--callback", "nothing"]) == 2
    assert "unknown callback 'nothing'" in capsys.readouterr().err


def test_the_baseline_trains_in_the_run_s_world(run_config, corpus, tmp_path):
    """Its share of a batch and its gradients go through the same seam as the model's."""
    asked = []

    class Listening(World):
        def gradients(self, parameters, seen, batch):
            asked.append(len(list(parameters)))
            return seen

    config = with_training(run_config, steps=2, baseline=True)
    trainer = Trainer(corpus, config, tmp_path / "r", world=Listening())
    trainer.run(progress=False)
    both = [trainer.svi, trainer.callbacks[0].svi]
    assert asked == [len(svi.global_parameters()) for svi in both] * 2
