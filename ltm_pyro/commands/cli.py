"""The command line: finds a command, fills in its options, runs it, and tells what went wrong."""

import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from ltm_pyro._version import __version__
from ltm_pyro.commands import command, commands
from ltm_pyro.errors import InputError, NotFinite


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
            print(__version__)
            return 0
        parse(arguments).run()
    except InputError as error:
        print(f"ltm: error: {one_line(error)}", file=sys.stderr)
        return 2
    except NotFinite as error:
        print(f"ltm: stopped: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        from ltm_pyro.models.size import out_of_memory

        if (told := out_of_memory(error)) is None:
            raise
        print(f"ltm: error: {told}", file=sys.stderr)
        return 2
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
    """A command with its options filled in."""
    from ltm_pyro.commands.parsing import read

    cls, rest = command(arguments[0]), arguments[1:]
    return cls.parsed(rest) if hasattr(cls, "parsed") else read(cls, arguments[0], rest)


def one_line(error: Exception) -> str:
    """What an error says, without the shapes of a trace that Pyro adds."""
    return " ".join(re.split(r"\n\s*Trace Shapes:", str(error))[0].split("\n"))


def usage() -> str:
    """What `ltm --help` prints."""
    lines = [f"  ltm {name:<9} {what}" for name, what in commands().items()]
    return "\n".join([f"ltm_pyro {__version__}", *lines, "  ltm COMMAND --help for options"])


if __name__ == "__main__":
    sys.exit(main())
