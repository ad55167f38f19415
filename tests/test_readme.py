"""The README's code runs as it stands, and what it says of sizes and results is true."""

import re
import shlex
from pathlib import Path

import pytest

import ltm_pyro as ltm
from benchmarks.report import section, summary
from ltm_pyro.commands import commands
from ltm_pyro.commands.cli import parse
from ltm_pyro.runs.info import info_preset

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {str(p.relative_to(ROOT / "docs")): p.read_text() for p in (ROOT / "docs").rglob("*.md")}


@pytest.mark.parametrize("steps", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_the_python_code_runs_block_after_block(capsys, steps):
    """In few iterations, too; thoughts earn after as many as stand there."""
    names: dict = {}
    assert README.count("steps=100") == 1
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block.replace("steps=100", f"steps={steps}"), names)
    assert list(names["run"].history.step) == list(range(1, steps + 1))
    assert names["posterior"].sample(3).shape == (3, 8, 2, 2, 16)
    gain, error = names["report"].difference("prior", "elbo")
    assert steps < 100 or gain > 2 * error
    assert "NOT A BOUND" in capsys.readouterr().out


def test_the_table_of_sizes_is_what_ltm_info_prints():
    for name in ("tiny", "small", "medium", "large"):
        facts = info_preset(name)
        numbers = [facts[k] for k in ("parameters", "layers", "latents", "fast_steps")]
        line = " | ".join([f"| {name}", *(f"{n:,}" for n in numbers)])
        assert line in PAGES["explanations/the_model.md"]


def test_every_command_it_shows_is_understood():
    shown = re.findall(r"^ltm (.*)$", README, re.MULTILINE)
    assert {line.split()[0] for line in shown} == set(commands())
    for line in shown:
        assert parse(shlex.split(line, comments=True))
    assert ltm.__version__ in (ROOT / "pyproject.toml").read_text()


def test_its_performance_tables_are_the_saved_ones():
    assert summary() in README
    assert section() in PAGES["results/performance.md"]


def test_its_results_stand_on_the_pages_it_names():
    table = re.search(r"## Results.*?\n\n(\|.*?)\n\n", README, re.DOTALL)
    for row in table[1].splitlines()[2:]:
        page = re.search(r"\(docs/(.*?)\)", row)[1]
        for number in re.findall(r"[+-]?\d\.\d+(?: ± \d\.\d+)?", row):
            assert number in PAGES[page]
