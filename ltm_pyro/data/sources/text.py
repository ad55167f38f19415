"""Plain text: one document, or several with something between them."""

import re
from collections.abc import Iterator
from pathlib import Path

from ltm_pyro.data.sources.base import Again, Document, Found, Wanted
from ltm_pyro.data.sources.opening import open_text
from ltm_pyro.errors import InputError

SUFFIXES = (".txt",)
LINE, BLANK_LINE = "line", "blank-line"


def read(path: Path, wanted: Wanted) -> Found:
    """The whole file as a document, or its parts between separators.

    Line ends are "\\n" in all of them.
    """
    if wanted.separator in (LINE, BLANK_LINE):
        each = _lines if wanted.separator == LINE else _paragraphs
        return Found(Again(lambda: each(path)))
    if wanted.separator is None:
        return Found(Again(lambda: iter([Document(_whole(path))])))
    try:
        between = re.compile(wanted.separator)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(
            f"separator {wanted.separator!r} is no regular expression: {error}"
        ) from None
    return Found(Again(lambda: _split(_whole(path), between)))


def _whole(path: Path) -> str:
    with open_text(path) as file:
        return file.read()


def _lines(path: Path) -> Iterator[Document]:
    with open_text(path) as file:
        for line in file:
            yield Document(line.removesuffix("\n"))


def _paragraphs(path: Path) -> Iterator[Document]:
    """Texts with one or more blank lines between them."""
    with open_text(path) as file:
        held: list[str] = []
        for line in file:
            if line.strip(" \t\n"):
                held.append(line)
            elif held:
                yield Document("".join(held).removesuffix("\n"))
                held = []
        if held:
            yield Document("".join(held).removesuffix("\n"))


def _split(content: str, between: re.Pattern[str]) -> Iterator[Document]:
    """What stands between matches, whatever groups the expression has."""
    start = 0
    for match in between.finditer(content):
        yield Document(content[start : match.start()])
        start = match.end()
    yield Document(content[start:])
