"""What commands print: to a standard output that is full, or cannot say all letters."""

import json
import os
import subprocess
import sys

import pytest

from ltm_pyro.commands import cli
from ltm_pyro.commands.text import show
from ltm_pyro.errors import InputError


def process(*command, **files):
    """A command in a process of its own: exit code and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "ltm_pyro", *command], stderr=subprocess.PIPE, text=True,
        check=False, env={**os.environ, "PYTHONUNBUFFERED": ""}, **files,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.fixture
def printing(monkeypatch, capsys):
    """Runs a command here, where all is imported, with a standard output of one's own."""

    def run(make, *command):
        with make() as file, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", file)
            code = cli.main(list(command))
        return code, capsys.readouterr().err  # closed: what it held back would have raised

    return run


def full():
    """A disk that is."""
    return open("/dev/full", "w")


def nobody():
    """A pipe whose reader has left."""
    reads, writes = os.pipe()
    os.close(reads)
    return open(writes, "w")


def test_a_full_standard_output_is_told_and_nothing_is_lost(printing):
    code, told = printing(full, "info", "tiny", "--json")
    assert code == 2
    *result, last = told.strip().splitlines()
    assert last.startswith("ltm: error: standard output takes no more (No space left on device)")
    assert json.loads("".join(result))["preset"] == "tiny"


@pytest.mark.parametrize("command", [["--version"], ["--help"], ["info", "--help"]])
def test_also_where_there_is_nothing_to_lose(command, printing):
    ends = [printing(full, *command)]
    if len(command) == 1:  # these import little: to the end of Python itself
        with full() as file:
            ends.append(process(*command, stdout=file))
    for code, told in ends:
        assert code == 2
        assert told.startswith("ltm: error: ")
        assert told.count("\n") == 1


def test_a_reader_that_has_left_is_no_error(printing):
    assert printing(nobody, "info", "small", "--json") == (0, "")
    with nobody() as pipe:
        assert process("--help", stdout=pipe) == (0, "")


def test_letters_that_an_encoding_lacks_are_spelt_out(monkeypatch, tmp_path):
    with open(tmp_path / "out", "w", encoding="ascii") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert cli.main(["--version"]) == 0
        show("思想")
    assert (tmp_path / "out").read_text().endswith("\\u601d\\u60f3\n")


def test_a_result_is_shown_or_told(monkeypatch, capsys):
    with full() as file:
        monkeypatch.setattr(sys, "stdout", file)
        with pytest.raises(InputError, match="what it was to hold stands on standard error"):
            show("figures of hours")
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
    assert capsys.readouterr().err == "figures of hours\n"
