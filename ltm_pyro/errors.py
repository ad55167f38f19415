"""Errors a user can mend: what was given, what is wrong, what would be right."""

import difflib
import re
from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used; the message names it and says what would be right."""


class Damaged(InputError):
    """A file of a run that does not hold what was written into it."""


class Notice(UserWarning):
    """What a user is to know, and that stops nothing; the command line prints it as a line."""


class NotFinite(ArithmeticError):
    """A NaN or an infinity; the message names the site and the batch it came from."""


class Lost(Exception):
    """Another process that this one works with is gone, so that it cannot go on."""


def unknown(kind: str, given: str, known: Iterable[str]) -> InputError:
    """An error for a name that is not known, with the nearest names that are."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return InputError(f"unknown {kind} {given!r}: {hint}known are {', '.join(names) or 'none'}")


def printable(text: str) -> str:
    """A text whose control characters are spelt out: files may hold those that drive a terminal."""
    return _DRIVES.sub(lambda found: ascii(found.group())[1:-1], text)


_DRIVES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def first_line(error: BaseException) -> str:
    """The first line that says something: torch begins with a title, and ends with advice."""
    lines = [line.strip() for line in str(error).splitlines() if not line.endswith(":")]
    return lines[0].split(". ")[0] if lines and lines[0] else type(error).__name__
