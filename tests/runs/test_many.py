"""Runs of several processes: one folder, one voice, and nothing lost with any of them."""

import contextlib
import dataclasses
import functools
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.commands import cli
from ltm_pyro.config import Fast, Warm
from ltm_pyro.inference.memory import Memory
from ltm_pyro.inference.processes import here
from ltm_pyro.runs import record
from ltm_pyro.runs.callbacks import Callback

from ..processes import begin, each, meeting_place, together
from .helpers import equal, train, weights, with_training

GOES_ON = r"ltm train --resume --out"


class Stop(Exception):
    pass


class Halt(Callback):
    """Ends every process after an iteration, with nothing saved on the way out."""

    def after(self, trainer, report, line):
        if trainer.svi.done == 5:
            raise Stop


class Kill(Callback):
    """Sends a signal to one process after an iteration: `KILL` is its number and the signal's."""

    def after(self, trainer, report, line):
        rank, number = map(int, os.environ["KILL"].split())
        marker = trainer.out / "killed"
        if (trainer.svi.done, here().rank) == (5, rank) and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), number)


def trained(config, corpus, out, resume=False, halt=False):
    """Weights of a run that this process was one of several in."""
    try:
        run = train(config, out, corpus=corpus, resume=resume, callbacks=[Halt()] if halt else [])
    except Stop:
        return None
    return weights(run.model)


def commanded(words, settings):
    """Exit code, standard output and standard error of a command, in one of several processes."""
    os.environ.update(settings)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(words)
    return code, out.getvalue(), err.getvalue()


def figures(run, *names):
    return torch.tensor([[line[name] for name in names] for line in run.log()])


def near(one, other):
    """The same weights but for the order of sums, in fp32."""
    return all(torch.allclose(one[k], other[k], rtol=1e-3, atol=1e-4) for k in one)


def remembered(run):
    """What a warm start remembers of each document."""
    memory = Memory(ltm.load_data(run.config, run.tokenizer).train, run.path)
    memory.open(run.step)
    return {place: torch.from_numpy(row.copy()) for place, row in memory._rows()}


@pytest.fixture(params=["fresh", "joint", "sharded"])
def protocol(request, run_config):
    config = with_training(run_config, steps=8, batch=6, save_every=2, check_every=4)
    if request.param == "sharded":
        config = config.replace(slow=dataclasses.replace(config.slow, sharded=True))
        return with_training(config, baseline=True, speak=0.5)
    if request.param == "joint":
        return config.replace(fast=Fast.quick(2), warm=Warm(0, lr=1.0))
    return with_training(config, baseline=True)


def test_a_run_of_two_processes_is_that_of_one(protocol, corpus, tmp_path):
    both = together(trained, protocol, corpus, tmp_path / "two")
    train(protocol, tmp_path / "one", corpus=corpus)
    one, two = ltm.load(tmp_path / "one"), ltm.load(tmp_path / "two")
    assert equal(both[0], both[1])
    assert equal(both[0], weights(two.model))
    assert near(weights(one.model), both[0])
    if one.baseline is not None:
        assert near(weights(one.baseline), weights(two.baseline))
    names = ("step", "tokens", "lr", "nats_per_token", "objective", "kl_per_token", "gradient_norm")
    torch.testing.assert_close(figures(one, *names), figures(two, *names), rtol=1e-3, atol=1e-4)
    looks = [[line for line in run.log() if "held_out_elbo" in line] for run in (one, two)]
    assert [look["step"] for look in looks[1]] == [4, 8]
    for mine, other in zip(*looks, strict=True):
        for name in (name for name in mine if name.startswith("held_out")):
            assert mine[name] == pytest.approx(other[name], rel=1e-3, abs=1e-3), name
    facts = [record.read_config(run.path)[1]["processes"] for run in (one, two)]
    assert facts == [1, 2]


@pytest.mark.parametrize("sizes", [(2, 1), (1, 2)], ids=["fewer", "more"])
def test_it_goes_on_with_another_number_of_processes(protocol, corpus, tmp_path, sizes, capsys):
    for size, more in zip(sizes, ({"halt": True}, {"resume": True}), strict=True):
        if size == 1:
            trained(protocol, corpus, tmp_path / "run", **more)
        else:
            together(functools.partial(trained, **more), protocol, corpus, tmp_path / "run")
    one, run = train(protocol, tmp_path / "one", corpus=corpus), ltm.load(tmp_path / "run")
    assert near(weights(one.model), weights(run.model))
    assert torch.equal(figures(one, "step", "tokens"), figures(run, "step", "tokens"))
    if protocol.warm is not None:
        mine, other = remembered(run), remembered(one)
        assert mine.keys() == other.keys()
        for place, row in mine.items():
            torch.testing.assert_close(row, other[place], rtol=1e-2, atol=1e-3)
    assert cli.main(["info", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["processes"] == sizes[1]


def words_for(text_file, out):
    return ["train", "--data", str(text_file), "--out", str(out), "--steps", "8", "--batch", "4",
            "--save-every", "2", "--vocabulary", "300", "--length", "12", "--fast.steps", "1",
            "--architecture.width", "16", "--architecture.heads", "2", "--quiet",
            "--callback", "tests.runs.test_many:Kill"]  # fmt: skip


@pytest.mark.parametrize("rank", [0, 1])
def test_where_one_is_killed_the_others_stop_with_one_line(text_file, tmp_path, rank):
    out = tmp_path / "run"
    kill = {"KILL": f"{rank} {signal.SIGKILL.value}"}
    store = meeting_place()
    ends = each(begin(commanded, words_for(text_file, out), kill, store=store))
    assert ends[rank] == -signal.SIGKILL
    ((code, _, told),) = ends[1 - rank]
    assert code == 1
    lines = [line for line in told.splitlines() if line.startswith("ltm:")]
    assert lines == [
        f"ltm: stopped: another process has ended; the last good checkpoint, of "
        f"iteration 4, is in {out}; ltm train --resume --out {out} goes on from there"
    ]
    assert ltm.load(out, trust=True).step == 4
    # What torchrun does then, where it is asked to: the same command, started again.
    again = kill | {"TORCHELASTIC_RESTART_COUNT": "1"}
    for code, _, told in together(commanded, words_for(text_file, out), again, store=store):
        assert code == 0, told
    assert [line["step"] for line in ltm.load(out, trust=True).log()] == list(range(1, 9))


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_a_run_that_torchrun_did_not_begin_is_not_resumed(text_file, tmp_path, capsys, more):
    """Started again after a failure that came before the folder was anybody's."""
    out, words = tmp_path / "run", words_for(text_file, tmp_path / "run")[:-2]
    assert cli.main([*words, "--steps", "1"]) == 0
    old = record.read_config(out)[1]["id"]
    again = {"TORCHELASTIC_RESTART_COUNT": "1"}
    (code, _, told), _ = together(commanded, [*words, "--steps", "2", *more], again)
    if not more:
        assert code == 2
        assert "already holds a run" in told
    else:
        assert code == 0, told
    now = record.read_config(out)[1]
    assert (now["id"] == old) == (not more)
    assert now["resumed"] == []


def test_a_signal_to_one_process_stops_all_after_the_same_iteration(text_file, tmp_path):
    out = tmp_path / "run"
    settings = {"KILL": f"1 {signal.SIGTERM.value}"}
    first, second = together(commanded, words_for(text_file, out), settings)
    assert first[0] == second[0] == 128 + signal.SIGTERM
    assert f"stopped and saved after 6 iterations; ltm train --resume --out {out}" in first[2]
    assert second[1:] == ("", "")
    assert ltm.load(out, trust=True).step == 6


def test_what_is_wrong_is_told_once(text_file, tmp_path):
    out = tmp_path / "run"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    settings = {"KILL": "9 9"}
    first, second = together(commanded, words_for(text_file, out), settings)
    assert first[0] == 2
    assert first[2].count("already holds a run") == 1
    assert second == (1, "", "")
    small = [*words_for(text_file, tmp_path / "new"), "--batch", "1"]
    for words, told in (
        (["train", "--out", "x", "--preset", "huge"], "unknown preset 'huge'"),
        (["info", str(out)], "ltm info computes in one process, and WORLD_SIZE is 2"),
        (small, "a batch of 1 has no document for each of 2 processes"),
    ):
        ends = together(commanded, words, settings)
        assert {end[0] for end in ends} <= {1, 2}
        assert sum(told in end[2] for end in ends) == 1
        assert sum(end[2].count("ltm:") for end in ends) == 1
    assert not (tmp_path / "new" / "config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_torchrun_starts_it_and_starts_it_again(text_file, tmp_path, number):
    """A worker that is killed, or told to end, in iteration 5: the command is not given again."""
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         "--max-restarts", "1", "-m", "ltm_pyro", *words_for(text_file, out)],
        env=os.environ | {"KILL": f"1 {number.value}", "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"run: {out}, 8 iterations") == 1
    assert done.stderr.count("ltm: stopped: another process") == (number == signal.SIGKILL)
    facts = record.read_config(out)[1]
    assert [one["step"] for one in facts["resumed"]] == [4 if number == signal.SIGKILL else 6]
    whole = [*words_for(text_file, tmp_path / "whole")[:-2]]
    assert cli.main(whole) == 0
    assert near(
        weights(ltm.load(out, trust=True).model), weights(ltm.load(tmp_path / "whole").model)
    )


def test_a_run_goes_on_with_its_slow_step_shared_out(text_file, tmp_path, capsys):
    out = tmp_path / "run"
    words = [
        word for word in words_for(text_file, out) if not word.startswith(("--callback", "tests."))
    ]
    assert cli.main([*words[:6], "4", *words[7:]]) == 0
    on = ["train", "--resume", "--out", str(out), "--quiet", "--steps"]
    capsys.readouterr()
    for code, _, told in together(commanded, [*on, "6", "--slow.sharded"], {}):
        assert code == 0, told
        assert "ignored" not in told
    assert ltm.load(out).config.slow.sharded
    assert cli.main([*on, "8", "--slow.no-sharded"]) == 0
    assert not ltm.load(out).config.slow.sharded
    plain = tmp_path / "plain"
    assert cli.main([word.replace(str(out), str(plain)) for word in words]) == 0
    assert near(weights(ltm.load(plain).model), weights(ltm.load(out).model))
