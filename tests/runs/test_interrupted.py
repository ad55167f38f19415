"""Runs that are killed, or whose disk is full, at any point, and go on as if nothing had been.

Every process here is a real one, and so is every SIGKILL. A reduced set always runs; the sweep over
all points is marked slow.
"""

import contextlib
import itertools
import json
import os
import re
import resource
import signal
import sys
import time

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro import files
from ltm_pyro.commands import cli
from ltm_pyro.runs import checkpoint, folder
from ltm_pyro.runs.record import CONFIG, read_config
from ltm_pyro.runs.trainer import Trainer

from ..processes import FORKS

SETTINGS = [
    "--batch", "4", "--length", "12", "--vocabulary", "300", "--baseline", "--quiet",
    "--architecture.layers", "1", "--architecture.width", "8", "--architecture.heads", "2",
    "--architecture.feedforward", "8", "--architecture.window", "4", "--thoughts.layers", "1",
    "--thoughts.slots", "1", "--thoughts.dim", "2", "--fast.steps", "1",
    "--slow.lr", "0.02", "--slow.warmup", "1",
]  # fmt: skip
slow = pytest.mark.slow
SHORT = ["--steps", "6", "--check-every", "2", "--save-every", "3"]
LONG = ["--steps", "40", "--check-every", "15", "--save-every", "10"]


def together(*names, aside=False):
    """What happens when files are replaced: all are written, named, and then moved."""
    moved = [("move", folder.PREVIOUS)] if aside else []
    return [
        *(("put", name) for name in (*names, folder.MANIFEST)),
        ("move", folder.MANIFEST), *moved, *(("move", name) for name in names),
        ("put", folder.MANIFEST), ("move", folder.MANIFEST),
    ]  # fmt: skip


ALL = ("trainer.pt", "model.safetensors", "best.safetensors")
EVENTS = (
    together("tokenizer.json", "seen.npy", "log.jsonl", "config.json")
    + together(*ALL)  # step 2: the first look
    + together(*ALL[:2], aside=True)  # step 3
    + together(*ALL, aside=True) * 2  # steps 4 and 6
)
FOUR, SIX = len(EVENTS) - 22, len(EVENTS) - 11
"""How many events precede the saves of steps 4 and 6."""
RESUMED_EVENTS = (  # from step 3
    together("config.json") + together("model.safetensors") + together("log.jsonl") + EVENTS[FOUR:]
)


def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def child(arguments, told, number, how, appends):
    """The command line, with something happening at its `number`-th event (or log line)."""
    calls = itertools.count(1)
    original = {name: getattr(files, name) for name in ("put", "move", "append")}

    def struck(path, data):
        """A file is written, or a line is added: in part, or on a disk that is full."""
        do = original["append" if appends else "put"]
        if next(calls) != number:
            return do(path, data)
        if how == "full":  # what was written so far and a half of this fits on the disk
            there = path.stat().st_size if appends else 0
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (there + len(data) // 2, before[1]))
            try:
                return do(path, data)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if isinstance(how, signal.Signals):
            os.kill(os.getpid(), how)
            return do(path, data)
        if how == "torn":
            beside = path if appends else path.with_name(f".{path.name}.{os.getpid()}")
            with open(beside, "ab") as file:
                file.write(bytes(data.encode() if appends else data)[: len(data) // 2])
        elif how == "after":
            do(path, data)
        kill()

    def moved(beside, path):
        if next(calls) == number:
            kill()
        return original["move"](beside, path)

    if appends:
        files.append = struck
    else:
        files.put, files.move = struck, moved
    torch.set_num_threads(1)  # as in the undisturbed run
    with open(told, "w") as stream, contextlib.redirect_stderr(stream):
        sys.exit(cli.main(arguments))


def strike(arguments, told, number, how, appends=False):
    """Run `child` in a process, and return its exit code."""
    process = FORKS.Process(target=child, args=(arguments, told, number, how, appends))
    process.start()
    process.join(120)
    return process.exitcode


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    things = {"sea": ["wave", "fish", "sail", "salt"], "wood": ["tree", "leaf", "root", "moss"]}
    documents = []
    for i in range(60):
        topic = list(things)[i % 2]
        words = [things[topic][(i // 2 + j * (i % 5 + 1)) % 4] for j in range(4 + i % 7)]
        documents.append(f"{topic} {i}: " + " ".join(words))
    path = tmp_path_factory.mktemp("text") / "documents.txt"
    path.write_text("\n\n".join(documents))
    return path


class Undisturbed:
    """A run that nothing happens to, and the files of each of its checkpoints."""

    def __init__(self, arguments, out):
        self.arguments, self.models, self.events = arguments, {}, []
        save, put, move = Trainer.save, files.put, files.move

        def saved(trainer):
            save(trainer)
            self.models[trainer.svi.done] = (out / folder.MODEL).read_bytes()

        def written(path, data):
            self.events.append(("put", path.name))
            return put(path, data)

        def moved(beside, path):
            self.events.append(("move", path.name))
            move(beside, path)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "save", saved)
            patch.setattr(files, "put", written)
            patch.setattr(files, "move", moved)
            assert cli.main([*arguments, "--out", str(out)]) == 0
        self.ending = ending(out)


def ending(out):
    """What two runs that are the same end with."""
    log = [json.loads(line) for line in (out / folder.LOG).read_text().splitlines()]
    for line in log:
        del line["seconds"]
    weights = [contents((out / name).read_bytes()) for name in checkpoint.CHECKPOINTS.values()]
    return log, weights, read_config(out)[0]


def contents(data):
    """Header and tensors of a safetensors file; its metadata comes in any order."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def arguments(text, *more):
    return ["train", "--data", str(text), *SETTINGS, *more]


@pytest.fixture(scope="module")
def short(text, tmp_path_factory):
    return Undisturbed(arguments(text, *SHORT), tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="module")
def long(text, tmp_path_factory):
    return Undisturbed(arguments(text, *LONG), tmp_path_factory.mktemp("long"))


def goes_on(whole, out):
    """The folder loads if a checkpoint was saved; resumed, the run ends as the undisturbed one."""
    if (out / folder.MODEL).exists():
        step = ltm.load(out).step
        assert (out / folder.MODEL).read_bytes() == whole.models[step]
    begun = (out / CONFIG).exists()
    assert cli.main(
        ["train", "--out", str(out), "--resume", "--quiet"]
        if begun
        else [*whole.arguments, "--out", str(out)]
    ) == 0  # fmt: skip
    assert ending(out) == whole.ending
    assert {p.name for p in out.iterdir()} == set(folder.FILES)
    assert len(read_config(out)[1]["resumed"]) >= begun


def test_the_undisturbed_run_writes_what_the_sweep_goes_over(short):
    assert short.events == EVENTS
    assert list(short.models) == [2, 3, 4, 6]


def sweep(events, normal):
    """A kill before each event, and in the middle of each file that is written."""
    found = []
    for number, (what, name) in enumerate(events, 1):
        for how in ("before", "torn") if what == "put" else ("before",):
            marks = [] if (number, how) in normal else slow
            ident = f"{number}-{how}-{what}-{name}"
            found.append(pytest.param(number, how, marks=marks, id=ident))
    return found


NORMAL = {(1, "torn"), (6, "before"), (11, "before"), (18, "before"), (FOUR + 1, "torn"),
          (FOUR + 5, "before"), (FOUR + 7, "before"), (FOUR + 9, "before")}  # fmt: skip


@pytest.mark.parametrize(("number", "how"), sweep(EVENTS, NORMAL))
def test_killed_while_it_saves(short, tmp_path, number, how):
    out = tmp_path / "run"
    assert strike([*short.arguments, "--out", str(out)], tmp_path / "told", number, how) == -9
    goes_on(short, out)


@pytest.mark.parametrize(("number", "how"), sweep(RESUMED_EVENTS, {(2, "torn"), (10, "before")}))
def test_killed_again_while_it_resumes(short, tmp_path, number, how):
    out, told = tmp_path / "run", tmp_path / "told"
    assert strike([*short.arguments, "--out", str(out)], told, FOUR + 1, "before") == -9
    assert strike(["train", "--out", str(out), "--resume", "--quiet"], told, number, how) == -9
    goes_on(short, out)


@pytest.mark.parametrize(
    ("line", "how"),
    [
        pytest.param(*p, marks=[] if p in {(1, "torn"), (6, "before"), (6, "after")} else slow)
        for p in itertools.product((1, 2, 5, 6), ("before", "torn", "after"))
    ],
)
def test_killed_while_it_logs(short, tmp_path, line, how):
    out = tmp_path / "run"
    command = [*short.arguments, "--out", str(out)]
    assert strike(command, tmp_path / "told", line, how, appends=True) == -9
    if how == "torn":  # is passed over
        assert len(files.json_lines(out / folder.LOG)) == line - 1
        assert cli.main(["info", str(out)]) == 0
    goes_on(short, out)


@pytest.mark.parametrize(
    "after",
    [1, *(pytest.param(k, marks=slow) for k in (2, 5, 9, 10, 11, 13, 20, 24, 30, 36))],
)
def test_killed_between_saves_by_another_process(long, tmp_path, after):
    out = tmp_path / "run"
    command = [*long.arguments, "--out", str(out)]
    never = (command, tmp_path / "told", 0, "before")
    process = FORKS.Process(target=child, args=(*never, False))
    process.start()
    log = out / folder.LOG
    while process.is_alive() and not (log.exists() and log.read_bytes().count(b"\n") >= after):
        time.sleep(0.001)
    process.kill()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert after <= len(files.json_lines(log)) < 40
    goes_on(long, out)


def test_killed_several_times(short, tmp_path):
    out, told = tmp_path / "run", tmp_path / "told"
    assert strike([*short.arguments, "--out", str(out)], told, 2, "before", appends=True) == -9
    again = ["train", "--out", str(out), "--resume", "--quiet"]
    for number in (6, 14, 23, 16):
        assert strike(again, told, number, "before") == -9
    goes_on(short, out)
    _, record = read_config(out)
    assert record["resumed"][0]["step"] == 0  # it began anew


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=slow)]
)
def test_a_signal_is_a_pause(short, tmp_path, number):
    out, told = tmp_path / "run", tmp_path / "told"
    assert strike([*short.arguments, "--out", str(out)], told, 5, number, True) == 128 + number
    assert f"stopped and saved after 5 iterations; ltm train --resume --out {out}" in (
        told.read_text()
    )
    assert (ltm.load(out).step, ltm.load(out, "best").step) == (5, 4)
    short.models[5] = (out / folder.MODEL).read_bytes()
    goes_on(short, out)


FULL = [(n, False) for n, (what, name) in enumerate(EVENTS, 1)
        if what == "put" and (n, name) != (3, "log.jsonl")]  # it is empty there  # fmt: skip
FULL += [(n, True) for n in (1, 3, 6)]
FULL_NORMAL = [(4, False), (FOUR + 2, False), (SIX + 4, False), (6, True)]


@pytest.mark.parametrize(
    ("number", "appends"),
    [pytest.param(*p, marks=[] if p in FULL_NORMAL else slow) for p in FULL],
)
def test_a_full_disk_is_told_and_nothing_is_lost(short, tmp_path, number, appends):
    out, told = tmp_path / "run", tmp_path / "told"
    assert strike([*short.arguments, "--out", str(out)], told, number, "full", appends) == 2
    last = told.read_text().splitlines()[-1]
    name = folder.LOG if appends else EVENTS[number - 1][1]
    assert re.match(rf"ltm: error: cannot write .*/{name}: File too large \(make room\); ", last)
    assert "untouched" in last
    if number > 22 and not appends:
        assert re.search(r"last good checkpoint, of iteration [234], is in .*--resume --out", last)
    assert {p.name for p in out.glob(".*")} == {folder.LOCK}
    goes_on(short, out)
