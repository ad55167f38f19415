"""A page: sections of blocks, and the one HTML file that they make.

Every text is escaped where it is put into the page, its control characters spelt out; only the
pictures that `pictures` drew go in as they are.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import jinja2
from markupsafe import Markup

from ltm_pyro import __version__
from ltm_pyro.errors import InputError, printable

MARK = "ltm_pyro report"
"""What the generator of a page begins with, by which a report is known."""
TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar = "text"
    text: str


@dataclass(frozen=True)
class Verdict:
    """A sentence that judges, under the name of what it judges."""

    kind: ClassVar = "verdict"
    of: str
    text: str


@dataclass(frozen=True)
class Table:
    """A table: the names of its columns, and its rows, whose first cell names the row."""

    kind: ClassVar = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A picture as SVG, with its caption; what it shows in words stands in the SVG itself."""

    kind: ClassVar = "picture"
    svg: Markup
    caption: str


@dataclass(frozen=True)
class Legend:
    """What marks mean: a colour's number (or "other"), the mark, and its name."""

    kind: ClassVar = "legend"
    marks: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Code:
    """Text as it was written, in its own lines; `folded` under its name until it is opened."""

    kind: ClassVar = "code"
    name: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class Group:
    """Blocks that stand side by side where there is room."""

    kind: ClassVar = "group"
    blocks: Sequence[Any]


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    name: str
    blocks: Sequence[Any]
    parts: Sequence["Section"] = field(default_factory=tuple)

    @property
    def id(self) -> str:
        """What a link within the page calls it."""
        return re.sub(r"\W+", "-", self.name.lower())


def render(title: str, lead: str, sections: Sequence[Section], foot: str) -> bytes:
    """A page as HTML that needs nothing from elsewhere, UTF-8."""
    template = _environment().from_string(TEMPLATE.read_text(encoding="utf-8"))
    generator = f"{MARK} {__version__}"
    text = template.render(
        title=title, lead=lead, sections=sections, foot=foot, generator=generator
    )
    return text.encode("utf-8", "backslashreplace")  # half a letter, as in a file's name


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_written,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.tests["number"] = lambda cell: re.match(r"[-+]?\d[\d,.]*( ±| to|$)", cell) is not None
    return made


def _written(value: Any) -> Any:
    return value if isinstance(value, Markup) else printable(str(value))


def check_place(path: Path) -> bool:
    """Whether a report stands where one is to be written, which it then replaces.

    Raises:
        InputError: if something else does, or its name is not one of a page.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {path}: a report is a page, expected a name that ends in .html")
    if path.is_dir():
        raise InputError(f"--out {path} is a folder: give the name of a file, such as report.html")
    if not path.exists():
        return False
    try:
        with open(path, "rb") as file:
            start = file.read(2000)
    except OSError as error:
        raise InputError(f"cannot read {path}, which is in the way: {error.strerror}") from None
    if f'<meta name="generator" content="{MARK} '.encode() not in start:
        raise InputError(
            f"{path} is no report of ltm report, which replaces only its own: give another --out"
        )
    return True
