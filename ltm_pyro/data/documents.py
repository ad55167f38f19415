"""Reading documents: files, folders, and data sets from the Hugging Face hub."""

import re
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ltm_pyro.data.python_docs import python_docs
from ltm_pyro.errors import InputError, unknown

EMBEDDED = "python-docs"
BLANK_LINE = r"\n[ \t]*\n"
_READERS = {".jsonl": "from_json", ".json": "from_json", ".csv": "from_csv",
            ".parquet": "from_parquet"}  # fmt: skip
_SPLITS = {"train": "train", "validation": "valid", "valid": "valid", "dev": "valid",
           "test": "test"}  # fmt: skip


def read_documents(
    source: str | Path,
    fields: Iterable[str] = (),
    separator: str | None = None,
    subset: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
) -> dict[str, list[str]]:
    """Documents by split: {"all": [...]}, or the splits that a data set comes with.

    Args:
        source: "python-docs", a file (.txt, .jsonl, .csv, .parquet), a folder of them, a folder
            written by `Dataset.save_to_disk`, or the name of a data set on the Hugging Face hub
            (`hf:NAME` if a file of that name exists too).
        fields: the fields of a record that make its text, joined by a newline. Not given: "text",
            or else every field that holds text.
        separator: regular expression between the documents of a text file. Not given: a blank
            line in a single .txt file; in a folder each .txt file is a document.
        subset: the configuration of a hub data set.
        streaming: read a hub data set as a stream (with `limit`, only its beginning is fetched).
        limit: read at most this many documents of each split.

    Raises:
        InputError: for a source that is missing, empty, not UTF-8, or without such fields.
    """
    name, fields = str(source), tuple(fields)
    if name == EMBEDDED:
        found: dict[str, Iterable[str]] = {"all": python_docs()}
    elif Path(name).exists() and not name.startswith("hf:"):
        found = _local(Path(name), fields, separator)
    elif Path(name).suffix in (*_READERS, ".txt") or name.startswith((".", "/", "~")):
        raise InputError(f"no file or folder at {name}")
    else:
        found = _hub(name.removeprefix("hf:"), fields, subset, streaming)
    documents = {
        split: list(islice((t for t in texts if t.strip()), limit))
        for split, texts in found.items()
    }
    if not any(documents.values()):
        raise InputError(f"{name} holds no text: every document is empty")
    return documents


def _local(path: Path, fields: tuple[str, ...], separator: str | None) -> dict[str, Iterable[str]]:
    if path.is_file():
        return {"all": _file(path, fields, separator or BLANK_LINE)}
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return _splits(_datasets().load_from_disk(str(path)), fields, str(path))
    files = sorted(p for p in path.rglob("*") if p.suffix in (*_READERS, ".txt") and p.is_file())
    if not files:
        raise InputError(f"folder {path} holds no .txt, .jsonl, .csv or .parquet file")
    return {"all": [text for file in files for text in _file(file, fields, separator)]}


def _file(path: Path, fields: tuple[str, ...], separator: str | None) -> list[str]:
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")
    if path.suffix != ".parquet":
        content = _utf8(path)
    if path.suffix == ".txt":
        if separator is None:
            return [content]
        try:
            return re.split(separator, content)
        except re.error as error:
            raise InputError(f"separator {separator!r} is no regular expression: {error}") from None
    if path.suffix not in _READERS:
        raise InputError(f"cannot read {path}: expected .txt, .jsonl, .csv or .parquet")
    reader = getattr(_datasets().Dataset, _READERS[path.suffix])
    with tempfile.TemporaryDirectory() as folder:
        try:
            records = reader(str(path), keep_in_memory=True, cache_dir=folder)
        except Exception as error:  # pyarrow, pandas and datasets each raise their own
            cause = error.__cause__ or error
            line = str(cause).strip().splitlines()[0] if str(cause).strip() else "broken file"
            raise InputError(f"cannot read {path} as {path.suffix[1:]}: {line}") from None
        return list(_texts(records, fields, str(path)))


def _hub(
    name: str, fields: tuple[str, ...], subset: str | None, streaming: bool
) -> dict[str, Iterable[str]]:
    try:
        loaded = _datasets().load_dataset(name, subset, streaming=streaming)
    except Exception as error:  # many kinds: no network, no such name, no such subset
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{name!r} is neither {EMBEDDED!r}, nor a file or folder, nor a data set that can be "
            f"loaded from the Hugging Face hub: {line}"
        ) from None
    return _splits(loaded, fields, name)


def _splits(loaded: Any, fields: tuple[str, ...], where: str) -> dict[str, Iterable[str]]:
    if not isinstance(loaded, dict):
        return {"all": _texts(loaded, fields, where)}
    splits = {_SPLITS.get(str(k), str(k)): _texts(v, fields, where) for k, v in loaded.items()}
    if set(splits) == {"train"}:  # nothing held out: we split it ourselves
        return {"all": splits["train"]}
    return dict(splits)


def _texts(records: Any, fields: tuple[str, ...], where: str) -> Iterator[str]:
    known = records.column_names
    if known is None:  # a stream does not always know its columns
        known = list(next(iter(records), {}))
    for field in fields:
        if field not in known:
            raise unknown(f"field of {where}", field, known)
    chosen = fields
    if not chosen:
        first: dict[str, Any] = next(iter(records), {})
        chosen = (
            ("text",)
            if "text" in known
            else tuple(k for k in known if isinstance(first.get(k), str))
        )
    if not chosen:
        raise InputError(f"{where} has no field that holds text; its fields: {', '.join(known)}")
    for record in records:
        yield "\n".join(str(record[field]) for field in chosen if record[field] is not None)


def _utf8(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}): "
            "convert it, e.g. iconv -f latin1 -t utf-8"
        ) from None


def _datasets() -> Any:
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    return datasets
