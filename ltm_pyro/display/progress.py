"""Progress where it is read: a bar in a terminal, one line in a notebook, few lines in a file."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

SECONDS = 10.0
"""Between two lines of a log file."""
IN_WORDS = "{desc}: {n_fmt}/{total_fmt} {unit}s, {elapsed} so far, {remaining} left{postfix}"


class Lines:
    """A stream that has a line for each time a bar would have been drawn anew.

    A saved notebook or a log file then holds no bar drawn over and over.
    """

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> None:
        """Write a line, if there is anything to be read in it."""
        if text.strip():
            self._stream.write(text.strip() + "\n")

    def flush(self) -> None:
        """Flush it."""
        self._stream.flush()


class Cell:
    """A stream whose last line stands in the output of a notebook's cell, in one place.

    A line that a bar ends with is let stand, one that it wipes out is wiped out.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    def write(self, text: str) -> None:
        """Show a line in place of the one before."""
        from IPython.display import display

        if "\n" in text or (self._handle is None and not text.strip()):
            return
        shown = {"text/plain": text.strip()}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def flush(self) -> None:
        """What was written is shown already."""


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and "IPKernelApp" in shell.config


def bar(
    steps: Iterable[Any] | None,
    what: str,
    *,
    total: int | None = None,
    unit: str = "step",
    shown: bool = True,
    leave: bool = True,
    initial: int = 0,
) -> "tqdm[Any]":
    """A progress bar: of tqdm in a terminal; elsewhere lines, a few seconds apart.

    In a notebook they follow one another in one place. In a file, what takes less than `SECONDS`
    is not told at all, nor is it in a notebook where its last line would not stay.

    Args:
        steps: what is gone through; None where `update` is called instead.
        what: what is being done.
        total: how many steps there are, where `steps` does not tell.
        unit: what a step is called.
        shown: whether to show anything.
        leave: whether the last line stays.
        initial: steps that were done before.
    """
    common: dict[str, Any] = {
        "iterable": steps, "desc": what, "total": total, "unit": unit, "disable": not shown,
        "leave": leave, "initial": initial,
    }  # fmt: skip
    if not in_notebook() and sys.stderr.isatty():
        return tqdm(**common)
    common |= {"bar_format": IN_WORDS, "position": 0, "miniters": 1}
    if in_notebook():
        return tqdm(**common, file=Cell(), mininterval=0.5, delay=0 if leave else SECONDS)
    return tqdm(**common, file=Lines(sys.stderr), mininterval=SECONDS, delay=SECONDS)
