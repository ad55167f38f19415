"""Every example runs as a script and is a notebook that jupytext can open."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import jupytext
import matplotlib
import matplotlib.pyplot as plt
import nbformat
import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# What these do the pages on writing a guide and a prior do in short, and tests of diagnostics.
COSTLY = {"swap_the_guide", "swap_the_prior", "how_tight_is_my_bound"}


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.slow if p.stem in COSTLY else []) for p in EXAMPLES],
    ids=lambda p: p.stem,
)
def test_its_cells_run(path, tmp_path, monkeypatch):
    """In this process, which has imported everything."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), "--smoke"])
    matplotlib.use("Agg")
    runpy.run_path(str(path), run_name="__main__")
    plt.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
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


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_each_cell_runs_twice_in_jupyter(path, tmp_path):
    """As people do; with nbclient and ipykernel, which the group `docs` brings."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = jupytext.read(path)
    smoke = nbformat.v4.new_code_cell("import sys\nsys.argv = ['notebook', '--smoke']")
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    again = [nbformat.v4.new_code_cell(cell.source) for cell in code for _ in range(2)]
    book = nbformat.v4.new_notebook(cells=[smoke, *again])
    done = nbclient.NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [one for cell in done.cells for one in cell.get("outputs", [])]
    assert any("image/png" in one.get("data", {}) for one in outputs)
    told = "".join(one["text"] for one in outputs if one.get("name") == "stderr")
    assert "it/s" not in told  # no bars
    assert "\r" not in told


def test_every_example_is_a_tutorial():
    page = (ROOT / "docs" / "tutorials" / "index.md").read_text()
    listed = page.split("```{toctree}")[1].split("```")[0].split("\n\n")[1].split()
    assert len(listed) == 12
    assert sorted(listed) == [path.stem for path in EXAMPLES]
    assert all(page.count(f"`{name}`") == 1 for name in listed)
