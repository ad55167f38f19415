"""Imports run one way, every package is installed, and the top level is as promised."""

import ast
import tomllib
from pathlib import Path

import pytest

import ltm_pyro

ROOT = Path(__file__).parent.parent
LAYERS = [
    {"_version", "errors", "seeds", "config", "files", "signals"},
    {"presets", "config_json"},
    {"registry", "attention", "head", "data"},
    {"decoder", "decoding", "choosing", "likelihood", "computing"},
    {"densities"},
    {"models", "guides"},
    {"elbo"},
    {"inference", "build"},
    {"bounds"},
    {"arviz", "diagnostics", "generation", "checkpoint", "testing", "folder", "held_out", "checks"},
    {"trainer"},
    {"training"},
    {"demo", "info", "zoo"},
    {"commands"},
    {"cli"},
    {"__main__"},
]


def room(parts):
    return parts[0].removesuffix(".py")


def sources():
    for folder in (ROOT / "ltm_pyro", ROOT / "models", ROOT / "guides"):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(ROOT).parts
            yield path, room(parts[1:] if parts[0] == "ltm_pyro" else parts)


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ltm_pyro."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "ltm_pyro":
            yield from (alias.name for alias in node.names if (LEVEL.get(alias.name) is not None))


LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


@pytest.mark.parametrize(("path", "name"), list(sources()), ids=lambda x: getattr(x, "name", x))
def test_imports_run_one_way(path, name):
    if name == "__init__":
        return
    for other in imported(path):
        assert LEVEL[other] <= LEVEL[name], f"{path} imports {other}, which stands above it"
    if name in ("models", "guides"):
        assert not {"inference", "bounds"} & set(imported(path))


def test_every_package_is_listed_for_installing():
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    folders = {p.parent for p, _ in sources()}
    names = {".".join(f.relative_to(ROOT).parts) for f in folders}
    assert listed == {n if n.startswith("ltm_pyro") else f"ltm_pyro.{n}" for n in names}


def test_the_public_names_are_there():
    assert all(hasattr(ltm_pyro, name) for name in ltm_pyro.__all__)
    assert sorted(ltm_pyro.__all__, key=str.lower) == sorted(set(ltm_pyro.__all__), key=str.lower)


def test_files_fit_on_a_few_screens():
    long = {str(p): n for p, _ in sources() if (n := len(p.read_text().splitlines())) > 330}
    assert not long
