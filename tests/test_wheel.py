"""What users get: the distributions hold the package, and a wheel works where nothing else is."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLACES = SETTINGS["tool"]["setuptools"]["package-dir"]
USER = '''
"""A user's program."""

import ltm_pyro as ltm
from ltm_pyro.models import LatentThoughtModel


def score(model: LatentThoughtModel, rows: ltm.Rows) -> float:
    """Nats of a token."""
    return ltm.evaluate(model, rows, ["elbo:8"]).figures["elbo"].nats_per_token


fast: int = ltm.Fast(steps=4)
'''


def run(*command: object, **more) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, **more
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with a source distribution, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    [path] = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory) -> tuple[Path, Path]:
    """An environment where the wheel is installed: its Python and its packages.

    What the package needs is taken from here; the folder of this repository is not on its path.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    run("-m", "venv", "--without-pip", folder)
    [packages] = folder.glob("[Ll]ib/**/site-packages")
    run("-m", "pip", "install", "--quiet", "--no-deps", "--target", packages, wheel)
    own = (entry for entry in sys.path if entry.endswith("-packages"))
    (packages / "needed.pth").write_text("\n".join(own) + "\n")
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python", packages


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel):
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}
    expected = {
        "/".join((*package.split("."), *path.relative_to(ROOT / place).parts))
        for package, place in PLACES.items()
        for path in (ROOT / place).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == expected
    assert {"ltm_pyro/models/latent_thought.py", "ltm_pyro/guides/mean_field.py"} <= names
    assert "ltm_pyro/py.typed" in names


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as opened:
        [place] = [name for name in opened.namelist() if name.endswith("/METADATA")]
        told = message_from_bytes(opened.read(place))
        names = opened.namelist()
        command = opened.read(place.replace("METADATA", "entry_points.txt")).decode()
    assert told["Version"] == SETTINGS["project"]["version"]
    assert told["License-Expression"] == "Apache-2.0"
    assert place.replace("METADATA", "licenses/LICENSE") in names
    assert set(told.get_all("Provides-Extra")) == set(SETTINGS["project"]["optional-dependencies"])
    assert "ltm = ltm_pyro.commands.cli:main" in command


def test_the_source_holds_what_builds_it_and_no_tests(built):
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    wanted = {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "codemeta.json"}
    assert wanted | {"models/priors/base.py", "guides/base.py", "ltm_pyro/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests", "docs", "examples"))]


@pytest.mark.slow
def test_it_trains_where_only_the_wheel_is(elsewhere, tmp_path):
    python, packages = elsewhere
    quiet = {**os.environ, "LTM_PYRO_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    code = "import ltm_pyro; print(ltm_pyro.__file__, ltm_pyro.__version__)"
    out = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert out.stdout.split() == [
        str(packages / "ltm_pyro" / "__init__.py"), SETTINGS["project"]["version"],
    ]  # fmt: skip
    (tmp_path / "text.txt").write_text("\n\n".join(f"a small text, number {i}" for i in range(60)))
    for words in (
        "train --data text.txt --out run --steps 2 --vocabulary 300 --length 12",
        "evaluate run --bounds prior",
    ):
        done = subprocess.run(
            [python, "-m", "ltm_pyro", *words.split()],
            cwd=tmp_path, capture_output=True, text=True, env=quiet,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_its_types_reach_a_users_checker(elsewhere, tmp_path):
    python, _ = elsewhere
    (tmp_path / "user.py").write_text(USER)
    options = ("--python-executable", python, "--cache-dir", tmp_path / "cache", "--strict")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "user.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    [error] = [line for line in done.stdout.splitlines() if " error: " in line]
    assert 'expression has type "Fast", variable has type "int"' in error, done.stdout
