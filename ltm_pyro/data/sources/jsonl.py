"""JSON: a record a line, a list of records, or one record."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ltm_pyro.data.sources.base import Found, Wanted
from ltm_pyro.data.sources.opening import kind_of, open_text
from ltm_pyro.data.sources.records import Number, Record, documents_of, kind_of_value
from ltm_pyro.errors import InputError

SUFFIXES = (".jsonl", ".json", ".ndjson")


def read(path: Path, wanted: Wanted) -> Found:
    """A document a record."""
    if _is_whole(path):
        try:
            with open_text(path) as file:
                return _in_memory(_loads(file.read()), path, wanted)
        except ValueError as error:
            # Several values one after the other: a record a line under another name.
            if not str(error).startswith("Extra data") or kind_of(path) != ".json":
                raise _cannot(path, str(error)) from None
    return documents_of(lambda: _lines(path, wanted), wanted, str(path))


def _is_whole(path: Path) -> bool:
    """Whether the file is one JSON value: it begins a list, or is called .json."""
    with open_text(path) as file:
        first = file.read(1)
        while first.isspace():
            first = file.read(1)
    return first == "[" or kind_of(path) == ".json"


def _in_memory(value: Any, path: Path, wanted: Wanted) -> Found:
    records = value if isinstance(value, list) else [value]
    if not records:
        raise _cannot(path, "it holds no record")

    def read() -> Iterator[Record]:
        for number, record in enumerate(records, start=1):
            try:
                yield _check(record, path, f"value {number}")
            except InputError as error:
                wanted.broken("values that are no record", error)

    if wanted.skipped is None:
        list(read())  # what is wrong is told at once
    return documents_of(read, wanted, str(path))


def _lines(path: Path, wanted: Wanted) -> Iterator[Record]:
    number = found = 0
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = _check(_loads(line), path, f"line {number}")
            except InputError as error:
                wanted.broken("lines that are no record", error)
            except ValueError as error:
                wanted.broken("lines that are no record", _cannot(path, f"line {number}: {error}"))
            else:
                yield record
                found += 1
    if not found:
        raise _cannot(path, "it holds no record")


def _loads(text: str) -> Any:
    """JSON with its numbers as they were written.

    Raises:
        ValueError: if it is none.
    """
    try:
        return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=Number)
    except RecursionError:
        raise ValueError("lists or records within one another without end") from None


def _check(record: Any, path: Path, place: str) -> Record:
    if not isinstance(record, dict):
        what = "a number" if isinstance(record, Number) else (
            "a text" if isinstance(record, str) else kind_of_value(record)
        )  # fmt: skip
        raise _cannot(path, f"{place} is {what}, expected a record with named fields")
    return record


def _cannot(path: Path, why: str) -> InputError:
    return InputError(f"cannot read {path} as {kind_of(path)[1:]}: {why}")
