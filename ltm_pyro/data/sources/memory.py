"""Documents that a program already holds: texts, tables, data sets, by split or not."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ltm_pyro.data.sources.arrow import splits_of
from ltm_pyro.data.sources.base import Document, Found, Wanted
from ltm_pyro.data.sources.records import Record, documents_of, kind_of_value
from ltm_pyro.data.sources.splits import split_named
from ltm_pyro.errors import InputError


def read(given: Any, wanted: Wanted) -> dict[str, Found]:
    """The documents of a list or iterator of texts or of records, a pandas Series or DataFrame, a
    `datasets.Dataset` or `DatasetDict`, or a mapping from splits to any of these.

    Raises:
        InputError: for anything else, naming what it is.
    """
    if _is_data_set(given):
        return splits_of(given, wanted, name_of(given))
    if isinstance(given, Mapping):
        return _splits(given, wanted)
    if hasattr(given, "to_dict") and hasattr(given, "columns"):
        return {"all": _table(given, wanted)}
    if isinstance(given, Iterable) and not isinstance(given, bytes | bytearray):
        return {"all": _several(given, wanted)}
    raise InputError(
        f"data of type {type(given).__name__}: expected a name, a path, a list of texts, a "
        "DataFrame or a data set"
    )


def name_of(given: Any) -> str:
    """What stands for it where a source's name is asked for."""
    size = f"{len(given):,} " if hasattr(given, "__len__") else ""
    return f"<{size}{'texts' if isinstance(given, list | tuple) else type(given).__name__}>"


def _is_data_set(given: Any) -> bool:
    return type(given).__module__.partition(".")[0] == "datasets"


def _splits(given: Mapping[Any, Any], wanted: Wanted) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for name, one in given.items():
        split = split_named(str(name))
        if split is None or split in found:
            raise InputError(
                f"data under {name!r}: expected one each under train, valid and test, at most"
            )
        inner = read(one, wanted)
        found[split] = Found.together(list(inner.values()))
    if not found:
        raise InputError("the data are an empty mapping: expected texts under train, valid, test")
    return {"all": found["train"]} if set(found) == {"train"} else found


def _table(given: Any, wanted: Wanted) -> Found:
    """A document a row of a DataFrame; NaN is a missing value."""
    names = [str(name) for name in given.columns]
    rows = [
        {name: _or_none(cell) for name, cell in zip(names, row, strict=True)}
        for row in given.itertuples(index=False, name=None)
    ]
    return documents_of(lambda: iter(rows), wanted, name_of(given), names)


def _or_none(cell: Any) -> Any:
    """A cell as plain Python."""
    if hasattr(cell, "item") and getattr(cell, "ndim", 1) == 0:
        cell = cell.item()
    missing = cell is None or type(cell).__name__ in ("NAType", "NaTType") or (
        isinstance(cell, float) and cell != cell
    )  # fmt: skip
    return None if missing else cell


def _several(given: Iterable[Any], wanted: Wanted) -> Found:
    """Texts, or records; an iterator is read to its end."""
    values = list(given)
    if values and all(isinstance(one, Mapping) for one in values):
        records: list[Record] = values
        return documents_of(lambda: iter(records), wanted, name_of(values))
    for number, one in enumerate(values):
        if not isinstance(one, str):
            raise InputError(
                f"text {number} (counted from 0) is {kind_of_value(_or_none(one))}: expected str"
            )
    if values and len(values) < 100 and all(_is_file(one) for one in values):
        raise InputError(
            f"these {len(values)} texts are names of files: to read them give "
            "load_corpus(Data(source=(...))), or --data for each"
        )
    return Found([Document(str(one)) for one in values])


def _is_file(text: str) -> bool:
    try:
        return len(text) < 1000 and Path(text).is_file()
    except (OSError, ValueError):
        return False
