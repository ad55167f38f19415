"""The command line: `ltm demo`, `train`, `evaluate`, `generate`, `info`."""

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import Any

import tyro

import ltm_pyro as ltm
from ltm_pyro.commands import Demo, Evaluate, Generate, Info, Train
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
    if name == "train":
        config = ltm.preset(_value(rest, "--preset") or "tiny")
        parts = ("architecture", "thoughts", "fast", "slow", "objective")
        default = Train(out=tyro.MISSING, **{part: getattr(config, part) for part in parts})
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(command, prog=f"ltm {name}", args=rest, default=default)
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise InputError(f"{one_line(told.getvalue())} (see ltm {name} --help)") from None


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
