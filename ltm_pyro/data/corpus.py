"""A corpus: documents split three ways, a tokenizer, and their rows."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ltm_pyro.config import Data
from ltm_pyro.data.documents import read_records
from ltm_pyro.data.rows import Rows, rows_of_documents
from ltm_pyro.data.sources.base import Document, Wanted
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError, unknown

Layout = Literal["document", "packed"]
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Corpus:
    """Rows for training, validation and test, and what made them.

    Attributes:
        name: where the documents came from.
        train, valid, test: rows of tokens. Tokenizers are trained on `train` alone.
        tokenizer: text to ids and back.
        length: tokens in a full row.
        layout: "document" (a row never crosses the end of a document; longer documents take
            several rows) or "packed" (windows over documents laid end to end, as in the paper).
        fingerprint: SHA-256 of all documents, and of their columns where they carry any; tells
            whether two corpora are the same text.
        columns: the values of each column that are known, sorted: those of training documents,
            unless they were given. `Rows.columns` counts along them.
    """

    name: str
    train: Rows
    valid: Rows
    test: Rows
    tokenizer: Tokenizer
    length: int
    layout: Layout
    fingerprint: str
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.tokenizer.vocabulary

    @property
    def begin(self) -> int:
        """Id of the begin-of-text token."""
        return self.tokenizer.begin

    def __str__(self) -> str:
        counts = ", ".join(f"{split} {len(getattr(self, split))}" for split in SPLITS)
        tokens = sum(getattr(self, split).token_count for split in SPLITS)
        size = sum(int(getattr(self, split).bytes.sum()) for split in SPLITS)
        columns = "".join(f"; {name}: {len(known)} values" for name, known in self.columns.items())
        return (
            f"{self.name}: {tokens:,} tokens of {self.vocabulary:,} kinds, {size:,} bytes; "
            f"rows ({self.layout}, up to {self.length} tokens): {counts}{columns}"
        )

    def rows(self, split: str) -> Rows:
        """The rows of `train`, `valid` or `test`, or of `all` three."""
        if split == "all":
            return Rows.end_to_end([self.train, self.valid, self.test])
        if split not in SPLITS:
            raise unknown("split", split, (*SPLITS, "all"))
        rows: Rows = getattr(self, split)
        return rows


def load_corpus(
    source: str | Path | Data = "python-docs",
    *,
    length: int = 64,
    tokenizer: Tokenizer | str | Path | None = None,
    **options: Any,
) -> Corpus:
    """Documents -> tokenizer -> rows of tokens, split 90/5/5 by a hash of each document's text.

    The split does not depend on order or on other documents, and copies of a document stay
    together. A data set that brings splits of its own keeps them.

    Args:
        source: "python-docs" (embedded), a file or folder, a Hugging Face data set (see
            `ltm_pyro.data.documents.read_documents`), or a whole `Data`.
        length: tokens in a row.
        tokenizer: a tokenizer, a `tokenizer.json`, or a name on the hub, instead of the data's.
        options: fields of `ltm_pyro.config.Data`: `fields`, `separator`, `subset`, `streaming`,
            `limit`, `layout`, `vocabulary`, `columns`.

    Raises:
        InputError: for a source that cannot be read, or that leaves nothing to train on.
    """
    if isinstance(source, Data):
        data = dataclasses.replace(source, **options)
    else:
        data = Data(str(source), **options)
    if data.layout not in ("document", "packed"):
        raise unknown("layout", data.layout, ("document", "packed"))
    if length < 1:
        raise InputError(f"length is {length}: a row needs at least 1 token")
    if data.columns and data.layout == "packed":
        raise InputError(
            f"column {', '.join(data.columns)} with layout 'packed': a packed window holds several "
            "documents, whose values may differ; take layout 'document'"
        )
    wanted = Wanted(data.fields, data.separator, tuple(data.columns))
    read = read_records(data.source, wanted, data.subset, data.streaming, data.limit)
    parts = _split(read)
    chosen = _tokenizer(data if tokenizer is None else tokenizer, parts["train"], read)
    columns = {
        name: values or _values(name, parts["train"]) for name, values in data.columns.items()
    }
    rows = {
        split: rows_of_documents(
            chosen.encode_documents([document.text for document in documents]),
            length,
            data.layout == "packed",
            {name: codes(name, values, documents) for name, values in columns.items()},
        )
        for split, documents in parts.items()
    }
    return Corpus(
        name=data.source,
        tokenizer=chosen,
        length=length,
        layout=data.layout,
        fingerprint=_fingerprint(parts),
        columns=columns,
        **rows,
    )


def split_of(text: str) -> str:
    """The split a document falls into, from its text alone."""
    bucket = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100
    return "train" if bucket < 90 else "valid" if bucket < 95 else "test"


def codes(name: str, known: tuple[str, ...], documents: list[Document]) -> list[int]:
    """The index of each document's value of a column, -1 where it is missing or not known."""
    places: dict[str | None, int] = {value: place for place, value in enumerate(known)}
    return [places.get(document.columns.get(name), -1) for document in documents]


def _split(read: dict[str, list[Document]]) -> dict[str, list[Document]]:
    parts: dict[str, list[Document]] = {split: [] for split in SPLITS}
    for given, documents in read.items():
        for document in documents:
            split = split_of(document.text) if given == "all" else given
            if split == "train" and "valid" not in read and split_of(document.text) == "valid":
                split = "valid"  # a data set with a test split but no validation split
            if split in parts:
                parts[split].append(document)
    return parts


def _tokenizer(
    given: Tokenizer | str | Path | Data, train: list[Document], read: dict[str, list[Document]]
) -> Tokenizer:
    """The tokenizer that is given or named, or one trained on the training documents."""
    if isinstance(given, Tokenizer):
        return given
    if not isinstance(given, Data):
        return Tokenizer.load(given)
    if given.tokenizer is not None:
        return Tokenizer.load(given.tokenizer)
    if not train:
        raise InputError(
            f"{given.source} leaves no document to train on: it holds "
            f"{sum(map(len, read.values()))}, held out for validation or test; give more, or a "
            "`separator` between them"
        )
    return Tokenizer.train((document.text for document in train), given.vocabulary)


def _values(name: str, train: list[Document]) -> tuple[str, ...]:
    """The values of a column among training documents, sorted."""
    found = {document.columns.get(name) for document in train} - {None}
    if not found:
        raise InputError(
            f"column {name!r} has no value in any of the {len(train)} training documents: leave it "
            "out, or give the values that are known, as Data(columns={...})"
        )
    return tuple(sorted(value for value in found if value is not None))


def _fingerprint(parts: dict[str, list[Document]]) -> str:
    """SHA-256 over the documents of all splits, in order."""
    digest = hashlib.sha256()
    for documents in parts.values():
        for document in documents:
            digest.update(hashlib.sha256(document.text.encode()).digest())
            if document.columns:
                columns = repr(sorted(document.columns.items()))
                digest.update(hashlib.sha256(columns.encode()).digest())
    return digest.hexdigest()
