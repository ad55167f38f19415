"""What can be installed: ranges, tested versions and the lock agree, on every Python."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
PYTHONS = [
    text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)
]
SYSTEMS = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}


def pins(file: str, **environment: str) -> dict[str, str]:
    """The versions of a file of `name==version; marker` that an environment takes."""
    found: dict[str, str] = {}
    for line in (ROOT / file).read_text().splitlines():
        one = Requirement(line) if line and not line.startswith("#") else None
        if one and (one.marker is None or one.marker.evaluate(environment)):
            [version] = one.specifier
            assert version.operator == "=="
            assert canonicalize_name(one.name) not in found, f"{one.name} has two versions"
            found[canonicalize_name(one.name)] = version.version
    return found


def wanted(**environment: str) -> list[Requirement]:
    """All that pyproject.toml asks for: dependencies, extras and groups."""
    groups = SETTINGS["dependency-groups"].values()
    lines = [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
        *(line for group in groups for line in group if isinstance(line, str)),
    ]
    found = map(Requirement, lines)
    return [one for one in found if one.marker is None or one.marker.evaluate(environment)]


def environment(python: str, system: str) -> dict[str, str]:
    """What markers ask for on a Python and a system, by the name `sys.platform` has."""
    names = {"sys_platform": system, "platform_system": SYSTEMS[system]}
    versions = {"python_version": python, "python_full_version": f"{python}.0"}
    return {**default_environment(), **names, **versions, "platform_machine": "x86_64"}


def test_the_pythons_are_those_that_may_install_it():
    assert PYTHONS == ["3.11", "3.12", "3.13"]
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert all(allowed.contains(one) for one in PYTHONS)
    assert not allowed.contains("3.10")


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_ranges_constraints_and_lock_agree(python, system):
    there = environment(python, system)
    constraints, lock = pins("constraints.txt", **there), pins("requirements.lock", **there)
    for one in wanted(**there):
        version = lock[canonicalize_name(one.name)]
        assert one.specifier.contains(version), f"{one} and {version}: run `make lock`"
    assert constraints.items() <= lock.items(), "run `make lock`"


def test_the_lock_has_what_a_dependency_needs_of_others():
    linux = pins("requirements.lock", **environment("3.12", "linux"))
    other = pins("requirements.lock", **environment("3.12", "darwin"))
    assert {"sympy", "jinja2"} <= linux.keys() & other.keys()  # torch's, everywhere
    assert "nvidia-cublas" in linux.keys() - other.keys()


def test_each_python_has_an_environment_of_its_own():
    def made(*options: str) -> str:
        done = subprocess.run(
            ["make", "-n", "-B", "install", *options], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    if not shutil.which("make"):
        pytest.skip("make is not installed")
    version = "{}.{}".format(*sys.version_info)
    assert "python3 -m venv .venv\n" in made("PYTHON=python3")
    assert f"{sys.executable} -m venv .venv-{version}\n" in made(f"PYTHON={sys.executable}")
    assert "-m venv elsewhere\n" in made(f"PYTHON={sys.executable}", "VENV=elsewhere")


@pytest.mark.slow
@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
@pytest.mark.parametrize("versions", ["constraints.txt", "requirements.lock"])
def test_an_extra_can_be_installed_on_this_python(extra, versions):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet",
         "-c", versions, f".[{extra}]"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_page_installs_the_same():
    """What tests need is said in several places, a newcomer's too."""
    pages = ("README.md", "CONTRIBUTING.md", "Makefile", "docs/start/install.md")
    said = {
        page: set(re.findall(r"\.\[(plots,[\w,-]+)\]", (ROOT / page).read_text())) for page in pages
    }
    assert all(said.values())
    assert len(set.union(*said.values())) == 1, said
