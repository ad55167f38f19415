import dataclasses
import json
import os
import signal
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Config, Fast, Named, Warm
from ltm_pyro.errors import InputError
from ltm_pyro.files.lock import LOCK
from ltm_pyro.runs import callbacks, folder
from ltm_pyro.runs import looks as held_out
from ltm_pyro.runs.config_json import from_dict, to_dict
from ltm_pyro.runs.trainer import Trainer

from .helpers import equal, train, weights, with_training


def test_a_run_is_all_in_its_folder(run_config, tmp_path):
    notes = []
    run = train(with_training(run_config, baseline=True), tmp_path / "run", note=notes.append)
    assert {p.name for p in run.path.iterdir()} == set(folder.FILES)
    assert run.step == 4
    log = run.log()
    assert [line["step"] for line in log] == [1, 2, 3, 4]
    assert {"nats_per_token", "kl_per_token", "baseline_nats_per_token", "seconds"} <= set(log[0])
    assert {"held_out_elbo", "held_out_standard_error", "held_out_baseline"} <= set(log[1])
    assert len(notes) == 2
    assert notes[-1].startswith("step 4: held-out bound")
    again = ltm.load(run.path)
    assert equal(weights(again.model), weights(run.model))
    assert equal(weights(again.baseline), weights(run.baseline))
    assert again.config == run.config
    assert again.record["versions"]["torch"] == torch.__version__


def test_a_loaded_run_gives_the_same_figures(run_config, corpus, tmp_path):
    run = train(run_config, tmp_path / "run")
    svi = Trainer(corpus, run_config, tmp_path / "other").svi
    svi.fit(corpus.train, 4, 4, progress=False)
    assert equal(weights(run.model), weights(svi.model))
    figures = [
        ltm.evaluate(m, corpus.train[:6], ["elbo:2"], repeat=0, progress=False)[
            "elbo"
        ].nats_per_token
        for m in (run.model, svi.model)
    ]
    assert figures[0] == figures[1]


def test_resuming_equals_never_having_stopped(run_config, corpus, tmp_path):
    config = with_training(run_config, steps=6, baseline=True, save_every=3)
    whole = train(config, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(line):
        if line.startswith("step 4"):
            raise Stop

    with pytest.raises(Stop):  # after the checkpoint of step 3
        train(config, tmp_path / "halted", note=stop)
    resumed = train(config, tmp_path / "halted", resume=True)
    assert resumed.step == 6
    assert equal(weights(whole.model), weights(resumed.model))
    assert equal(weights(whole.baseline), weights(resumed.baseline))

    def lines(run):
        return [{k: v for k, v in line.items() if k != "seconds"} for line in run.log()]

    assert lines(whole) == lines(resumed)


@pytest.mark.parametrize(
    "names", [("both",), pytest.param(("joint", "warm", "shared"), marks=pytest.mark.slow)]
)
def test_a_warm_start_and_what_guides_share_go_on_too(run_config, tmp_path, names):
    """Stopped between checkpoints, both end as the run that was not."""
    amortized = run_config.replace(guide=Named("semi-amortized", {"width": 8}))
    configs = {
        "warm": run_config.replace(warm=Warm(3)),
        "shared": amortized,
        "both": amortized.replace(warm=Warm(3)),
        "joint": with_training(ltm.joint_protocol(run_config), baseline=True),
    }
    for name in names:
        config = configs[name]
        # Two epochs and more, so that documents come again.
        config = with_training(config, steps=12, batch=16, check_every=1, save_every=4)
        whole = train(config, tmp_path / name)

        def stop(line):
            if line.startswith("step 10"):
                raise KeyError

        halted = tmp_path / f"{name}-halted"
        with pytest.raises(KeyError):
            train(config, halted, note=stop)
        resumed = train(config, halted, resume=True)
        assert equal(weights(whole.model), weights(resumed.model))
        for file in ("model.safetensors", "memory.npy", "memory.staged.npz"):
            if (whole.path / file).exists():
                assert (whole.path / file).read_bytes() == (halted / file).read_bytes()
        cold = train(config.replace(warm=None), tmp_path / f"{name}-cold")
        if config.warm is not None:
            assert (halted / "memory.npy").exists()
            assert not equal(weights(whole.model), weights(cold.model))
    has_shared = next(name for name in names if name in ("both", "shared"))
    kept = safetensors.torch.load_file(tmp_path / has_shared / "model.safetensors")
    assert any(k.startswith("guide.") for k in kept)


def test_training_has_the_visit_steps_of_its_configuration(run_config, corpus, tmp_path):
    svi = Trainer(corpus, run_config.replace(warm=Warm(2)), tmp_path).svi
    svi.remember(corpus.train)
    assert len(svi.step(corpus.train[:4]).inner.lr) == 2
    assert len(svi.infer(corpus.train[:4]).inner.lr) == run_config.fast.steps == 1


def test_a_point_guide_is_refused(run_config, tmp_path):
    with pytest.raises(InputError, match="guide 'point' has no density, so a run would have no"):
        train(run_config.replace(guide=Named("point")), tmp_path / "run")


def test_a_run_is_replaced_once_there_is_another(run_config, tmp_path, monkeypatch):
    """One that comes to no checkpoint leaves the old run beside it, however often it is tried."""
    run = train(run_config, tmp_path / "run")
    files = {one.name: one.read_bytes() for one in run.path.iterdir() if one.name != LOCK}
    aside = run.path / folder.REPLACED
    broken = run_config.replace(fast=Fast(steps=2, lr=1e30))
    for _ in range(2):
        with pytest.raises(ltm.NotFinite, match="no checkpoint was saved yet; the run"):
            train(broken, run.path, overwrite=True)
        assert {one.name: one.read_bytes() for one in aside.iterdir()} == files
    move, left = os.replace, iter(range(3))

    def stops(*places):
        if places[1].parent == aside and next(left, None) is None:
            raise KeyboardInterrupt
        move(*places)

    for one in list(aside.iterdir()):
        move(one, run.path / one.name)
    monkeypatch.setattr("ltm_pyro.runs.folder.os.replace", stops)
    with pytest.raises(KeyboardInterrupt):
        train(broken, run.path, overwrite=True)
    monkeypatch.undo()
    with pytest.raises(ltm.NotFinite):
        train(broken, run.path, overwrite=True)
    assert {one.name: one.read_bytes() for one in aside.iterdir()} == files
    train(run_config, run.path, overwrite=True)
    assert not aside.exists()


def test_a_folder_with_a_run_is_not_overwritten_unasked(run_config, tmp_path):
    run = train(run_config, tmp_path / "run")
    before = weights(run.model)
    with pytest.raises(InputError, match="already holds a run: add --resume"):
        train(run_config, run.path)
    assert equal(before, weights(ltm.load(run.path).model))
    done = train(run_config, run.path, resume=True)  # nothing left to do
    assert equal(before, weights(done.model))
    other = with_training(run_config, seed=5)
    assert not equal(before, weights(train(other, run.path, overwrite=True).model))
    assert not (run.path / folder.REPLACED).exists()
    with pytest.raises(InputError, match="holds no run to resume"):
        train(run_config, tmp_path / "none", resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        train(run_config, tmp_path / "file")


def test_another_configuration_cannot_resume_a_run(run_config, tmp_path):
    train(run_config, tmp_path / "run")
    architecture = dataclasses.replace(run_config.architecture, width=32)
    with pytest.raises(InputError, match="was trained with another configuration"):
        train(run_config.replace(architecture=architecture), tmp_path / "run", resume=True)


def test_other_text_cannot_resume_a_run(run_config, text_file, tmp_path):
    train(run_config, tmp_path / "run")
    text_file.write_text(text_file.read_text() + '{"text": "one more"}\n')
    with pytest.raises(InputError, match="was trained on other text"):
        train(run_config, tmp_path / "run", resume=True)


def test_configurations_survive_json(run_config):
    config = run_config.replace(guide=Named("mean-field", {"log_variance": -1.0}))
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config
    data = to_dict(config)
    data["fast"]["stps"] = 3
    with pytest.raises(
        InputError, match=r"unknown field of config.fast 'stps': did you mean 'steps'"
    ):
        from_dict(Config, data)
    data = to_dict(config)
    del data["architecture"]["vocabulary"]
    with pytest.raises(InputError, match=r"config.architecture: .*missing.*'vocabulary'"):
        from_dict(Config, data)
    with pytest.raises(InputError, match=r"slow.optimizer is <class"):
        to_dict(config.replace(slow=ltm.Slow(optimizer=torch.optim.SGD)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_leaves_and_a_resume_ends_the_same(run_config, tmp_path, number):
    config = with_training(run_config, steps=5, check_every=1, save_every=100)
    whole = train(config, tmp_path / "whole")
    before = signal.getsignal(number)

    def interrupt(line):
        if line.startswith("step 2"):
            os.kill(os.getpid(), number)

    stopped = train(config, tmp_path / "stopped", note=interrupt)
    assert stopped.step == 2
    assert signal.getsignal(number) is before
    resumed = train(config, tmp_path / "stopped", resume=True)
    assert resumed.step == 5
    assert equal(weights(whole.model), weights(resumed.model))


def test_a_nan_names_site_batch_and_the_last_good_checkpoint(run_config, corpus, tmp_path):
    config = with_training(run_config, check_every=3, save_every=2)
    trainer = Trainer(corpus, config, tmp_path / "r")
    save = trainer.save

    def poison():
        save()
        if trainer.svi.done == 3:
            with torch.no_grad():
                trainer.svi.model.decoder.norm.weight.fill_(torch.nan)

    trainer.save = poison
    with pytest.raises(ltm.NotFinite, match=r"site 'tokens' .* rows \[0.*last good checkpoint, of "
                       "iteration 3, is in .*--resume"):  # fmt: skip
        trainer.run(progress=False)
    assert ltm.load(tmp_path / "r").step == 3


def test_weights_that_are_not_finite_are_not_saved(run_config, corpus, tmp_path):
    trainer = Trainer(corpus, with_training(run_config, check_every=1), tmp_path / "r")

    def poison(line):
        if line.startswith("step 3"):
            with torch.no_grad():
                trainer.svi.model.decoder.norm.weight.fill_(torch.nan)

    with pytest.raises(
        ltm.NotFinite,
        match=r"parameter decoder.norm.weight is not finite after iteration 3; .*iteration 2",
    ):
        trainer.run(progress=False, note=poison)
    run = ltm.load(tmp_path / "r")
    assert run.step == 2
    assert all(p.isfinite().all() for p in run.model.parameters())


def test_a_corpus_of_other_tokens_is_refused(run_config, text_file, tmp_path):
    other = ltm.load_corpus(text_file, length=12, vocabulary=270)
    with pytest.raises(InputError, match=r"tokens of 270 kinds .* the configuration is for 300"):
        train(run_config, tmp_path / "run", corpus=other)
    train(run_config, tmp_path / "run")
    other.tokenizer.save(tmp_path / "run" / "tokenizer.json")
    with pytest.raises(InputError, match=r"tokens of 270 kinds"):
        train(run_config, tmp_path / "run", corpus=other, resume=True)


def test_the_record_tells_where_a_run_came_from(run_config, corpus, tmp_path):
    begun = datetime.now(UTC).replace(microsecond=0)  # a record has no fractions of seconds
    run = train(run_config, tmp_path / "run", corpus=corpus)
    record = run.record
    assert set(record["versions"]) == {"ltm_pyro", "torch", "pyro", "tokenizers", "python"}
    assert (record["seed"], record["of"]) == (0, 4)
    assert record["threads"] == torch.get_num_threads()
    assert record["command"]
    assert begun <= datetime.fromisoformat(record["started"]) <= datetime.now(UTC)
    assert record["data"]["source"] == corpus.name
    assert record["data"]["fingerprint"] == corpus.fingerprint
    assert record["data"]["splits"]["train"] == {
        "rows": len(corpus.train),
        "tokens": corpus.train.token_count,
        "bytes": int(corpus.train.bytes.sum()),
    }
    assert record["resumed"] == []
    train(with_training(run_config, steps=5), run.path, resume=True)
    again = ltm.load(run.path)
    [resumed] = again.record["resumed"]
    assert (resumed["step"], resumed["of"]) == (4, 5)
    assert resumed["command"]
    assert resumed["versions"] == record["versions"]
    assert again.config.training.steps == 5
    kept = ("versions", "command", "started", "data", "seed")
    assert {k: again.record[k] for k in kept} == {k: record[k] for k in kept}


def test_seconds_cover_looks_and_saving(run_config, tmp_path, monkeypatch):
    """By a clock that stands still but while a run looks (5 seconds) or saves (2)."""
    clock, look, save = [0.0], held_out.look, Trainer.save

    def looked(*arguments):
        clock[0] += 5
        return look(*arguments)

    def saved(trainer):
        clock[0] += 2
        save(trainer)

    monkeypatch.setattr(callbacks, "look", looked)
    monkeypatch.setattr(Trainer, "save", saved)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    run = train(run_config, tmp_path / "run")  # it looks and saves after steps 2 and 4
    assert [line["seconds"] for line in run.log()] == [0, 5, 2, 5]
