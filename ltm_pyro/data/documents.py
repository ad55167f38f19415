"""Reading documents: files, folders, and data sets from the Hugging Face hub."""

import difflib
import re
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ltm_pyro.data.sources.python_docs import python_docs
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
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: expected 1 document or more")
    if not name.strip():
        raise InputError("the data's name is empty: expected a file, a folder or a data set")
    if name == EMBEDDED:
        found: dict[str, Iterable[str]] = {"all": python_docs()}
    elif Path(name).exists() and not name.startswith("hf:"):
        found = _local(Path(name), fields, separator)
    elif Path(name).suffix in (*_READERS, ".txt") or name.startswith((".", "/", "~")):
        raise _missing(Path(name))
    else:
        found = _hub(name.removeprefix("hf:"), fields, subset, streaming)
    read = 0

    def filled(texts: Iterable[str]) -> Iterator[str]:
        nonlocal read
        for text in texts:
            read += 1
            if text.strip():
                yield text

    documents = {split: list(islice(filled(texts), limit)) for split, texts in found.items()}
    if not any(documents.values()):
        what = f"every one of the {read:,} documents read is blank" if read else "0 documents read"
        raise InputError(
            f"{name} holds no text: {what}"
            + (f" in field {', '.join(fields)}" if fields else "")
            + "; expected at least one with text: give another --field, or other data"
        )
    return documents


def _local(path: Path, fields: tuple[str, ...], separator: str | None) -> dict[str, Iterable[str]]:
    if not path.is_dir():
        return {"all": _file(path, fields, separator or BLANK_LINE)}
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return _splits(_datasets().load_from_disk(str(path)), fields, str(path))
    files = sorted(p for p in path.rglob("*") if p.suffix in (*_READERS, ".txt") and p.is_file())
    if not files:
        raise InputError(f"folder {path} holds no .txt, .jsonl, .csv or .parquet file")
    return {"all": [text for file in files for text in _file(file, fields, separator)]}


def _file(path: Path, fields: tuple[str, ...], separator: str | None) -> list[str]:
    if path.suffix not in (*_READERS, ".txt"):
        raise InputError(f"cannot read {path}: expected .txt, .jsonl, .csv or .parquet")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes): expected text in it")
    content = _utf8(path) if path.suffix != ".parquet" else ""
    if path.suffix == ".txt":
        if separator is None:
            return [content]
        try:
            return re.split(separator, content)
        except re.error as error:
            raise InputError(f"separator {separator!r} is no regular expression: {error}") from None
    reader = getattr(_datasets().Dataset, _READERS[path.suffix])
    with tempfile.TemporaryDirectory() as folder:
        try:
            records = reader(str(path), keep_in_memory=True, cache_dir=folder)
        except Exception as error:  # pyarrow, pandas and datasets each raise their own
            cause = error.__cause__ or error
            line = str(cause).strip().splitlines()[0] if str(cause).strip() else "broken file"
            line = "it holds no record" if "corresponds to no data" in line else line
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
    first: dict[str, Any] | None = next(iter(records), None)
    if first is None:
        return
    known = records.column_names or list(first)  # a stream does not always know its columns
    for field in fields:
        if field not in known:
            raise unknown(f"field of {where}", field, known)
    chosen = fields
    if not chosen:
        kinds = records.features or {}
        texts = (k for k in known if isinstance(first.get(k), str) or _is_text(kinds.get(k)))
        chosen = ("text",) if "text" in known else tuple(texts)
    if not chosen:
        raise InputError(
            f"{where} has no field that holds text; its fields: {', '.join(known)}; name one "
            "with --field to take it as text"
        )
    for record in records:
        yield "\n".join(str(record[field]) for field in chosen if record[field] is not None)


def _is_text(kind: Any) -> bool:
    return getattr(kind, "dtype", None) in ("string", "large_string")


def _missing(path: Path) -> InputError:
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=3)
    hint = f"did you mean {' or '.join(str(path.parent / name) for name in near)}?"
    return InputError(
        f"no file or folder at {path}: "
        + (hint if near else f"expected text there (looked from {Path.cwd()})")
    )


def _utf8(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        kind = "utf-16" if error.object[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
        raise InputError(
            f"{path} is not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}): "
            f"convert it, e.g. iconv -f {kind} -t utf-8"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def _datasets() -> Any:
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # errors are told by exceptions
    return datasets
