"""The README's code runs as it stands, and what it says of sizes is true."""

import re
from pathlib import Path

import ltm_pyro as ltm
from benchmarks.report import section
from ltm_pyro.commands import commands
from ltm_pyro.commands.cli import parse
from ltm_pyro.runs.info import info_preset

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_python_code_runs_block_after_block(capsys):
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, names)
    assert list(names["run"].history.step) == list(range(1, 61))
    assert names["posterior"].sample(3).shape == (3, 8, 2, 2, 16)
    assert "NOT A BOUND" in capsys.readouterr().out


def test_the_table_of_sizes_is_what_ltm_info_prints():
    for name in ("tiny", "small", "medium", "large"):
        facts = info_preset(name)
        numbers = [facts[k] for k in ("parameters", "layers", "latents", "fast_steps")]
        assert " | ".join([f"| {name}", *(f"{n:,}" for n in numbers)]) in README


def test_every_command_it_shows_is_understood():
    shown = re.findall(r"^ltm (.*)$", README, re.MULTILINE)
    assert {line.split()[0] for line in shown} == set(commands())
    for line in shown:
        words = [w.strip('"') for w in re.findall(r'"[^"]*"|\S+', line.partition("#")[0])]
        assert parse(words)
    assert ltm.__version__ in (Path(__file__).parent.parent / "pyproject.toml").read_text()


def test_its_performance_table_is_the_saved_one():
    assert section() in README
