"""`ltm study`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro
from tyro.conf import Positional

from ltm_pyro.commands.text import as_json, say, show
from ltm_pyro.errors import unknown
from ltm_pyro.experiments.studies import Study as Reported
from ltm_pyro.experiments.studies import redraw, studies, study_named
from ltm_pyro.experiments.studies.running import REPORT
from ltm_pyro.parsing import read


@dataclass(frozen=True)
class Study:
    """Experiments of the literature, each with its report; can be resumed."""

    asked: Any
    many: ClassVar[bool] = True  # processes may do it together

    @classmethod
    def parsed(cls, arguments: Sequence[str]) -> "Study":
        """The study that is named, with its options filled in."""
        if not arguments or arguments[0] in ("-h", "--help"):
            show(usage())
            raise SystemExit(0)
        name, rest = arguments[0], arguments[1:]
        if name in OTHERS:
            return cls(read(OTHERS[name], f"study {name}", rest))
        if name not in studies():
            raise unknown("study", name, [*OTHERS, *studies()])
        return cls(read(study_named(name), f"study {name}", rest))

    def run(self) -> None:
        """Compute what is not finished, and print the report."""
        if not isinstance(self.asked, Reported):
            self.asked.run()
            return
        results = self.asked.run(say)
        told = as_json(results.summary) if self.asked.json else "\n\n".join(results.texts)
        show(told)
        say(f"report: {self.asked.out / REPORT}")


@dataclass(frozen=True)
class Redraw:
    """Write the report of a study anew from its finished parts."""

    folder: Positional[Annotated[Path, tyro.conf.arg(metavar="FOLDER")]]
    """Folder of a study."""

    def run(self) -> None:
        """Write and print it."""
        show("\n\n".join(redraw(self.folder).texts))


OTHERS: dict[str, Any] = {"redraw": Redraw}
"""Besides the studies in `experiments.studies`."""


def usage() -> str:
    """What `ltm study --help` prints."""
    known = {**OTHERS, **studies()}
    lines = [f"  ltm study {name:<10} {first_line_of(known[name])}" for name in sorted(known)]
    return "\n".join([*lines, "  ltm study NAME --help for options"])


def first_line_of(cls: type) -> str:
    """What a class is for."""
    return (cls.__doc__ or "").splitlines()[0]
