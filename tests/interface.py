"""What others may call: every public name of the package, and its parameters.

`python -m tests.interface` prints, as lines for the changelog, what changed since
`tests/interface.txt` was written and the changelog does not tell yet. With `--renew` it writes that
file anew, but only once the changelog tells all of it.
"""

import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
RECORDED = Path(__file__).with_name("interface.txt")
OPEN = (
    "ltm_pyro.data.rows",
    "ltm_pyro.models.decoders.stack",
    "ltm_pyro.programs.densities",
    "ltm_pyro.programs.reading",
    "ltm_pyro.runs.callbacks",
    "ltm_pyro.seeds",
)
"""Modules without an `__all__` that the documentation imports from: what they define is public."""


def listing() -> list[str]:
    """A line for each public name, such as `ltm_pyro.bounds.compare(reports, by='elbo')`."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    objects = {
        f"{place}.{name}": value
        for place in (*settings["packages"], *OPEN)
        for name, value in exported(importlib.import_module(place))
    }
    public = {value for value in objects.values() if inspect.isclass(value)}
    lines, told = [], set()
    for name, value in objects.items():
        if id(value) in told:  # shown by another package too
            lines.append(name)
            continue
        told.add(id(value))
        lines.append(entry(name, value))
        if inspect.isclass(value):
            lines += members(name, value, public)
    return sorted(set(lines))


def exported(module: ModuleType) -> list[tuple[str, Any]]:
    """The public names of a module: `__all__`, or of an `OPEN` one what it defines."""
    if module.__name__ not in OPEN:
        return [(name, getattr(module, name)) for name in getattr(module, "__all__", ())]
    return [
        (name, value)
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    ]


def members(name: str, cls: type, public: set[type]) -> Iterator[str]:
    """Methods and properties of a class: its own, and those of bases that are not public."""
    hidden = (c for c in cls.__mro__[1:] if c.__module__.startswith("ltm_pyro") and c not in public)
    for base in (cls, *hidden):
        for key, value in vars(base).items():
            if key.startswith("_"):
                continue
            if isinstance(value, property | cached_property):
                yield f"{name}.{key}"
            elif inspect.isroutine(value):
                yield entry(f"{name}.{key}", getattr(cls, key), inspect.isfunction(value))


def entry(name: str, value: Any, of_object: bool = False) -> str:
    """A name and how it is called: parameters with their defaults, without their types."""
    try:
        signature = inspect.signature(value) if callable(value) else None
    except ValueError:  # an exception's own
        signature = None
    if signature is None:
        return name
    called = [
        one.replace(annotation=one.empty, default=plain(one.default))
        for one in list(signature.parameters.values())[of_object:]
    ]
    return name + str(signature.replace(parameters=called, return_annotation=signature.empty))


def plain(default: Any) -> Any:
    """A default that prints without modules and addresses, which differ from run to run."""
    if inspect.isclass(default) and default is not inspect.Parameter.empty:
        return Printed(default.__name__)
    found = re.match(r"<(?:function |class )?(?:\w+\.)*(\w+)", repr(default))
    return Printed(f"<{found[1]}>") if found and not inspect.isclass(default) else default


class Printed(str):
    """A text that prints without quotes."""

    __repr__ = str.__str__


def changes(before: list[str], now: list[str]) -> list[str]:
    """Names that are new, gone or now called otherwise, as lines for the changelog."""
    old, new = ({line.partition("(")[0]: line for line in lines} for lines in (before, now))
    moved = old.keys() ^ new.keys()
    lines = [f"gone: `{line}`" for name, line in old.items() if name not in new]
    lines += [f"new: `{line}`" for name, line in new.items() if name not in old]
    lines += [f"now: `{new[name]}`" for name in old.keys() & new.keys() if old[name] != new[name]]
    # The members of a class come and go with it.
    return sorted(
        line for line in lines if re.split(r"[`(]", line)[1].rpartition(".")[0] not in moved
    )


def untold(lines: list[str], changelog: str) -> list[str]:
    """The lines that the changelog's first section lacks, however it wraps them."""
    section = re.split(r"^## ", changelog, flags=re.MULTILINE)[1]
    return [line for line in lines if line not in " ".join(section.split())]


def main(renew: bool = False) -> int:
    """Print what the changelog lacks; 1 if there is any."""
    now = listing()
    lines = changes(RECORDED.read_text().splitlines(), now)
    lacking = untold(lines, (ROOT / "CHANGELOG.md").read_text())
    print(*(f"- {line}" for line in lacking), sep="\n", end="\n" if lacking else "")
    if renew and not lacking:
        RECORDED.write_text("\n".join(now) + "\n")
    return bool(lacking)


if __name__ == "__main__":
    sys.exit(main("--renew" in sys.argv[1:]))
