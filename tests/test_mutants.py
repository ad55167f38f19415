"""The mutants that `tests.mutate` makes are those that it says, one change each."""

from types import SimpleNamespace

import pytest

from . import mutate
from .mutate import chosen, code, mutants, report

SOURCE = '''"""A text of 3 words."""

LEAST: float = 0.5


def f(x: int, flag: bool = True) -> int:
    if not flag and x < 2:
        return -x + 1
    return f"{x + 1}" if x in (7,) else x
'''


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    path = tmp_path / "one.py"
    path.write_text(SOURCE)
    return path


def test_every_operator_comparison_and_number_is_changed_and_nothing_else(source):
    found = sorted((m.line, m.what) for m in mutants(source))
    assert found == [
        (3, "0.5 -> 0.76"), (6, "True -> False"), (7, "2 -> 3"), (7, "And -> Or"),
        (7, "Lt -> LtE"), (7, "Not gone"), (8, "1 -> 2"), (8, "Add -> Sub"), (8, "USub gone"),
        (9, "7 -> 8"), (9, "In -> NotIn"),
    ]  # fmt: skip


def test_each_is_one_change(source):
    def outcome(mutant=None):
        space = {}
        exec(compile(SOURCE, "one", "exec") if mutant is None else code(mutant), space)
        f = space["f"]
        return space["LEAST"], f(1), f(1, False), f(2, False), f(7), f(8)

    before = outcome()
    assert before == (0.5, 1, 0, 2, "8", 8)
    for mutant in mutants(source):
        assert outcome(mutant) != before, mutant


def test_tests_of_its_line_are_run_the_quickest_first(source):
    (mutant,) = (m for m in mutants(source) if m.what == "Add -> Sub")
    known = {
        "lines": {"one.py:8": ["slow", "quick"], "one.py:9": ["other"], "two.py:8": ["none"]},
        "seconds": {"slow": 2.0, "quick": 1.0, "other": 0.5, "none": 0.1},
    }
    assert chosen(mutant, known) == ["quick", "slow"]
    known["seconds"]["slow"] = 1e3
    assert chosen(mutant, known) == ["quick"]
    (number,) = (m for m in mutants(source) if m.line == 3)  # runs when it is imported
    assert chosen(number, known) == ["other", "quick"]


def test_lines_that_run_on_import_belong_to_no_test(source):
    lines = mutate.Lines()
    lines.files = {str(source): "one.py"}
    watched = lines.pytest_runtest_protocol(SimpleNamespace(nodeid="first"))
    next(watched)
    space = {}
    exec(compile(SOURCE, str(source), "exec"), space)
    space["f"](3)
    watched.close()
    assert set(lines.seen) == {f"one.py:{n}" for n in (6, 7, 9)}  # not of LEAST, in line 3


def test_the_report_names_survivors():
    results = {"a:1:1 x": {"outcome": "killed"}, "b:2:1 y": {"outcome": "survives"}}
    assert report(results) == (
        "2 mutants: 1 killed, 1 survives\nnoticed: 50.0% of those with a test\nb:2:1 y"
    )
