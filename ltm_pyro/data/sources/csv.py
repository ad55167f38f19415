"""Tables of cells: a record a line, the first line names the fields."""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

from ltm_pyro.data.sources.base import Found, Wanted
from ltm_pyro.data.sources.opening import kind_of, open_text
from ltm_pyro.data.sources.records import Record, documents_of
from ltm_pyro.errors import InputError

SUFFIXES = (".csv", ".tsv")
DELIMITERS = (",", ";", "\t", "|")
LOOKED_AT = 50
"""Records that tell which delimiter a table has."""


def read(path: Path, wanted: Wanted) -> Found:
    """A document a record; a cell is the text that stands in it, and a blank one is missing."""
    csv.field_size_limit(2**31 - 1)
    if wanted.delimiter is not None and len(wanted.delimiter) != 1:
        raise InputError(f"delimiter {wanted.delimiter!r}: expected one character, e.g. ';'")
    between = wanted.delimiter or _delimiter(path)
    header = next(_rows(path, between), (0, []))[1]
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise InputError(
            f"{path} has two fields of the name {sorted(twice)[0]!r}: give each its own"
        )
    return documents_of(lambda: _records(path, between, header, wanted), wanted, str(path), header)


def _records(path: Path, between: str, header: list[str], wanted: Wanted) -> Iterator[Record]:
    found = False
    for line, row in itertools.islice(_rows(path, between), 1, None):
        if len(row) != len(header):
            wanted.broken("rows of a table with other cells than its header", InputError(
                f"cannot read {path} as {kind_of(path)[1:]}: the row that ends in line {line} has "
                f"{len(row)} cells, its header {len(header)} ({', '.join(header)}): put cells with "
                f"{between!r} or line ends in them between double quotes"
            ))  # fmt: skip
            continue
        yield {name: cell or None for name, cell in zip(header, row, strict=True)}
        found = True
    if not found:
        raise InputError(f"cannot read {path} as {kind_of(path)[1:]}: it holds no record")


def _rows(path: Path, between: str) -> Iterator[tuple[int, list[str]]]:
    """The line a row ends in, and its cells; blank lines are none."""
    with open_text(path, newline="") as file:
        reader = csv.reader(file, delimiter=between, strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            raise InputError(
                f"cannot read {path} as {kind_of(path)[1:]}: line {reader.line_num}: {error}"
            ) from None


def _delimiter(path: Path) -> str:
    """The delimiter under which the header has several fields, and each of the first rows as many.

    Raises:
        InputError: if several would do.
    """
    if kind_of(path) == ".tsv":
        return "\t"
    named, fits = [], []
    for between in DELIMITERS:
        try:
            rows = [row for _, row in itertools.islice(_rows(path, between), LOOKED_AT)]
        except InputError:
            continue  # quotes that are none under this delimiter
        if rows and len(rows[0]) > 1:
            named.append(between)
            if len({len(row) for row in rows}) == 1:
                fits.append(between)
    found = fits or named
    if len(found) > 1:
        raise InputError(
            f"{path} may be a table with cells between {' or '.join(map(repr, found))}: say which, "
            "with --delimiter"
        )
    return found[0] if found else ","
