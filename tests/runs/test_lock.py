"""One process writes into a run's folder, for as long as it lives; readers need not wait."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

import ltm_pyro as ltm
from ltm_pyro.errors import InputError, Notice
from ltm_pyro.files import lock
from ltm_pyro.files.lock import alone, check_alone
from ltm_pyro.runs.callbacks import Callback

from .helpers import train, with_training

HOLD = """
import sys, time
from pathlib import Path
from ltm_pyro.files.lock import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_it_lasts_for_a_process_s_life(tmp_path, holder):
    path = tmp_path / "run"
    told = rf"run is in use: process {holder.pid} on .* writes into it; wait for its end"
    for take in (alone(path).__enter__, lambda: check_alone(path)):
        with pytest.raises(InputError, match=told):
            take()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with alone(path), alone(path):  # within a thread it may be taken again
        check_alone(path)


def test_whoever_would_write_is_refused_and_whoever_reads_is_not(run_config, tmp_path):
    """Resume, overwrite, begin and seal, from a thread of their own while a run is trained."""
    path = tmp_path / "run"
    told = []

    def attempt(**options):
        try:
            train(run_config, path, **options)
        except InputError as error:
            told.append(str(error))

    class Meanwhile(Callback):
        def after(self, trainer, report, line):
            if trainer.svi.done != 3:
                return
            for options in ({"resume": True}, {"overwrite": True}):
                other = threading.Thread(target=attempt, kwargs=options)
                other.start()
                other.join()
            assert ltm.load(path).step == 2

    run = train(run_config, path, callbacks=[Meanwhile()])
    assert run.step == 4
    assert [line["step"] for line in run.log()] == [1, 2, 3, 4]
    assert len(told) == 2
    assert all(f"{path} is in use: process {os.getpid()} on" in one for one in told)


@pytest.mark.slow
def test_two_resumes_by_two_processes_leave_one(run_config, text_file, tmp_path):
    train(with_training(run_config, steps=2), tmp_path / "run")
    command = [sys.executable, "-m", "ltm_pyro", "train", "--resume", "--out", tmp_path / "run",
               "--steps", "30", "--data", text_file, "--quiet"]  # fmt: skip
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [(process.communicate(timeout=120)[1], process.returncode) for process in both]
    codes = sorted(code for _, code in ends)
    steps = [line["step"] for line in ltm.load(tmp_path / "run").log()]
    assert steps == list(range(1, 31))
    if codes != [0, 0]:  # else one began when the other had ended
        assert codes == [0, 2]
        assert any("is in use: process" in told for told, _ in ends)


def test_a_file_system_without_locks_is_told(run_config, tmp_path, monkeypatch):
    class NoLocks:
        LOCK_EX = LOCK_NB = LOCK_UN = 0

        def flock(self, *_):
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "fcntl", NoLocks())
    with pytest.warns(Notice, match=r"the file system of .*run has no locks: see to it that"):
        assert train(run_config, tmp_path / "run").step == 4


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    """It outlives the process that is killed, which held the lock."""
    fork = HOLD.replace(
        'print("held", flush=True)',
        "import os; child = os.fork(); child or print(os.getpid(), flush=True)",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", fork, str(tmp_path / "run")], stdout=subprocess.PIPE
    )
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.wait()
        os.kill(child, 0)  # it lives
        with alone(tmp_path / "run"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_a_lock_is_not_written_through_a_link(run_config, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(InputError, match=r"cannot write .*\.lock: .* symbolic link"):
        train(run_config, tmp_path / "run")
    assert (tmp_path / "mine.txt").read_text() == "mine"
