"""How inputs end: in success, in the project's own error, or in a fault."""

import contextlib
import io
import os
import random
import signal
import traceback
import warnings
from collections import Counter
from pathlib import Path

from ltm_pyro.errors import InputError, NotFinite

OWN = (InputError, NotFinite)
SECONDS = 30
"""An input that takes this process longer is a fault."""


class TooLong(BaseException):
    """An input takes longer than it may."""


class Kind:
    """A kind of inputs, each made from its number.

    A subclass has `make`, which takes a source of random numbers and gives what is given and what
    is to be done with it. What takes long to make is made once, in `__init__`.

    Attributes:
        share: inputs of this kind among all kinds, in proportion.
        folder: where it may write.
    """

    share = 1

    def __init__(self, folder: Path):
        self.folder = folder

    def make(self, draw):
        """What is given, and a function that takes no arguments and says in a word how it ended."""
        raise NotImplementedError


class Ends:
    """How the inputs of each kind ended, and the faults.

    Attributes:
        counts: how many inputs ended in which way, by kind.
        faults: a line each.
    """

    def __init__(self):
        self.counts: dict[str, Counter[str]] = {}
        self.faults: list[str] = []

    @property
    def total(self):
        """Inputs so far."""
        return sum(counter.total() for counter in self.counts.values())

    def of(self, name):
        """How many inputs of a kind there were."""
        return self.counts.get(name, Counter()).total()

    def give(self, name, kind, number):
        """Give the input of this number; anything but success and our own errors is a fault."""
        what = "what could not be made"
        try:
            with _in_time(), _quiet():
                what, call = kind.make(random.Random(f"{name} {number}"))
                end = str(call())
        except OWN:
            end = "told"
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a panic of another language is no Exception
            end = "FAULT"
            where = traceback.extract_tb(error.__traceback__)[-4:]
            at = " > ".join(f"{Path(one.filename).name}:{one.lineno}" for one in where)
            told = f"{type(error).__name__}: {error!s:.200} ({at})"
            self.faults.append(" ".join(f"{name} {number}: {told}; of {what!r:.300}".split()))
        self.counts.setdefault(name, Counter())[end] += 1

    def table(self):
        """The counts, in lines."""
        lines = [f"{'kind':<18}{'inputs':>12}{'told':>12}{'success':>12}{'faults':>9}"]
        for name, counter in sorted(self.counts.items()):
            told, faults = counter["told"], counter["FAULT"]
            fine = counter.total() - told - faults
            lines.append(f"{name:<18}{counter.total():>12,}{told:>12,}{fine:>12,}{faults:>9,}")
        faults = sum(counter["FAULT"] for counter in self.counts.values())
        return "\n".join([*lines, f"{self.total:,} inputs, {faults:,} faults"])


@contextlib.contextmanager
def _in_time():
    def late(*_):
        raise TooLong(f"it takes more than {SECONDS} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def _quiet():
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()), (
        contextlib.redirect_stdout(io.StringIO())
    ):  # fmt: skip
        warnings.simplefilter("ignore")
        yield


def offline():
    """No input may ask the hub for anything."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_UPDATE_DOWNLOAD_COUNTS"):
        os.environ[name] = "1" if "OFFLINE" in name else "0"
