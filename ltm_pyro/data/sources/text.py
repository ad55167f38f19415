"""Plain text: one document, or several with something between them."""

import re
from pathlib import Path

from ltm_pyro.data.sources.base import Document, Found, Wanted, utf8
from ltm_pyro.errors import InputError

SUFFIXES = (".txt",)


def read(path: Path, wanted: Wanted) -> Found:
    """The whole file as a document, or its parts between separators."""
    content, separator = utf8(path), wanted.separator
    if separator is None:
        return Found([Document(content)])
    try:
        return Found([Document(text) for text in re.split(separator, content)])
    except re.error as error:
        raise InputError(f"separator {separator!r} is no regular expression: {error}") from None
