"""Every example runs as a script and is a notebook that jupytext can open."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import jupytext
import matplotlib
import matplotlib.pyplot as plt
import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
SCRIPTS = [
    pytest.param(path, marks=[] if path.stem == "reading_an_elbo" else pytest.mark.slow)
    for path in EXAMPLES
]
OTHERS = [path for path in EXAMPLES if path.stem != "reading_an_elbo"]


@pytest.mark.parametrize("path", OTHERS, ids=lambda p: p.stem)
def test_its_cells_run(path, tmp_path, monkeypatch):
    """In this process, which has imported everything."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), "--smoke"])
    matplotlib.use("Agg")
    runpy.run_path(str(path), run_name="__main__")
    plt.close("all")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_it_is_a_script(path, tmp_path):
    environment = os.environ | {"MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, path, "--smoke"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_it_is_a_notebook(path):
    cells = jupytext.read(path).cells
    assert {cell.cell_type for cell in cells} == {"markdown", "code"}
    assert cells[0].source.startswith("# ")


def test_there_are_examples():
    assert EXAMPLES
