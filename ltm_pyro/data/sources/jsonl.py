"""JSON lines: a record a line."""

from pathlib import Path

from ltm_pyro.data.sources.base import Found, Wanted, utf8
from ltm_pyro.data.sources.records import file_of_records

SUFFIXES = (".jsonl", ".json")


def read(path: Path, wanted: Wanted) -> Found:
    """A document a record."""
    utf8(path)
    return file_of_records(path, "from_json", wanted)
