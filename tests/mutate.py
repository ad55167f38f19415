"""Mutants of the rooms whose numbers are to be trusted, and which of them no test notices.

`python -m tests.mutate --minutes 9` runs the tests once to learn which lines each passes through,
then changes one operator, comparison or number after the other, in an order that is a lottery, and
runs the tests of that line, the quickest first, until one fails. What is known stands in
`build/mutants.json`, and another call goes on from there; `--report` prints the survivors. Needs a
system that forks.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import inspect
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("bounds", "programs", "diagnostics")
TESTS = ("tests/bounds", "tests/programs", "tests/diagnostics", "tests/inference")
SAVED, TRACED = ROOT / "build" / "mutants.json", ROOT / "build" / "mutants-lines.json"
LONGEST = 40.0
"""Seconds of tests, as they were traced, that a mutant is given at most."""
PATIENCE = 5.0
"""A mutant may take so many times what its tests took, and half a minute, before it hangs."""
BEFORE = ("torch", "pyro", "numpy", "scipy.stats", "pandas", "hypothesis", "matplotlib.pyplot",
          "arviz_stats.base", "tokenizers", "pyarrow", "tqdm")  # fmt: skip
"""Imported once, before any mutant is made."""

SWAPPED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.Mod: ast.Add, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A change at one place: the `place`-th node of its file's tree."""

    file: str
    line: int
    place: int
    what: str

    @property
    def name(self) -> str:
        """What it is known by."""
        return f"{self.file}:{self.line}:{self.place} {self.what}"


def mutants(path: Path) -> Iterator[Mutant]:
    """All of a file; annotations and texts are left alone."""
    tree = ast.parse(path.read_text())
    idle = _idle(tree)
    for place, node in enumerate(ast.walk(tree)):
        what = None if id(node) in idle else _changed(copy.copy(node))
        if what is not None:
            line: int = getattr(node, "lineno", 0)
            yield Mutant(path.relative_to(ROOT).as_posix(), line, place, what)


def code(mutant: Mutant) -> Any:
    """Its file, changed and compiled."""
    path = ROOT / mutant.file
    tree = ast.parse(path.read_text())
    for place, node in enumerate(ast.walk(tree)):
        if place == mutant.place:
            _changed(node)
    return compile(ast.fix_missing_locations(tree), str(path), "exec", dont_inherit=True)


def _changed(node: Any) -> str | None:
    """Change a node in place; in words what was done, None if nothing can be."""
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPPED:
        before, after = type(node.op), SWAPPED[type(node.op)]
        node.op = after()
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        before, after = type(node.ops[0]), SWAPPED[type(node.ops[0])]
        node.ops = [after(), *node.ops[1:]]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        before, after = type(node.op), ast.UAdd
        node.op = ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not()
        if before is not ast.USub:  # not not x is x
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
        return f"{before.__name__} gone"
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        old = node.value
        node.value = old + 1 if isinstance(old, int) else old * 1.5 + 0.01
        return f"{old} -> {node.value:g}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
        return f"{not node.value} -> {node.value}"
    else:
        return None
    return f"{before.__name__} -> {after.__name__}"


def _idle(tree: ast.AST) -> set[int]:
    """Nodes that decide nothing: annotations, and parts of f-strings."""
    found: set[int] = set()
    for node in ast.walk(tree):
        idle: list[Any] = []
        if isinstance(node, ast.FunctionDef):
            idle = [
                node.returns,
                *(a.annotation for a in ast.walk(node.args) if hasattr(a, "annotation")),
            ]
        elif isinstance(node, ast.AnnAssign):
            idle = [node.annotation]
        elif isinstance(node, ast.JoinedStr):
            idle = [node]
        for one in idle:
            if one is not None:
                found |= {id(inner) for inner in ast.walk(one)}
    return found


class Lines:
    """A pytest plugin: which lines of the rooms each test passes through, and how long it takes."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}
        self.seconds: dict[str, float] = {}
        self.files = {str(path): path.relative_to(ROOT).as_posix() for path in _files()}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        """Watch one test, its fixtures included."""
        here: set[str] = set()
        begun = time.perf_counter()

        def trace(frame: Any, event: str, argument: Any) -> Any:
            file = self.files.get(frame.f_code.co_filename)
            if file is None or not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
                return None  # what runs on import belongs to no test
            here.add(f"{file}:{frame.f_lineno}")
            return trace

        sys.settrace(trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self.seconds[item.nodeid] = time.perf_counter() - begun
            for line in here:
                self.seen.setdefault(line, set()).add(item.nodeid)

    def facts(self) -> dict[str, Any]:
        """Lines and seconds, as plain JSON types."""
        lines = {line: sorted(tests) for line, tests in sorted(self.seen.items())}
        return {"lines": lines, "seconds": self.seconds}


def traced(rooms: list[str], end: float) -> dict[str, Any] | None:
    """What tests pass through, one file of them after the other; None if time is up before."""
    known = json.loads(TRACED.read_text()) if TRACED.exists() else {}
    TRACED.parent.mkdir(exist_ok=True)
    files: list[Path] = []
    for room in rooms:
        files += [ROOT / room] if room.endswith(".py") else sorted((ROOT / room).glob("test_*.py"))
    for file in files:
        name = file.relative_to(ROOT).as_posix()
        if name in known:
            continue
        if time.monotonic() > end:
            return None
        child = os.fork()
        if not child:
            lines = Lines()
            failed = pytest.main(["-q", "-p", "no:cacheprovider", name], plugins=[lines])
            if failed not in (0, 5):
                os._exit(1)
            TRACED.write_text(json.dumps({**known, name: lines.facts()}))
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"{name} fails as it is")
        known = json.loads(TRACED.read_text())
    found: dict[str, Any] = {"lines": {}, "seconds": {}}
    for one in known.values():
        found["seconds"] |= one["seconds"]
        for line, tests in one["lines"].items():
            found["lines"].setdefault(line, []).extend(tests)
    return found


def _files() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / "ltm_pyro" / room).glob("*.py"))]


def chosen(mutant: Mutant, known: dict[str, Any]) -> list[str]:
    """Tests of its line (of its file, where that runs on import), the quickest first."""
    seconds, lines = known["seconds"], known["lines"]
    tests = set(lines.get(f"{mutant.file}:{mutant.line}", ()))
    if not tests:
        tests = {
            t for line, its in lines.items() if line.startswith(f"{mutant.file}:") for t in its
        }
    found, spent = [], 0.0
    for test in sorted(tests, key=seconds.__getitem__):
        spent += seconds[test]
        if found and spent > LONGEST:
            break
        found.append(test)
    return found


def tried(mutant: Mutant, tests: list[str], patience: float) -> str:
    """ "killed", "hangs" or "survives", in a process of its own."""
    child = os.fork()
    if not child:
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        original, target = SourceFileLoader.get_code, str(ROOT / mutant.file)

        def get_code(self: Any, fullname: str) -> Any:
            return code(mutant) if self.path == target else original(self, fullname)

        SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
        with contextlib.suppress(BaseException):
            left = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "", *tests])
            os._exit(int(left))
        os._exit(1)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            left = os.waitstatus_to_exitcode(status)
            return {0: "survives", 5: "no test"}.get(left, "killed")
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs"


def report(results: dict[str, Any]) -> str:
    """How many were killed, and each that was not."""
    count = Counter(one["outcome"] for one in results.values())
    tested = sum(count.values()) - count["no test"]
    lines = [
        f"{len(results)} mutants: " + ", ".join(f"{n} {name}" for name, n in count.most_common()),
        f"noticed: {(count['killed'] + count['hangs']) / max(tested, 1):.1%} of those with a test",
    ]
    lines += [name for name, one in sorted(results.items())
              if one["outcome"] in ("survives", "no test")]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Go on where the last call ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--file", default="", help="only files whose path holds this")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="tests to run, folders or files")
    parser.add_argument("--report", action="store_true", help="print what is known")
    parser.add_argument("--again", action="store_true", help="try survivors once more")
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    results = json.loads(SAVED.read_text()) if SAVED.exists() else {}
    if given.report:
        print(report(results))
        return
    for name in BEFORE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    os.chdir(ROOT)
    known = traced(given.tests, end)
    if known is None:
        print("lines are not all known yet: call again")
        return
    todo = [m for path in _files() for m in mutants(path) if given.file in m.file]
    random.Random(0).shuffle(todo)
    for mutant in todo:
        before = results.get(mutant.name)
        if before and not (given.again and before["outcome"] == "survives"):
            continue
        if time.monotonic() > end:
            break
        tests = chosen(mutant, known)
        patience = 30 + PATIENCE * sum(known["seconds"][test] for test in tests)
        outcome = tried(mutant, tests, patience) if tests else "no test"
        results[mutant.name] = {"outcome": outcome, "tests": len(tests)}
        print(f"{outcome:<9}{mutant.name}", flush=True)
        SAVED.write_text(json.dumps(results, indent=1))
    print(report(results).splitlines()[0])


if __name__ == "__main__":
    main()
