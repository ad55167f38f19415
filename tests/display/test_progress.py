"""Progress: a bar in a terminal, lines that are few in a file, one place in a notebook."""

import io
import sys
from types import SimpleNamespace

import pytest
from tqdm.std import tqdm

from ltm_pyro.display import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that tqdm reads; `clock.now` sets it."""
    held = SimpleNamespace(now=0.0)
    real = tqdm.__init__

    def init(self, *args, **kwargs):
        real(self, *args, **kwargs)
        self._time = lambda: held.now
        self.start_t = self.last_print_t = held.now

    monkeypatch.setattr(tqdm, "__init__", init)
    return held


def run(clock, steps, seconds, **options):
    with progress.bar(None, "training", total=steps, **options) as bar:
        for _ in range(steps):
            clock.now += seconds
            bar.set_postfix_str("1.234 nats/token", refresh=False)
            bar.update()


def test_a_file_gets_a_line_every_few_seconds(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    run(clock, 1024, 1 / 64)
    lines = sys.stderr.getvalue().splitlines()
    assert 2 <= len(lines) <= 3  # of 16 seconds
    assert all(line.startswith("training: ") and "\r" not in line for line in lines)
    assert lines[-1] == "training: 1024/1024 steps, 00:16 so far, 00:00 left, 1.234 nats/token"


def test_a_file_gets_nothing_of_what_is_soon_done_and_nothing_that_was_not_asked_for(
    clock, monkeypatch
):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    run(clock, 100, 0.05)
    run(clock, 1000, 1.0, shown=False)
    assert sys.stderr.getvalue() == ""


def test_bars_within_bars_do_not_move_a_file_s_cursor(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.bar(None, "outer", total=2) as outer:
        for _ in range(2):
            run(clock, 30, 1.0, leave=False)
            outer.update()
    assert "\x1b" not in sys.stderr.getvalue()
    assert "\n\n" not in sys.stderr.getvalue()


def test_a_terminal_has_the_bar(monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.bar(range(3), "training") as bar:
        list(bar)
    assert "100%|" in stream.getvalue()


@pytest.mark.parametrize("leave", [True, False])
def test_a_notebook_shows_one_line_in_one_place(clock, monkeypatch, leave):
    shown = []

    class Handle:
        def update(self, content, raw):
            shown.append(content["text/plain"])

    def display(content, raw, display_id):
        shown.append(content["text/plain"])
        return Handle()

    kernel = SimpleNamespace(config={"IPKernelApp": {}})
    ipython = SimpleNamespace(get_ipython=lambda: kernel)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    run(clock, 128, 1 / 8, leave=leave)
    assert (20 if leave else 4) <= len(shown) <= 40  # of 16 seconds, twice a second; of the last 6
    last = "training: 128/128 steps, 00:16 so far, 00:00 left, 1.234 nats/token"
    assert shown[-1] == (last if leave else "")
