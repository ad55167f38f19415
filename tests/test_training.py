import dataclasses
import json
import os
import signal

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro import checkpoint
from ltm_pyro.config import Config, Named, from_dict, to_dict
from ltm_pyro.errors import InputError
from ltm_pyro.training import Trainer


def with_training(config, **changes):
    return config.replace(training=dataclasses.replace(config.training, **changes))


def train(config, out, **rest):
    return ltm.train(config, out, progress=False, **rest)


def weights(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def equal(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_is_all_in_its_folder(run_config, tmp_path):
    notes = []
    run = train(with_training(run_config, baseline=True), tmp_path / "run", note=notes.append)
    assert {p.name for p in run.path.iterdir()} == set(checkpoint.FILES)
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
        ltm.evaluate(m, corpus.train[:6], ["elbo:2"], progress=False)["elbo"].nats_per_token
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


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("config.json", None, "is not a run: it has no config.json"),
        ("config.json", b'{"format": 1', "config.json is damaged"),
        ("config.json", b'{"format": 99, "config": {}}', "written in format 99; this version"),
        ("model.safetensors", None, "model.safetensors is missing"),
        ("model.safetensors", b"\x08\x00\x00", "model.safetensors is damaged"),
        ("tokenizer.json", b"{}", "cannot load tokenizer"),
    ],
)
def test_a_damaged_run_is_named(run_config, tmp_path, name, damage, message):
    run = train(run_config, tmp_path / "run")
    path = run.path / name
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(InputError, match=message):
        ltm.load(run.path)


def test_a_run_with_anothers_tokenizer_is_refused(run_config, tmp_path):
    run = train(run_config, tmp_path / "run")
    ltm.Tokenizer.train(["abc"], 290).save(run.path / "tokenizer.json")
    with pytest.raises(InputError, match="it belongs to another run"):
        ltm.load(run.path)


def test_a_pickle_is_not_run(run_config, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    run = train(run_config, tmp_path / "run")
    torch.save({"model": Evil()}, run.path / "trainer.pt")
    with pytest.raises(InputError, match=r"trainer.pt is damaged or not a trainer state"):
        train(run_config, run.path, resume=True)
    assert not (tmp_path / "pwned").exists()


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
    trainer = Trainer(
        corpus, with_training(run_config, check_every=1, save_every=2), tmp_path / "r"
    )

    def poison(line):
        if line.startswith("step 3"):
            with torch.no_grad():
                trainer.svi.model.decoder.norm.weight.fill_(torch.nan)

    with pytest.raises(ltm.NotFinite, match=r"site 'tokens' .* rows \[0.*last good checkpoint, of "
                       "iteration 2, is in"):  # fmt: skip
        trainer.run(progress=False, note=poison)
    assert ltm.load(tmp_path / "r").step == 2
