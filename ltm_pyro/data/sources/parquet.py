"""Parquet: a record a row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ltm_pyro.data.sources.arrow import text_columns
from ltm_pyro.data.sources.base import Found, Wanted
from ltm_pyro.data.sources.opening import kind_of
from ltm_pyro.data.sources.records import Record, documents_of
from ltm_pyro.errors import InputError, first_line

SUFFIXES = (".parquet",)


def read(path: Path, wanted: Wanted) -> Found:
    """A document a record.

    Only the columns that are needed are read, as they are stored: nothing that the file's metadata
    names is decoded or opened.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot read {path}: parquet is compressed inside; decompress the file")
    schema = _file(path).schema_arrow
    texts = text_columns(schema)
    chosen = wanted.fields or (("text",) if "text" in schema.names else tuple(texts))
    tops = {name if name in schema.names else name.partition(".")[0] for name in chosen}
    columns = [name for name in schema.names if name in tops or name in wanted.columns]

    def records() -> Iterator[Record]:
        file, seen = _file(path), 0
        try:
            for batch in file.iter_batches(batch_size=512, columns=columns):
                seen += len(batch)
                yield from batch.to_pylist()
            if seen != file.metadata.num_rows:  # of a damaged column some are left out
                raise ValueError(f"it says {file.metadata.num_rows} rows, and {seen} can be read")
        except Exception as error:  # pyarrow's own, and those of Python's types
            raise _cannot(path, error) from None

    return documents_of(records, wanted, str(path), schema.names, texts)


def _file(path: Path) -> Any:
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        facts = file.metadata
        rows = [facts.row_group(i).num_rows for i in range(facts.num_row_groups)]
        if min(rows, default=0) < 0 or sum(rows) != facts.num_rows:  # which ends the process
            raise ValueError(f"it says {facts.num_rows} rows, and {rows[:9]} of its row groups")
    except Exception as error:
        raise _cannot(path, error) from None
    return file


def _cannot(path: Path, error: Exception) -> InputError:
    return InputError(f"cannot read {path} as {kind_of(path)[1:]}: {first_line(error)}")
