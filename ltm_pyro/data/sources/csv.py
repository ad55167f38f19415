"""Comma-separated values: a record a line, the first line names the fields."""

from pathlib import Path

from ltm_pyro.data.sources.base import Found, Wanted, utf8
from ltm_pyro.data.sources.records import file_of_records

SUFFIXES = (".csv",)


def read(path: Path, wanted: Wanted) -> Found:
    """A document a record."""
    utf8(path)
    return file_of_records(path, "from_csv", wanted)
