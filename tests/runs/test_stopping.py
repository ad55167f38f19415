"""What ends a training before its end, and what does not: signals, output, memory, errors."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.commands import cli
from ltm_pyro.errors import InputError
from ltm_pyro.files import Steady
from ltm_pyro.runs.callbacks import Callback
from ltm_pyro.runs.signals import STOPPING, stop_signals

from .helpers import train, with_training

SMALL = [
    "--steps", "6", "--batch", "4", "--length", "12", "--vocabulary", "300", "--check-every", "2",
    "--architecture.layers", "1", "--architecture.width", "8", "--architecture.heads", "2",
    "--architecture.feedforward", "8", "--architecture.window", "4", "--thoughts.layers", "1",
    "--thoughts.slots", "1", "--thoughts.dim", "2", "--fast.steps", "1",
]  # fmt: skip


class After(Callback):
    """Does something after an iteration."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def after(self, trainer, report, line):
        if trainer.svi.done == self.step:
            self.act()


@pytest.mark.parametrize("number", STOPPING)
def test_a_run_says_which_signal_stopped_it(run_config, tmp_path, number):
    config = with_training(run_config, save_every=100, check_every=100)
    before = signal.getsignal(number)
    stop = After(3, lambda: os.kill(os.getpid(), number))
    run = train(config, tmp_path / "run", callbacks=[stop])
    assert (run.step, run.stopped) == (3, number)
    assert signal.getsignal(number) is before
    run = train(config, run.path, callbacks=[After(4, stop.act)], resume=True)
    assert (run.step, run.stopped) == (4, None)  # it had ended


def test_a_signal_that_is_ignored_stays_so():
    """As nohup leaves it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
        assert asked == []
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_the_command_ends_with_128_and_the_signal(text_file, tmp_path, monkeypatch, number, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"hit{int(number)}.py").write_text(
        "import os\nfrom ltm_pyro.runs.callbacks import Callback\n\n\n"
        "class Hit(Callback):\n"
        "    def after(self, trainer, report, line):\n"
        f"        if line['step'] == 3:\n            os.kill(os.getpid(), {int(number)})\n"
    )
    arguments = ["train", "--data", str(text_file), "--out", str(tmp_path / "run"), *SMALL]
    code = cli.main([*arguments, "--callback", f"hit{int(number)}:Hit", "--quiet"])
    assert code == 128 + number
    assert "stopped and saved after 3 iterations; ltm train --resume" in capsys.readouterr().err


def test_a_second_signal_interrupts_at_once(run_config, tmp_path, monkeypatch, capsys):
    def twice():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt) as stop:
        train(with_training(run_config), tmp_path / "run", callbacks=[After(3, twice)])
    assert stop.value.args == (signal.SIGTERM,)
    assert ltm.load(tmp_path / "run").step == 2

    def interrupted(*_):
        raise stop.value

    monkeypatch.setattr(cli, "parse", interrupted)
    assert cli.main(["train"]) == 128 + signal.SIGTERM


class Gone:
    """A stream whose other end is not there."""

    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise OSError(28, "No space left on device")

    def isatty(self):
        raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("stream", [Gone(), None, "closed", "full"])
def test_what_standard_error_does_stops_nothing(text_file, tmp_path, monkeypatch, stream):
    if stream == "closed":
        stream = open(tmp_path / "closed", "w")  # noqa: SIM115
        stream.close()
    elif stream == "full":
        stream = open("/dev/full", "w", buffering=1)  # noqa: SIM115
    monkeypatch.setattr(sys, "stderr", stream)
    arguments = ["train", "--data", str(text_file), "--out", str(tmp_path / "run"), *SMALL]
    assert cli.main(arguments) == 0
    assert ltm.load(tmp_path / "run").step == 6
    assert cli.main([*arguments, "--resume", "--steps", "oops"]) == 2


def test_nor_from_python(run_config, tmp_path, monkeypatch):
    def gone(_):
        raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    assert ltm.train(run_config, tmp_path / "run", note=gone).step == 4


def test_a_steady_stream_writes_what_it_can(tmp_path):
    with open(tmp_path / "told", "w") as file:
        steady = Steady(file)
        assert steady.write("told") == 4
        steady.flush()
        assert (steady.isatty(), steady.name) == (False, str(tmp_path / "told"))
    assert steady.write("lost") == 4
    assert (tmp_path / "told").read_text() == "told"


@pytest.mark.slow
@pytest.mark.parametrize(
    "tail",
    ["2>&1 | head -c 1", "2>&-", "2>/dev/full"],
)
def test_a_shell_may_close_it(text_file, tmp_path, tail):
    command = [sys.executable, "-m", "ltm_pyro", "train", "--data", str(text_file),
               "--out", str(tmp_path / "run"), *SMALL]  # fmt: skip
    line = " ".join(command)
    shell = subprocess.run(f"set -o pipefail; {line} {tail}", shell=True, executable="/bin/bash")
    assert shell.returncode == 0
    assert ltm.load(tmp_path / "run").step == 6


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate "
                     "memory: you tried to allocate 8000000000 bytes"),
    ],
    ids=["python", "gpu", "cpu"],
)  # fmt: skip
def test_out_of_memory_says_what_to_lower(run_config, tmp_path, error):
    def fail():
        raise error

    told = (r"out of memory in iteration 4 .*; the last good checkpoint, of iteration 2, is in "
            r".*run; ltm train --resume .* goes on from there; .* smaller --batch")  # fmt: skip
    with pytest.raises(InputError, match=told):
        train(run_config, tmp_path / "run", callbacks=[After(3, fail)])
    assert train(run_config, tmp_path / "run", resume=True).step == 4


@pytest.mark.parametrize("error", [KeyError("mine"), RuntimeError("mine"), ZeroDivisionError()])
def test_an_error_in_the_loop_names_the_last_checkpoint(run_config, tmp_path, error):
    def fail():
        raise error

    with pytest.raises(type(error)) as raised:
        train(run_config, tmp_path / "run", callbacks=[After(3, fail)])
    [told] = raised.value.__notes__
    assert told.startswith(f"(in iteration 4 of {tmp_path / 'run'}; the last good checkpoint, of i")


def test_signals_are_left_alone_outside_the_main_thread():
    found = []

    def look():
        with stop_signals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
