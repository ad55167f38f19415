"""How commands speak."""

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from ltm_pyro.errors import InputError, printable


def say(text: str) -> None:
    """A line for the person at the terminal; standard output is for results."""
    tqdm.write(printable(text), file=sys.stderr)


def show(text: str, end: str = "\n") -> None:
    """Print a result. On a terminal, control characters in it are spelt out.

    Raises:
        InputError: if standard output does not take it; then it stands on standard error.
    """
    try:
        print(printable(text) if sys.stdout.isatty() else text, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        print(printable(text), file=sys.stderr)
        raise InputError(
            f"standard output takes no more ({error.strerror or error}): what it was to hold "
            "stands on standard error"
        ) from None


def as_json(found: Any) -> str:
    """What was found as JSON: NaN and infinities, which JSON has no word for, are null."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(found), indent=2, allow_nan=False)
