"""An embedded corpus of real text: the Python documentation that every CPython ships."""

import ast
import sysconfig
from collections import deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ltm_pyro.data.sources.base import Document, Found, Wanted

NAME = "python-docs"
COLUMN = "module"
"""The column that holds the module a docstring comes from, e.g. `json.decoder`."""
TOPICS = "topics"
"""Its value for the topics of `help()`."""

LEAST_BYTES = 40
"""Shorter docstrings ("Return True.") are left out."""

_NOT_DOCUMENTATION = {
    "__pycache__", "config", "ensurepip", "idlelib", "lib2to3", "pydoc_data",
    "site-packages", "test", "tests", "turtledemo",
}  # fmt: skip


def read(wanted: Wanted) -> Found:
    """The documentation, with the module each text comes from."""
    keep = COLUMN in wanted.columns
    documents = [Document(t, {COLUMN: module} if keep else {}) for t, module in _modules().items()]
    return Found(documents, (COLUMN,))


def python_docs() -> tuple[str, ...]:
    """The topics of `help()` and the docstrings of the standard library, one document each.

    About 2 MB in 6,000 documents; which ones depends on the Python version. Sources are parsed,
    not imported, so nothing runs.
    """
    return tuple(_modules())


@cache
def _modules() -> dict[str, str]:
    """The module of each text; of a text that stands in several, the first."""
    from pydoc_data import topics

    found: dict[str, str] = dict.fromkeys(topics.topics.values(), TOPICS)
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        within = path.relative_to(library)
        if _NOT_DOCUMENTATION.isdisjoint(within.parts[:-1]):
            for text in _docstrings(path):
                found.setdefault(text, _module(within))
    return {text: module for text, module in found.items() if len(text.encode()) >= LEAST_BYTES}


def _module(path: Path) -> str:
    """`json/decoder.py` is json.decoder, `json/__init__.py` is json."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _docstrings(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []  # a few files in the library are broken on purpose
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = (ast.get_docstring(node) for node in _statements(tree) if isinstance(node, kinds))
    return [text for text in texts if text]


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """A module and its statements, breadth first; no function or class stands in an expression."""
    nodes: deque[ast.AST] = deque([tree])
    while nodes:
        node = nodes.popleft()
        yield node
        for part in ("body", "handlers", "orelse", "finalbody", "cases"):
            nodes.extend(getattr(node, part, ()))
