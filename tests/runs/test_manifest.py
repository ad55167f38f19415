"""A run's files are sealed: what is damaged, cut, missing or another run's is named."""

import errno
import json
import random
import shutil

import pytest

import ltm_pyro as ltm
from ltm_pyro import files
from ltm_pyro.commands import cli
from ltm_pyro.config import Warm
from ltm_pyro.errors import Damaged, InputError, Notice
from ltm_pyro.runs import folder
from ltm_pyro.runs.callbacks import Callback
from ltm_pyro.runs.manifest import Manifest, Seal
from ltm_pyro.runs.verify import verify

from . import damage
from .helpers import equal, flip, train, weights, with_training

WARM = ("memory.npy", "memory.staged.npz")
TEXT = ("tokenizer.json", "seen.npy")  # which depend on the text alone
SEALED = [name for name in folder.FILES if name != folder.LOCK]


@pytest.fixture
def warm(run_config, tmp_path):
    """A run with every file that a run can have; documents come twice."""
    config = with_training(run_config, steps=8, batch=16, check_every=4, save_every=3)
    return train(config.replace(warm=Warm(2)), tmp_path / "run")


def copied(path, tmp_path, name="copy"):
    return shutil.copytree(path, tmp_path / name)


def test_a_whole_run_is_told_so(warm, capsys):
    found = verify(warm.path)
    assert set(found) == {*SEALED, *WARM}
    assert set(found.values()) == {"whole"}
    assert cli.main(["info", str(warm.path), "--verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": found}
    for place in (warm.path / name for name in (*SEALED, "memory.staged.npz")):
        if place.name != folder.MANIFEST:
            [seal] = Manifest.read(warm.path).files[place.name]
            assert (seal.size, seal.sha256) == (
                place.stat().st_size, Seal.of(place.read_bytes()).sha256
            )  # fmt: skip


@pytest.mark.parametrize("count", [26, pytest.param(500, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_found(warm, tmp_path, count):
    """By whoever verifies the run, and by what reads the file."""
    (tmp_path / "damaged").mkdir()
    found, unnoticed = damage.sweep(warm.path, tmp_path / "damaged", count)
    assert set(found) == {*SEALED, *WARM}
    assert sum(counter["flips"] for counter in found.values()) >= count
    assert unnoticed == []
    assert all(counter["readers"] for name, counter in found.items() if name != "memory.npy")


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.pt", "config.json", "manifest.json",
                                  "tokenizer.json", "log.jsonl", "best.safetensors"])  # fmt: skip
def test_a_flipped_bit_is_found_by_whatever_reads_it(run_config, tmp_path, name, trained):
    run = trained()
    source = random.Random(1)
    for _ in range(3):
        path = copied(run.path, tmp_path)
        flip(path / name, source.randrange(8 * (path / name).stat().st_size))
        again = with_training(run_config, steps=5)
        if name == "model.safetensors":
            with pytest.warns(Notice, match=r"model.safetensors is damaged.*of iteration 4 are"):
                assert equal(weights(ltm.load(path).model), weights(run.model))
        elif name == "trainer.pt":
            with pytest.warns(Notice, match=r"trainer.pt is damaged.*checkpoint before is used"):
                train(again, path, resume=True)
        else:
            with pytest.raises(Damaged, match=f"{name} is damaged"):
                ltm.load(path, "best" if name.startswith("best") else "last").log()
        shutil.rmtree(path)


def test_a_run_with_a_damaged_checkpoint_ends_as_if_nothing_had_been(run_config, tmp_path):
    """From the checkpoint before, also with a warm start, and again if it is killed meanwhile."""
    config = with_training(run_config, steps=11, batch=16, check_every=20, save_every=3)
    config = config.replace(warm=Warm(2))
    whole = train(config, tmp_path / "whole")
    halfway = train(
        with_training(config, steps=9), tmp_path / "half"
    )  # at another rate: not the same

    class Stop(Exception):
        pass

    def stop(trainer, report, line):
        if trainer.svi.done == 10:
            raise Stop

    class Halt(Callback):
        after = staticmethod(stop)

    del halfway
    with pytest.raises(Stop):
        train(config, tmp_path / "run", callbacks=[Halt()])
    for name, at in (("trainer.pt", 900), ("memory.staged.npz", 900)):
        path = copied(tmp_path / "run", tmp_path, name)
        flip(path / name, at)
        with pytest.raises(Stop), pytest.warns(Notice, match="checkpoint before is used"):
            train(config, path, resume=True, callbacks=[Halt()])  # and again, before it saves
        resumed = train(config, path, resume=True)
        assert resumed.record["resumed"][0]["step"] == 6
        assert equal(weights(whole.model), weights(resumed.model))
        assert set(verify(path).values()) == {"whole"}


def test_a_missing_cut_or_foreign_memory_is_named(warm, run_config, tmp_path):
    config = with_training(warm.config, steps=9)
    other = train(with_training(warm.config, seed=3), tmp_path / "other")

    def missing(place):
        place.unlink()

    def cut(place):
        place.write_bytes(place.read_bytes()[:-8])

    def foreign(place):
        shutil.copy(other.path / place.name, place)

    for i, change in enumerate((missing, cut, foreign)):
        path = copied(warm.path, tmp_path, f"array{i}")
        change(path / "memory.npy")
        with pytest.raises(Damaged, match=r"memory.*(damaged|missing)"):
            train(config, path, resume=True)
        path = copied(warm.path, tmp_path, f"staged{i}")
        change(path / "memory.staged.npz")
        with pytest.warns(Notice, match="checkpoint before is used"):
            assert train(config, path, resume=True).step == 9


@pytest.mark.parametrize(
    "name", ["model.safetensors", "trainer.pt", "config.json", "manifest.json"]
)
def test_a_file_of_another_run_of_the_same_shape_is_named(run_config, tmp_path, name, trained):
    run = trained()
    other = train(with_training(run_config, seed=3), tmp_path / "other")
    shutil.copy(other.path / name, run.path / name)
    found = verify(run.path)
    wrong = {one for one, state in found.items() if state != "whole"}
    assert wrong == ({name} if name != "manifest.json" else set(SEALED) - {name, *TEXT})


def test_a_trainer_state_says_whose_it_is(run_config, tmp_path, trained):
    """Also where its file was accepted as it is."""
    run = trained()
    other = train(with_training(run_config, seed=3), tmp_path / "other")
    for name in ("trainer.pt", "trainer.previous.pt"):
        shutil.copy(other.path / name, run.path / name)
    folder.seal(run.path)
    with pytest.raises(Damaged, match=r"trainer.pt is another run's: put back this run's own"):
        train(with_training(run_config, steps=5), run.path, resume=True)


def test_a_file_system_without_second_names_will_do(run_config, tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(files.os, "link", no_links)
    run = train(with_training(run_config, steps=6), tmp_path / "run")
    assert set(verify(run.path).values()) == {"whole"}
    flip(run.path / "trainer.pt", 999)
    with pytest.warns(Notice, match=r"from trainer.previous.pt"):
        assert train(with_training(run_config, steps=6), run.path, resume=True).step == 6


def test_what_was_changed_on_purpose_can_be_sealed(trained, capsys):
    run = trained()
    place = run.path / "config.json"
    place.write_text(place.read_text().replace('"threads"', '"cores"'))
    capsys.readouterr()
    with pytest.raises(Damaged, match=r"config.json is damaged, or another run's .* --seal"):
        ltm.load(run.path)
    assert cli.main(["info", str(run.path), "--verify"]) == 2
    told = capsys.readouterr()
    assert "config.json          damaged" in told.out
    assert f"{run.path}: config.json cannot be relied on: put back" in told.err
    assert cli.main(["info", str(run.path), "--seal"]) == 0
    assert "cores" in ltm.load(run.path).record
    (run.path / "manifest.json").unlink()
    with pytest.raises(Damaged, match=r"has no manifest.json, so its files cannot be checked"):
        ltm.load(run.path)
    with pytest.raises(Damaged, match=r"has no manifest.json"):
        verify(run.path)
    assert cli.main(["info", str(run.path), "--seal"]) == 0
    assert ltm.load(run.path).step == 4
    assert cli.main(["info", "small", "--verify"]) == 2


def test_a_run_of_the_format_before_is_read_with_a_word_and_sealed_by_a_resume(
    run_config, capsys, trained
):
    run = trained()
    place = run.path / "config.json"
    record = json.loads(place.read_text()) | {"format": 3}
    del record["id"]
    place.write_text(json.dumps(record))
    for name in ("manifest.json", "trainer.previous.pt", ".lock"):
        (run.path / name).unlink()
    with pytest.warns(Notice, match=r"written before runs had a manifest.json: its files are not"):
        assert equal(weights(ltm.load(run.path).model), weights(run.model))
    assert cli.main(["info", str(run.path), "--verify"]) == 2
    assert "--seal writes one" in capsys.readouterr().err
    with pytest.warns(Notice, match="not checked"):
        train(with_training(run_config, steps=6), run.path, resume=True)
    assert set(verify(run.path).values()) == {"whole"}
    assert ltm.load(run.path).record["format"] == 4


def test_a_reader_sees_no_damage_while_a_run_is_written(run_config, tmp_path, monkeypatch):
    """Between any two things that a writer does, everything it has written is whole."""
    path, seen = tmp_path / "run", []
    put, move = files.put, files.move

    def look():
        if (path / "config.json").exists():
            states = verify(path)
            assert set(states.values()) == {"whole"}
            seen.append(len(states))

    def put_and_look(*arguments):
        look()
        return put(*arguments)

    def move_and_look(*arguments):
        look()
        move(*arguments)

    monkeypatch.setattr(files, "put", put_and_look)
    monkeypatch.setattr(files, "move", move_and_look)
    train(with_training(run_config, steps=6), path)
    assert len(seen) > 20
    assert set(seen) == {5, 6, 7, 8, 9}


def test_a_reader_whose_manifest_is_old_reads_the_new_one(run_config, trained):
    run = trained()
    old = Manifest.read(run.path)
    train(with_training(run_config, steps=6), run.path, resume=True)
    assert old.state("model.safetensors") == "whole"
    flip(run.path / "model.safetensors", 999)
    assert old.state("model.safetensors").startswith("damaged")


def test_another_writer_is_noticed_without_locks(trained):
    run = trained()
    one, other = Manifest.read(run.path), Manifest.read(run.path)
    one.replace([("config.json", (run.path / "config.json").read_bytes() + b"\n")])
    with pytest.raises(InputError, match=r"another process writes into .*run: this one stops"):
        other.replace([("config.json", b"{}")])
    assert ltm.load(run.path).step == 4
