"""A study: parts that are computed one by one, and what is told of all of them.

A file here holds one study, `zero_shot.py` the class `ZeroShot`, and nothing else has to change
for a new one: `ltm study zero-shot` finds it. Its fields are the options of the command, the first
line of its docstring what it does.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from matplotlib.figure import Figure

from ltm_pyro.options import take_fields

Found = dict[str, Any]
"""What a part found, as plain JSON types; a NaN or an infinity is kept as null."""
Note = Callable[[str], Any]
"""Takes a line of text for the person who waits."""


@dataclass(frozen=True)
class Part:
    """A piece of a study that is computed at once and kept in a file of its own.

    Attributes:
        name: of letters, digits, `-` and `_`.
        compute: what it takes, to plain JSON types.
        work: how much it is, in a unit that all parts of the study share.
        follows: what it follows from besides the study's options, such as a text's fingerprint.
        turn: it is computed once all parts of lower turns are finished.
    """

    name: str
    compute: Callable[[], Found]
    work: float = 1.0
    follows: str = ""
    turn: int = 0


@dataclass(frozen=True)
class Trial:
    """A small piece of the work, timed before a study starts to tell how long it will take."""

    run: Callable[[], Any]
    work: float


@dataclass(frozen=True)
class Picture:
    """A picture of a report: a caption, and what draws it on an empty figure (inches)."""

    caption: str
    draw: Callable[[Figure], Any]
    size: tuple[float, float] = (6.4, 3.8)


@dataclass(frozen=True)
class Results:
    """What a study tells.

    Attributes:
        summary: plain JSON types.
        texts: paragraphs and tables in Markdown.
        pictures: by the name of their files.
    """

    summary: Found
    texts: Sequence[str]
    pictures: Mapping[str, Picture]


@dataclass(frozen=True, kw_only=True)
class Study(ABC):
    """Options that all studies have, and what each must say of itself."""

    out: Path
    """Folder of the study: its parts, results.json, report.md and pictures."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    ELSEWHERE: ClassVar[frozenset[str]] = frozenset({"out", "json"})
    """Options that no figure follows from."""
    ADDS: ClassVar[frozenset[str]] = frozenset()
    """Options that add parts, and leave those that are finished as they are: the report of a
    folder is then of all that are there."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        take_fields(self, "--")

    @abstractmethod
    def parts(self) -> Sequence[Part]:
        """What is to be computed, in this order."""

    @abstractmethod
    def trial(self) -> Trial:
        """A small piece of it, timed to estimate the rest."""

    @abstractmethod
    def results(self, found: Mapping[str, Found]) -> Results:
        """What the parts that are finished tell, by name; from them and the options alone.

        So pictures and tables can be made anew where the run is no more.
        """

    def follows(self) -> dict[str, Any]:
        """What all parts follow from besides the options, such as the weights of a run."""
        return {}

    def options(self) -> dict[str, Any]:
        """The options that figures follow from, by name."""
        skip = self.ELSEWHERE
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in skip}

    def run(self, note: Note = print) -> Results:
        """Compute the parts that are not finished, and write the report; see `running.run`."""
        from ltm_pyro.experiments.studies.running import run

        return run(self, note)


def plain(value: Any) -> Any:
    """As JSON can hold it: numbers of Python, null for what is no number, lists for tuples."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "tolist"):  # of numpy and torch
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; None is an empty cell, a number has four decimals."""
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = ("" if one is None else f"{one:.4f}" if isinstance(one, float) else str(one)
                 for one in row)  # fmt: skip
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def with_error(value: float | None, error: float | None, sign: str = "", digits: int = 4) -> str:
    """`3.0142 ± 0.0031`; "" for a number that is not known."""
    if value is None or not math.isfinite(value):
        return ""
    told = f"{value:{sign}.{digits}f}"
    return told if error is None or not math.isfinite(error) else f"{told} ± {error:.{digits}f}"
