"""An embedded corpus of real text: the Python documentation that every CPython ships."""

import ast
import sysconfig
from functools import cache
from pathlib import Path

LEAST_BYTES = 40
"""Shorter docstrings ("Return True.") are left out."""

_NOT_DOCUMENTATION = {
    "__pycache__", "config", "ensurepip", "idlelib", "lib2to3", "pydoc_data",
    "site-packages", "test", "tests", "turtledemo",
}  # fmt: skip


@cache
def python_docs() -> tuple[str, ...]:
    """The topics of `help()` and the docstrings of the standard library, one document each.

    About 2 MB in 6,000 documents; which ones depends on the Python version. Sources are parsed,
    not imported, so nothing runs.
    """
    from pydoc_data import topics

    found: dict[str, None] = dict.fromkeys(topics.topics.values())
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if _NOT_DOCUMENTATION.isdisjoint(path.relative_to(library).parts[:-1]):
            found.update(dict.fromkeys(_docstrings(path)))
    return tuple(text for text in found if len(text.encode()) >= LEAST_BYTES)


def _docstrings(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []  # a few files in the library are broken on purpose
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))
    return [text for text in texts if text]
