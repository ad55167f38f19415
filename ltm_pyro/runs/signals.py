"""Signals that ask a loop to end, acted on where it can."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOPPING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextmanager
def stop_signals(often: bool = False) -> Iterator[list[int]]:
    """A block in which SIGINT, SIGTERM and SIGHUP only add to a list, acted on between iterations.

    A second signal interrupts at once, by a KeyboardInterrupt with its number, unless they come
    `often`, as torchrun sends on what its processes had from the terminal already. Outside the main
    thread signals are left alone, and so are those that are ignored, as SIGHUP is under nohup.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: Any) -> None:
        if asked and not often:
            raise KeyboardInterrupt(number)
        asked.append(number)

    heard = (n for n in STOPPING if signal.getsignal(n) not in (signal.SIG_IGN, None))
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
