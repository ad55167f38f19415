"""Reading the arguments of a command into its dataclass."""

import contextlib
import dataclasses
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import tyro

from ltm_pyro.errors import InputError
from ltm_pyro.names import names
from ltm_pyro.options import hints, taken


def read(command: Any, name: str, arguments: Sequence[str], default: Any = None) -> Any:
    """The command with its options filled in, over those of a `default`.

    Raises:
        InputError: for an option that is unknown, missing or of a wrong kind.
    """
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            made = tyro.cli(command, prog=f"ltm {name}", args=arguments, default=default)
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise InputError(f"{one_line(told.getvalue())} (see ltm {name} --help)") from None
    for field in dataclasses.fields(made):
        kind = hints(type(made))[field.name]
        option = _option(field.name, kind)
        taken(option, getattr(made, field.name), kind)
        if Path in (kind, *get_args(kind)) and value_of(arguments, option) == "":
            raise InputError(f"{option} is empty: expected a path")
    return made


def _option(name: str, kind: Any) -> str:
    """What a field is called on the command line."""
    given = [m.name for m in get_args(kind)[1:] if getattr(m, "name", None)]
    return f"--{given[0] if given else name.replace('_', '-')}"


def given(arguments: Sequence[str]) -> frozenset[str]:
    """The names of the options that stand in the arguments: `--no-x` is `x`, `_` is `-`."""
    options = (a.partition("=")[0].removeprefix("--") for a in arguments if a.startswith("--"))
    return frozenset(name.replace("_", "-").removeprefix("no-") for name in options)


def value_of(arguments: Sequence[str], option: str) -> str | None:
    """The value of an option in the arguments, if it is there."""
    for i, argument in enumerate(arguments):
        if argument.startswith(option + "="):
            return argument.partition("=")[2]
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def named(kind: str, module: ModuleType, base: type) -> Any:
    """An option that names a part, with the names that there are."""
    known = ", ".join(sorted(names(module, base)))
    return tyro.conf.arg(help=(
        f"A {kind}: {known}, or package.module:Class of one's own; its options are "
        f"--{kind}.NAME VALUE."
    ))  # fmt: skip


def named_options(
    arguments: Sequence[str], kinds: Sequence[str]
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Take `--prior.NAME VALUE` and the like out of the arguments.

    Which options there are depends on the prior or guide, so they are checked once it is known. A
    value is a number, true, false, null or a list where it reads as one in JSON, else text.
    """
    rest: list[str] = []
    found: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
    left = iter(arguments)
    for argument in left:
        option, equals, value = argument.partition("=")
        kind, dot, name = option.removeprefix("--").partition(".")
        if not (option.startswith("--") and dot and kind in found):
            rest.append(argument)
            continue
        if not equals:
            value = next(left, "--")
            if value.startswith("--"):
                raise InputError(f"{option} has no value: expected {option} VALUE")
        try:
            found[kind][name.replace("-", "_")] = json.loads(value)
        except ValueError:
            found[kind][name.replace("-", "_")] = value
    return rest, found


def one_line(boxed: str) -> str:
    """What the option parser says in a box, in one line: all but its title and its help."""
    lines = [line.strip("│╭╮╰╯─ ") for line in boxed.splitlines()]
    lines = [line for line in lines[1:] if line.strip("-")]
    ends = [i for i, line in enumerate(lines) if line.startswith("For full helptext")]
    told = " ".join(lines[: ends[0]] if ends else lines)
    told = re.sub(
        r"invalid literal for int\(\) with base 10: ('.*?')", r"\1 is no whole number", told
    )
    told = re.sub(r"could not convert string to float: ('.*?')", r"\1 is no number", told)
    return re.sub(r"^Error parsing [\w-]+: ", "", told)  # of an error of ours
