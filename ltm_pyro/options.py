"""Checks of options: each returns the value, or tells what it should have been."""

import math
from collections.abc import Iterable
from typing import Any

from ltm_pyro.errors import InputError, unknown


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} is {value!r}: expected a whole number, {least} or more")
    return value


def positive(name: str, value: Any, below: float = math.inf) -> float:
    """A finite number between 0 and `below`, both excluded."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and 0 < value < below):
        most = f" and less than {below:g}" if below < math.inf else ", and finite"
        raise InputError(f"{name} is {value!r}: expected a number more than 0{most}")
    return value


def switch(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}: expected True or False")
    return value


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    """One of the known words."""
    if not isinstance(value, str) or value not in (names := tuple(known)):
        raise unknown(name, str(value), known)
    return names[names.index(value)]


def all_positive(of: Any, *names: str) -> None:
    """Attributes that are to be more than 0."""
    for name in names:
        if not getattr(of, name) > 0:
            raise InputError(f"{name} is {getattr(of, name)}: expected more than 0")


def all_at_least(of: Any, least: float, *names: str) -> None:
    """Attributes that are to be `least` or more."""
    for name in names:
        if not getattr(of, name) >= least:
            raise InputError(f"{name} is {getattr(of, name)}: expected {least} or more")
