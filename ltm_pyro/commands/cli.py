"""The command line: `ltm demo`, `train`, `evaluate`, `generate`, `info`."""

import contextlib
import dataclasses
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import tyro

import ltm_pyro as ltm
from ltm_pyro.commands import Demo, Evaluate, Generate, Info, Train, check_options
from ltm_pyro.commands.train import DEFAULTS
from ltm_pyro.errors import InputError, NotFinite, unknown

COMMANDS: dict[str, Any] = {
    "demo": Demo,
    "train": Train,
    "evaluate": Evaluate,
    "generate": Generate,
    "info": Info,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; exit code 2 and one line for input that cannot be used."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # --prior mymodule:MyPrior, from the folder one is in
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(usage())
            return 0
        if arguments[0] == "--version":
            print(ltm.__version__)
            return 0
        parse(arguments).run()
    except InputError as error:
        print(f"ltm: error: {error}", file=sys.stderr)
        return 2
    except NotFinite as error:
        print(f"ltm: stopped: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader left, e.g. head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a name that is too long, a disk that fails
        print(f"ltm: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ltm: interrupted", file=sys.stderr)
        return 130
    return 0


def parse(arguments: list[str]) -> Any:
    """A command with its options filled in; for `train`, over its preset's."""
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    command = COMMANDS[name]
    default = None
    chosen: dict[str, dict[str, Any]] = {}
    if name == "train":
        rest, chosen = named_options(rest, ("prior", "guide", "decoder"))
        config = ltm.preset(_value(rest, "--preset") or "tiny")
        protocol = _value(rest, "--protocol")
        config = DEFAULTS[protocol](config) if protocol in DEFAULTS else config
        parts = ("architecture", "thoughts", "fast", "slow", "objective")
        default = Train(
            out=tyro.MISSING,
            warm_start=config.training.warm_start,
            visit_steps=config.training.visit_steps,
            **{part: getattr(config, part) for part in parts},
        )
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            made = tyro.cli(command, prog=f"ltm {name}", args=rest, default=default)
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise InputError(f"{one_line(told.getvalue())} (see ltm {name} --help)") from None
    if name == "train":
        check_options(arguments[1:])
        options = {f"{kind}_options": given for kind, given in chosen.items()}
        return dataclasses.replace(made, **options)
    return made


def named_options(
    arguments: list[str], kinds: Sequence[str]
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Take `--prior.NAME VALUE` and the like out of the arguments.

    Which options there are depends on the prior, guide or decoder, so they are checked once it is
    known. A value is a number, true, false, null or a list where it reads as one in JSON, else
    text.
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
    return " ".join(lines[: ends[0]] if ends else lines)


def usage() -> str:
    """What `ltm --help` prints."""
    lines = [f"  ltm {name:<9} {cls.__doc__.splitlines()[0]}" for name, cls in COMMANDS.items()]
    return "\n".join([f"ltm_pyro {ltm.__version__}", *lines, "  ltm COMMAND --help for options"])


def _value(arguments: list[str], option: str) -> str | None:
    for i, argument in enumerate(arguments):
        if argument.startswith(option + "="):
            return argument.partition("=")[2]
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


if __name__ == "__main__":
    sys.exit(main())
