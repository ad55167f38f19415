"""Imports run one way, every package is installed, and the top level is as promised."""

import ast
import tomllib
from pathlib import Path

import pytest

import ltm_pyro

ROOT = Path(__file__).parent.parent
FLOORS = [
    {"errors", "seeds", "files", "options", "config", "names", "presets", "display", "parsing"},
    {"data"},
    {"programs", "densities"},
    {"models", "guides"},
    {"inference"},
    {"bounds"},
    {"arviz", "auditing", "diagnostics", "generation", "testing"},
    {"runs"},
    {"experiments", "reports"},
    {"commands", "__main__"},
    {"benchmarks"},
]
"""Rooms from the ground up: a file imports from its own floor or from those below."""
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def sources():
    """Each file of the package and of the benchmarks, with its room."""
    for folder in ("ltm_pyro", "models", "guides", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).parts
            yield path, (parts[1].removesuffix(".py") if folder == "ltm_pyro" else parts[0])


def imported(path):
    """The rooms that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or node.level or not node.module:
            continue
        package, _, rest = node.module.partition(".")
        if package == "benchmarks":
            yield package
        elif package == "ltm_pyro" and rest:
            yield rest.split(".")[0]
        elif package == "ltm_pyro":
            yield from (alias.name for alias in node.names if alias.name in LEVEL)


@pytest.mark.parametrize(("path", "name"), list(sources()), ids=lambda x: getattr(x, "name", x))
def test_imports_run_one_way(path, name):
    if name == "__init__":
        return
    for other in imported(path):
        assert LEVEL[other] <= LEVEL[name], f"{path} imports {other}, which stands above it"


def test_the_top_of_the_package_is_short():
    at_top = {p.stem for p in (ROOT / "ltm_pyro").glob("*.py")} - {"__init__"}
    assert len(at_top) <= 10
    assert at_top <= set(LEVEL)


def test_every_package_is_listed_for_installing():
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    folders = {p.parent for p, room in sources() if room != "benchmarks"}
    names = {".".join(f.relative_to(ROOT).parts) for f in folders}
    assert listed == {n if n.startswith("ltm_pyro") else f"ltm_pyro.{n}" for n in names}


def test_the_public_names_are_there():
    assert all(hasattr(ltm_pyro, name) for name in ltm_pyro.__all__)
    assert sorted(ltm_pyro.__all__, key=str.lower) == sorted(set(ltm_pyro.__all__), key=str.lower)


def test_files_fit_on_a_few_screens():
    long = {str(p): n for p, _ in sources() if (n := len(p.read_text().splitlines())) > 330}
    assert not long
