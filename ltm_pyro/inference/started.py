"""The processes that were started, as the environment says; nothing is begun."""

import os

from ltm_pyro.errors import InputError


def started() -> tuple[int, int]:
    """This process's number and how many there are, as the variables say."""
    return whole_number("RANK", 0), whole_number("WORLD_SIZE", 1)


def whole_number(name: str, default: int) -> int:
    """A whole number of the environment, or InputError."""
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise InputError(f"{name} is {text!r} in the environment: expected a whole number")
    return int(text)
