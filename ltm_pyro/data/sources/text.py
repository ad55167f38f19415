"""Plain text: one document, or several with something between them."""

import re
from collections.abc import Iterator
from pathlib import Path

from ltm_pyro.data.sources.base import Again, Document, Found, Wanted
from ltm_pyro.data.sources.opening import open_text
from ltm_pyro.data.sources.patience import within
from ltm_pyro.errors import InputError

SUFFIXES = (".txt",)
SECONDS = 10
"""What the search for a separator may take, beside a second for each million letters."""
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
    return Found(Again(lambda: _split(_whole(path), between, path)))


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


def _split(content: str, between: re.Pattern[str], path: Path) -> Iterator[Document]:
    """What stands between matches, whatever groups the expression has."""
    start, matches = 0, between.finditer(content)
    seconds = SECONDS + len(content) // 10**6
    told = (
        f"separator {between.pattern!r} was looked for in {path} for {seconds} s, and not found: "
        "give one without repetitions inside repetitions, or line, or blank-line"
    )
    while True:
        with within(seconds, told):
            match = next(matches, None)
        if match is None:
            break
        yield Document(content[start : match.start()])
        start = match.end()
    yield Document(content[start:])
