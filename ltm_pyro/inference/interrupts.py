"""Ctrl-C between the steps of a loop, never within one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def whole() -> Iterator[None]:
    """A block that Ctrl-C ends after, so that what it changes is changed altogether.

    Within it weights, optimizer and the state of Pyro and torch may be half of one step and half of
    the next. A second Ctrl-C interrupts at once. Signals are left alone outside the main thread,
    and where they are handled otherwise than Python does, as within another such block.

    Raises:
        KeyboardInterrupt: when the block has ended, also in an error, if there was a Ctrl-C in it;
            with a message where the block is not whole.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    asked = False

    def note(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt("at once, within a step: what it changes may be half changed")
        asked = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    except Exception as error:
        if asked:
            raise KeyboardInterrupt("in a step that ended in an error") from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked:
        raise KeyboardInterrupt
