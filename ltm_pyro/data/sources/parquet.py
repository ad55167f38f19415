"""Parquet: a record a row."""

from pathlib import Path

from ltm_pyro.data.sources.base import Found, Wanted
from ltm_pyro.data.sources.records import file_of_records

SUFFIXES = (".parquet",)


def read(path: Path, wanted: Wanted) -> Found:
    """A document a record."""
    return file_of_records(path, "from_parquet", wanted)
