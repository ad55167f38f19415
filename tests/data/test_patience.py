"""What may take for ever ends after a while, and what a system has no clock for goes on."""

import signal
import threading
import time

import pytest

import ltm_pyro as ltm
from ltm_pyro.data.sources import text
from ltm_pyro.data.sources.patience import within
from ltm_pyro.errors import InputError


def test_a_separator_that_explodes_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "SECONDS", 0.5)
    bomb = tmp_path / "bomb.txt"
    bomb.write_text("one\n" + "a" * 60 + "!")
    began = time.process_time()
    with pytest.raises(InputError, match=r"separator .* was looked for in .*bomb.txt for"):
        ltm.load_corpus(bomb, separator="(a+)+$")
    assert time.process_time() - began < 5
    assert len(ltm.load_corpus(bomb, separator="\n", vocabulary=260, length=80).train) >= 1


def test_the_clock_is_put_back():
    before = signal.getsignal(signal.SIGALRM)
    with within(0.5, "late"):
        pass
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    with pytest.raises(InputError, match="late"), within(0.05, "late"):
        _for_ever()
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_clock_that_is_in_use_is_left_alone():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with within(0.01, "late"):
            while not rung:
                pass
    finally:
        signal.signal(signal.SIGALRM, before)


def test_another_thread_has_none():
    found = []

    def wait():
        with within(0.01, "late"):
            time.sleep(0.05)
            found.append(1)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert found == [1]


def _for_ever():
    while True:
        pass
