"""What may take for ever is given up after a while, where the system has a clock for it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ltm_pyro.errors import InputError


@contextmanager
def within(seconds: float, told: str) -> Iterator[None]:
    """A block that is given up after so many seconds.

    Python's own code hears the clock, and so does its search for a regular expression. There is
    none outside the main thread, nor on systems without SIGALRM, nor where a program has set it for
    itself: there the block may go on.

    Raises:
        InputError: with what is to be told.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or not hasattr(signal, "setitimer") or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def late(*_: Any) -> None:
        raise InputError(told)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
