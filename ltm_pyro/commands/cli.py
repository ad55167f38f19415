"""The command line: finds a command, fills in its options, runs it, and tells what went wrong."""

import contextlib
import functools
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, cast

from ltm_pyro import __version__
from ltm_pyro.commands import command, commands
from ltm_pyro.errors import InputError, Lost, NotFinite, Notice, printable
from ltm_pyro.files import Steady

MANY = "WORLD_SIZE"
"""Where it is set there may be other processes, of which `inference.processes` knows."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; exit code 2 and one line for input that cannot be used.

    Other codes: 1 where a NaN ended it, 128 and the signal's number where a signal did.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _hold_standard_files()
    with warnings.catch_warnings(), contextlib.redirect_stderr(cast(Any, Steady(sys.stderr))):
        warnings.simplefilter("always", Notice)
        warnings.showwarning = functools.partial(_show, warnings.showwarning)
        try:
            return _run(arguments)
        finally:
            _let_output_go()


def _run(arguments: list[str]) -> int:
    try:
        try:
            code = _done(arguments)
        except SystemExit:  # --help
            _flush()
            raise
        _flush()
        return code
    except InputError as error:
        _tell(f"ltm: error: {one_line(error)}")
        return 2
    except (NotFinite, Lost) as error:
        _tell(f"ltm: stopped: {error}")
        return 1
    except (MemoryError, RuntimeError) as error:
        from ltm_pyro.models.size import out_of_memory

        if (told := out_of_memory(error)) is None:
            raise
        _tell(f"ltm: error: {told}")
        return 2
    except BrokenPipeError:  # the reader left, e.g. head
        return 0
    except OSError as error:  # a name that is too long, a disk that fails
        _tell(f"ltm: error: {error}")
        return 2
    except KeyboardInterrupt as error:
        _tell("ltm: interrupted")
        number = error.args[0] if error.args and isinstance(error.args[0], int) else signal.SIGINT
        return 128 + int(number)


def _done(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    for argument in arguments:
        if "\0" in argument:  # no shell passes one on, but a program may
            raise InputError(
                f"argument {argument!r} holds a null character, as no path or text may"
            )
    rank, size = _place()
    with _silent() if rank else contextlib.nullcontext():
        chosen = parse(arguments)
        if size > 1 and not getattr(chosen, "many", False):
            raise InputError(
                f"ltm {arguments[0]} computes in one process, and {MANY} is {size}: start it "
                f"without torchrun, or unset {MANY}"
            )
        from ltm_pyro.names import from_here

        with from_here():  # --prior mymodule:MyPrior, from the folder one is in
            return int(chosen.run() or 0)


def _tell(text: str) -> None:
    """Say why it ends; of several processes one does."""
    if MANY in os.environ:
        from ltm_pyro.inference.processes import has_last_word

        if not has_last_word():
            return
    print(printable(text), file=sys.stderr)


def _place() -> tuple[int, int]:
    """This process's number, and how many there are."""
    if MANY not in os.environ:
        return 0, 1
    from ltm_pyro.inference.started import started

    return started()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """A block in which nothing is printed."""
    with (
        open(os.devnull, "w") as nobody,
        contextlib.redirect_stdout(nobody),
        contextlib.redirect_stderr(nobody),
    ):
        yield


def _flush() -> None:
    """Raises InputError if standard output has not taken what was printed."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"standard output takes no more: {error.strerror or error}") from None


def _let_output_go() -> None:
    """What standard output does not take is let go, lest it be tried again when Python ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _hold_standard_files() -> None:
    """Open those of files 0 to 2 that are closed, lest a run's file be taken for one of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    if hasattr(sys.stdout, "reconfigure"):  # letters that its encoding lacks are spelt out
        sys.stdout.reconfigure(errors="backslashreplace")


def _show(others: Any, message: Warning | str, *rest: Any, **more: Any) -> None:
    """A notice as a line; other warnings as ever."""
    if isinstance(message, Notice):
        print(printable(f"ltm: warning: {message}"), file=sys.stderr)
    else:
        others(message, *rest, **more)


def parse(arguments: list[str]) -> Any:
    """A command with its options filled in."""
    from ltm_pyro.parsing import read

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
