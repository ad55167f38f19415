"""The commands of `ltm`: `train.py` holds the command `train`, a dataclass `Train` with a `run`.

Its fields are the command's options, the first line of its docstring what it does. A new command
is a new file here.
"""

import ast
import importlib
from functools import cache
from pathlib import Path
from typing import Any

from ltm_pyro.errors import unknown


@cache
def commands() -> dict[str, str]:
    """Each command and what it does, read from the files: to import them takes seconds."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == _class_name(path.stem):
                methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
                if "run" in methods:
                    what = ast.get_docstring(node) or ""
                    found[path.stem.replace("_", "-")] = what.split("\n")[0]
    return found


def command(name: str) -> Any:
    """The class of a command.

    Raises:
        InputError: for a name that is not known.
    """
    if name not in commands():
        raise unknown("command", name, commands())
    stem = name.replace("-", "_")
    module = importlib.import_module(f"ltm_pyro.commands.{stem}")
    return getattr(module, _class_name(stem))


def _class_name(stem: str) -> str:
    return stem.title().replace("_", "")
