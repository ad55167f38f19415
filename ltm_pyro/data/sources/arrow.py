"""Arrow tables, as data sets of the Hugging Face library hold them."""

from collections.abc import Iterator
from typing import Any

from ltm_pyro.data.sources.base import Found, Wanted
from ltm_pyro.data.sources.records import Record, documents_of
from ltm_pyro.data.sources.splits import split_named
from ltm_pyro.errors import InputError, first_line


def splits_of(loaded: Any, wanted: Wanted, where: str) -> dict[str, Found]:
    """The documents of a data set, or of each of its splits.

    Splits whose names say nothing are left out, with a note.
    """
    if not isinstance(loaded, dict):
        return {"all": records_of(loaded, wanted, where)}
    parts: dict[str, list[Found]] = {}
    left_out = [str(name) for name in loaded if split_named(str(name)) is None]
    for name, one in loaded.items():
        split = split_named(str(name))
        if split is not None:
            parts.setdefault(split, []).append(records_of(one, wanted, where))
    if not parts:
        raise InputError(
            f"{where} has splits {', '.join(map(repr, left_out))}: expected names such as train, "
            "validation and test"
        )
    note = f"left out, as their names say nothing of their use: split {', '.join(left_out)}"
    if left_out:
        parts.setdefault("train", []).append(Found((), notes=(note,)))
    found = {split: Found.together(several) for split, several in parts.items()}
    return {"all": found["train"]} if set(found) == {"train"} else found


def records_of(data_set: Any, wanted: Wanted, where: str) -> Found:
    """A document a record of a `datasets.Dataset`, or of a stream of one; None has no record."""
    if data_set is None:
        return Found(())
    features = data_set.features
    if features is None:  # a stream does not always know its columns
        return documents_of(lambda: iter(data_set), wanted, where)
    schema = features.arrow_schema
    texts = text_columns(schema)
    kept = data_set.select_columns(_needed(schema, texts, wanted))
    if not hasattr(data_set, "num_rows"):
        return documents_of(lambda: iter(kept), wanted, where, schema.names, texts)

    def records() -> Iterator[Record]:
        try:
            for table in kept.with_format("arrow").iter(batch_size=512):  # nothing is decoded
                table.validate(full=True)  # what points outside of the file ends the process
                yield from table.to_pylist()
        except Exception as error:  # pyarrow's own, and those of Python's types
            raise InputError(f"cannot read {where}: {first_line(error)}") from None

    return documents_of(records, wanted, where, schema.names, texts)


def _needed(schema: Any, texts: list[str], wanted: Wanted) -> list[str]:
    """The columns that are to be read."""
    chosen = wanted.fields or (("text",) if "text" in schema.names else tuple(texts))
    tops = {name if name in schema.names else name.partition(".")[0] for name in chosen}
    return [name for name in schema.names if name in tops or name in wanted.columns]


def text_columns(schema: Any) -> list[str]:
    """The columns of an Arrow schema that hold text."""
    import pyarrow.types as types

    def is_text(kind: Any) -> bool:
        if types.is_dictionary(kind):
            kind = kind.value_type
        return any(test(kind) for test in (types.is_string, types.is_large_string))

    return [field.name for field in schema if is_text(field.type)]


def library() -> Any:
    """The `datasets` library, quiet; it is slow to import, so only where it is needed."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # errors are told by exceptions
    return datasets
