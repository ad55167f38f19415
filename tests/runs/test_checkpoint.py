"""What a run's folder holds: the last and the best weights, and what happens if it is damaged."""

import dataclasses
import errno
import json

import pytest
import safetensors
import torch

import ltm_pyro as ltm
from ltm_pyro import files
from ltm_pyro.errors import Damaged, InputError, Notice
from ltm_pyro.runs import folder, trainer
from ltm_pyro.runs.trainer import Trainer

from .helpers import equal, train, weights, with_training


def forced(monkeypatch, bounds):
    """Looks that see these bounds, one after another: a training whose best is known."""
    seen = iter(bounds)

    def look(*_):
        found = {"held_out_elbo": next(seen), "held_out_kl": 0.0, "held_out_prior": 9.0}
        return {**found, "held_out_standard_error": 0.1}

    monkeypatch.setattr("ltm_pyro.runs.callbacks.look", look)


def looks(run):
    return {line["step"]: line["held_out_elbo"] for line in run.log() if "held_out_elbo" in line}


def test_the_best_look_is_kept_with_its_step_and_bound(run_config, tmp_path, monkeypatch):
    forced(monkeypatch, [5.0, 4.0, 4.5, 4.0])
    config = with_training(run_config, steps=8, baseline=True, save_every=3)
    run = train(config, tmp_path / "run")
    best = ltm.load(run.path, checkpoint="best")
    assert (best.step, run.step) == (4, 8)  # the first of two that are as good
    with safetensors.safe_open(run.path / "best.safetensors", "pt") as file:
        assert file.metadata() == {"step": "4", "held_out_elbo": "4.0"}
    forced(monkeypatch, [5.0, 4.0])
    halfway = Trainer(ltm.load_data(config), config, tmp_path / "other")

    class Enough(Exception):
        pass

    def stop(line):
        if line.startswith("step 4"):
            raise Enough

    with pytest.raises(Enough):
        halfway.run(progress=False, note=stop)
    assert equal(weights(best.model), weights(halfway.svi.model))
    assert equal(weights(best.baseline), weights(halfway.callbacks[0].svi.model))
    assert not equal(weights(best.model), weights(run.model))


def test_the_real_bound_chooses(run_config, tmp_path):
    run = train(with_training(run_config, steps=6, check_every=1), tmp_path / "run")
    seen = looks(run)
    assert len(seen) == 6
    assert ltm.load(run.path, "best").step == min(seen, key=seen.get)


@pytest.mark.parametrize("bounds", [[5, 4, 4.5, 4.2], [4, 5, 4.5, 4.2], [5, 4.5, 4.2, 4]])
def test_the_best_of_a_resumed_run_is_that_of_one_that_never_stopped(
    run_config, tmp_path, monkeypatch, bounds
):
    config = with_training(run_config, steps=8, save_every=3)
    forced(monkeypatch, bounds)
    whole = train(config, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(line):
        if line.startswith("step 6"):
            raise Stop

    forced(monkeypatch, bounds)
    with pytest.raises(Stop):
        train(config, tmp_path / "halted", note=stop)
    saved = Trainer(ltm.load_data(config), config, tmp_path / "halted")
    saved.resume()
    forced(monkeypatch, bounds[saved.svi.done // 2 :])
    resumed = train(config, tmp_path / "halted", resume=True)
    assert looks(resumed) == looks(whole)
    one, other = (ltm.load(run.path, "best") for run in (whole, resumed))
    assert one.step == other.step == 2 * (bounds.index(min(bounds)) + 1)
    assert equal(weights(one.model), weights(other.model))


def test_a_best_checkpoint_is_never_of_a_future_that_is_not_reached(
    run_config, tmp_path, monkeypatch
):
    forced(monkeypatch, [5.0, 4.0])
    config = with_training(run_config, steps=8, save_every=100)
    calls = []
    packed = trainer.packed

    def killed(state):
        calls.append(state["callbacks"]["looks"]["best"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return packed(state)

    monkeypatch.setattr(trainer, "packed", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run")
    assert ltm.load(tmp_path / "run", "best").step == ltm.load(tmp_path / "run").step == 2


def test_a_best_that_was_lost_between_two_files_is_written_by_the_resume(
    run_config, tmp_path, monkeypatch
):
    config = with_training(run_config, steps=6)
    forced(monkeypatch, [4.0, 5.0, 6.0])
    whole = train(config, tmp_path / "whole")

    def killed(beside, path):
        if path.name == folder.BEST:
            raise KeyboardInterrupt
        move(beside, path)

    move = files.move
    forced(monkeypatch, [4.0])
    with monkeypatch.context() as patch:
        patch.setattr(files, "move", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run")
    with pytest.raises(InputError, match="has no best checkpoint"):
        ltm.load(tmp_path / "run", "best")
    forced(monkeypatch, [5.0, 6.0])
    train(config, tmp_path / "run", resume=True)
    one, other = (ltm.load(path, "best") for path in (whole.path, tmp_path / "run"))
    assert one.step == other.step == 2
    assert equal(weights(one.model), weights(other.model))


def test_without_validation_rows_there_is_no_best(run_config, corpus, tmp_path):
    without = dataclasses.replace(corpus, valid=corpus.valid[:0])
    run = train(run_config, tmp_path / "run", corpus=without)
    assert looks(run)  # of the test split, which must not choose
    assert not (run.path / "best.safetensors").exists()
    with pytest.raises(InputError, match=r"has no best checkpoint: .*validation split.*last one"):
        ltm.load(run.path, "best")
    nothing = dataclasses.replace(without, test=corpus.test[:0])
    assert not looks(train(run_config, tmp_path / "other", corpus=nothing))
    with pytest.raises(InputError, match="unknown checkpoint 'bets': did you mean 'best'"):
        ltm.load(run.path, "bets")


def test_what_a_killed_process_left_is_cleaned(run_config, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for name in (".model.safetensors.123", ".trainer.pt.45", ".config.json.6"):
        (out / name).write_text("half of it")
    keep = [out / ".config.json.bak", out / "notes.txt", out / ".7"]
    for path in keep:
        path.write_text("mine")
    train(run_config, out)
    assert {p.name for p in out.iterdir()} == {*folder.FILES, *(p.name for p in keep)}
    (out / ".best.safetensors.9").write_text("half of it")
    train(with_training(run_config, steps=5), out, resume=True)
    assert {p.name for p in out.iterdir()} == {*folder.FILES, *(p.name for p in keep)}


def test_a_run_is_told_from_what_is_left_of_one(run_config, trained):
    run = trained()
    (run.path / "config.json").unlink()  # as a killed --overwrite leaves it
    for resume in (False, True):
        with pytest.raises(InputError, match=r"left of a run, without its config\.json: put"):
            train(run_config, run.path, resume=resume)
    assert train(run_config, run.path, overwrite=True).step == 4


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EDQUOT])
def test_a_disk_that_does_not_take_a_file_leaves_the_old_one(tmp_path, monkeypatch, call, number):
    path = tmp_path / "file"
    files.write(path, b"old")

    def fails(*_):
        raise OSError(number, "the reason")

    monkeypatch.setattr(files.os, call, fails)
    with pytest.raises(files.CannotWrite, match=r"cannot write .*file: the reason .*; what was"):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_while_saving_keeps_the_checkpoint_before(run_config, tmp_path, monkeypatch):
    config = with_training(run_config, steps=6, save_every=2, check_every=100)
    whole = train(config, tmp_path / "whole")
    replace, calls = files.os.replace, []

    def fills(source, target):
        calls.append(target.name)
        if calls.count("trainer.pt") == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fills)
    message = r"trainer.pt: No space left on device \(make.*of iteration 2, is in .*--resume --out"
    with pytest.raises(InputError, match=message):
        train(config, tmp_path / "full")
    assert ltm.load(tmp_path / "full").step == 2
    monkeypatch.setattr(files.os, "replace", replace)
    assert equal(weights(train(config, tmp_path / "full", resume=True).model), weights(whole.model))


def test_a_full_disk_is_told_by_the_log_too(tmp_path):
    with pytest.raises(files.CannotWrite, match=r"cannot write /dev/full: No space left on device"):
        files.append(type(tmp_path)("/dev/full"), "{}")


def test_a_torn_end_is_passed_over_and_a_damaged_line_named(tmp_path):
    path = tmp_path / "log.jsonl"
    assert files.json_lines(path) == []
    path.write_bytes(b'{"step": 1}\n{"step": 2, "na')
    assert files.json_lines(path) == [{"step": 1}]
    for damaged in (b'{"step": 1}\nnonsense\n', b'{"step": 1}\n[]\n', b'{"step": 1}\n{}\n',
                    b'{"step": 1}\n\x00\x00\n'):  # fmt: skip
        path.write_bytes(damaged + b'{"step": 3}\n')
        with pytest.raises(InputError, match=r"log.jsonl is damaged in line 2: expected a JSON"):
            files.json_lines(path)


def test_a_pickle_is_not_run(run_config, tmp_path, trained):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    run = trained()
    for name in ("trainer.pt", "trainer.previous.pt"):
        torch.save({"model": Evil()}, run.path / name)
    with pytest.raises(Damaged, match=r"trainer.pt is damaged, or another run's \(its SHA-256"):
        train(run_config, run.path, resume=True)
    folder.seal(run.path)
    with pytest.raises(Damaged, match=r"trainer.pt is damaged or not a trainer state"):
        train(run_config, run.path, resume=True)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors",
                                  "best.safetensors", "trainer.pt"])  # fmt: skip
def test_a_file_cut_anywhere_is_named(run_config, name, trained):
    run = trained()
    path = run.path / name
    whole = path.read_bytes()

    def use():
        if name == "trainer.pt":
            return train(with_training(run_config, steps=5), run.path, resume=True)
        return ltm.load(run.path, "best" if name.startswith("best") else "last")

    kept = {p: p.read_bytes() for p in run.path.iterdir()}
    parts = (0, 1, 8, len(whole) // 4, len(whole) // 2, len(whole) - 3)
    for part in parts[::3] if name == "trainer.pt" else parts:
        path.write_bytes(whole[:part])
        said = name.replace(".", r"\.") + r" is damaged, or another run's"
        if name == "trainer.pt":
            with pytest.warns(Notice, match=said + ".*from trainer.previous.pt"):
                use()
        elif name == "model.safetensors":
            with pytest.warns(Notice, match=said + ".*of iteration 4 are used, from trainer.pt"):
                assert equal(weights(use().model), weights(run.model))
        else:
            with pytest.raises(Damaged, match=said):
                use()
        for other, data in kept.items():
            other.write_bytes(data)
    assert ltm.load(run.path).step == 4


def test_missing_weights_are_written_anew_by_a_resume(run_config, trained):
    run = trained()
    before = {name: weights(ltm.load(run.path, name).model) for name in ("last", "best")}
    (run.path / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model.safetensors is missing: .*--resume .* writes it"):
        ltm.load(run.path)
    train(run_config, run.path, resume=True)
    assert equal(before["last"], weights(ltm.load(run.path).model))


@pytest.mark.parametrize(
    ("written", "by", "mend"),
    [
        (99, "9.9", r"99; .*reads formats 3 and 4: upgrade to 9\.9"),
        (99, None, r"99; .*reads formats 3 and 4: upgrade to a later one"),
        (0, "0.0.1", r"0; .*reads formats 3 and 4: load it with 0\.0\.1"),
        ("old", None, r"old; .*reads formats 3 and 4: load it with an earlier one"),
    ],
)
def test_another_format_is_named_with_what_reads_it(trained, written, by, mend):
    run = trained()
    path = run.path / "config.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "format": written, "versions": by and {"ltm_pyro": by}}))
    if written != 99:  # a later format may have another manifest
        folder.seal(run.path)
    with pytest.raises(InputError, match=f"written in format {mend}"):
        ltm.load(run.path)


def test_a_run_with_anothers_tokenizer_or_weights_is_refused(run_config, text_file, tmp_path):
    run = train(run_config, tmp_path / "run")
    own = (run.path / "tokenizer.json").read_bytes()
    ltm.Tokenizer.train(["abc"], 290).save(run.path / "tokenizer.json")
    with pytest.raises(Damaged, match=r"tokenizer.json is damaged, or another run's"):
        ltm.load(run.path)
    folder.seal(run.path)
    with pytest.raises(InputError, match="it belongs to another run"):
        ltm.load(run.path)
    (run.path / "tokenizer.json").write_bytes(own)
    corpus = ltm.load_corpus(text_file, length=12, vocabulary=280)
    architecture = dataclasses.replace(run_config.architecture, vocabulary=corpus.vocabulary)
    other = train(run_config.replace(architecture=architecture), tmp_path / "b", corpus=corpus)
    (run.path / "model.safetensors").write_bytes((other.path / "model.safetensors").read_bytes())
    folder.seal(run.path)
    with pytest.raises(InputError, match=r"model.safetensors holds another model than config.json"):
        ltm.load(run.path)
