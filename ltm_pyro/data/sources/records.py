"""Records with named fields: some fields make a document's text, others are its columns."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ltm_pyro.data.sources.base import Document, Found, Wanted
from ltm_pyro.errors import InputError, unknown

_SPLITS = {"train": "train", "validation": "valid", "valid": "valid", "dev": "valid",
           "test": "test"}  # fmt: skip


def file_of_records(path: Path, how: str, wanted: Wanted) -> Found:
    """The documents of a file; `how` names the method of `datasets.Dataset` that reads it."""
    reader = getattr(library().Dataset, how)
    with tempfile.TemporaryDirectory() as folder:
        try:
            records = reader(str(path), keep_in_memory=True, cache_dir=folder)
        except Exception as error:  # pyarrow, pandas and datasets each raise their own
            cause = error.__cause__ or error
            line = str(cause).strip().splitlines()[0] if str(cause).strip() else "broken file"
            line = "it holds no record" if "corresponds to no data" in line else line
            raise InputError(f"cannot read {path} as {path.suffix[1:]}: {line}") from None
        found = documents_of(records, wanted, str(path))
        return Found(list(found.documents), found.columns)


def splits_of(loaded: Any, wanted: Wanted, where: str) -> dict[str, Found]:
    """The documents of a data set, or of each of its splits."""
    if not isinstance(loaded, dict):
        return {"all": documents_of(loaded, wanted, where)}
    splits = {
        _SPLITS.get(str(k), str(k)): documents_of(v, wanted, where) for k, v in loaded.items()
    }
    if set(splits) == {"train"}:  # nothing held out: we split it ourselves
        return {"all": splits["train"]}
    return splits


def documents_of(records: Any, wanted: Wanted, where: str) -> Found:
    """A document a record, from something like a `datasets.Dataset`.

    Raises:
        InputError: for a field that is not there, or where none holds text.
    """
    first: dict[str, Any] | None = next(iter(records), None)
    if first is None:
        return Found((), tuple(records.column_names or ()))
    known = records.column_names or list(first)  # a stream does not always know its columns
    for field in wanted.fields:
        if field not in known:
            raise unknown(f"field of {where}", field, known)
    chosen = wanted.fields
    if not chosen:
        kinds = records.features or {}
        texts = (k for k in known if isinstance(first.get(k), str) or _is_text(kinds.get(k)))
        chosen = ("text",) if "text" in known else tuple(texts)
    if not chosen:
        raise InputError(
            f"{where} has no field that holds text; its fields: {', '.join(known)}; name one "
            "with --field to take it as text"
        )
    columns = [name for name in wanted.columns if name in known]

    def documents() -> Iterator[Document]:
        for record in records:
            text = "\n".join(str(record[field]) for field in chosen if record[field] is not None)
            yield Document(text, {name: _value(record.get(name)) for name in columns})

    return Found(documents(), tuple(known))


def library() -> Any:
    """The `datasets` library, quiet; it is slow to import, so only where it is needed."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # errors are told by exceptions
    return datasets


def _value(value: Any) -> str | None:
    return None if value is None else str(value)


def _is_text(kind: Any) -> bool:
    return getattr(kind, "dtype", None) in ("string", "large_string")
