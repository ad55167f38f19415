"""What commands print: to a standard output that is full, or cannot say all letters."""

import json
import os
import subprocess
import sys

import pytest

from ltm_pyro.commands import cli
from ltm_pyro.commands.text import show
from ltm_pyro.errors import InputError


def to_a_full_disk(*command):
    """Exit code and standard error of a command whose standard output takes nothing."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ltm_pyro", *command], stdout=full, stderr=subprocess.PIPE,
            text=True, check=False, env={**os.environ, "PYTHONUNBUFFERED": ""},
        )  # fmt: skip
    return done.returncode, done.stderr


def test_a_full_standard_output_is_told_and_nothing_is_lost():
    code, told = to_a_full_disk("info", "tiny", "--json")
    assert code == 2
    *result, last = told.strip().splitlines()
    assert last.startswith("ltm: error: standard output takes no more (No space left on device)")
    assert json.loads("".join(result))["preset"] == "tiny"


@pytest.mark.parametrize("command", [["--version"], ["--help"], ["info", "--help"]])
def test_also_where_there_is_nothing_to_lose(command):
    code, told = to_a_full_disk(*command)
    assert code == 2
    assert told.startswith("ltm: error: ")
    assert told.count("\n") == 1


def test_a_reader_that_has_left_is_no_error():
    shell = f"{sys.executable} -m ltm_pyro info small --json | head -c 1"
    done = subprocess.run(
        f"set -o pipefail; {shell}", shell=True, executable="/bin/bash", capture_output=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_letters_that_an_encoding_lacks_are_spelt_out(monkeypatch, tmp_path):
    with open(tmp_path / "out", "w", encoding="ascii") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert cli.main(["--version"]) == 0
        show("思想")
    assert (tmp_path / "out").read_text().endswith("\\u601d\\u60f3\n")


def test_a_result_is_shown_or_told(monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(InputError, match="what it was to hold stands on standard error"):
            show("figures of hours")
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    assert capsys.readouterr().err == "figures of hours\n"
