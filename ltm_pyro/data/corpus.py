"""A corpus: documents split three ways, a tokenizer, and their rows."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ltm_pyro.data.documents import read_documents
from ltm_pyro.data.rows import Rows, rows_of_documents
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
        fingerprint: SHA-256 of all documents; tells whether two corpora are the same text.
    """

    name: str
    train: Rows
    valid: Rows
    test: Rows
    tokenizer: Tokenizer
    length: int
    layout: Layout
    fingerprint: str

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
        return (
            f"{self.name}: {tokens:,} tokens of {self.vocabulary:,} kinds, {size:,} bytes; "
            f"rows ({self.layout}, up to {self.length} tokens): {counts}"
        )

    def rows(self, split: str) -> Rows:
        """The rows of `train`, `valid` or `test`, or of `all` three."""
        if split == "all":
            import torch

            parts = [self.train, self.valid, self.test]
            shift = 0
            columns = []
            for part in parts:
                columns.append((part.tokens, part.lengths, part.document + shift, part.bytes))
                shift += int(part.document.max()) + 1 if len(part) else 0
            return Rows(*(torch.cat(column) for column in zip(*columns, strict=True)))
        if split not in SPLITS:
            raise unknown("split", split, (*SPLITS, "all"))
        rows: Rows = getattr(self, split)
        return rows


def load_corpus(
    source: str | Path = "python-docs",
    *,
    length: int = 64,
    layout: Layout = "document",
    tokenizer: Tokenizer | str | Path | None = None,
    vocabulary: int = 2048,
    fields: Iterable[str] = (),
    separator: str | None = None,
    subset: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
) -> Corpus:
    """Documents -> tokenizer -> rows of tokens, split 90/5/5 by a hash of each document's text.

    The split does not depend on order or on other documents, and copies of a document stay
    together. A data set that brings splits of its own keeps them.

    Args:
        source: "python-docs" (embedded), a file or folder, or a Hugging Face data set; see
            `ltm_pyro.data.documents.read_documents`, also for `fields`, `separator`, `subset`,
            `streaming` and `limit`.
        length: tokens in a row.
        layout: "document" or "packed"; see `Corpus`.
        tokenizer: a tokenizer, a `tokenizer.json`, or a name on the hub. Not given: byte-level
            BPE with `vocabulary` tokens is trained on the training documents.
        vocabulary: size of the vocabulary trained here.

    Raises:
        InputError: for a source that cannot be read, or that leaves nothing to train on.
    """
    if layout not in ("document", "packed"):
        raise unknown("layout", layout, ("document", "packed"))
    if length < 1:
        raise InputError(f"length is {length}: a row needs at least 1 token")
    documents = read_documents(source, fields, separator, subset, streaming, limit)
    parts = _split(documents)
    if tokenizer is None:
        texts = parts["train"]
        if not texts:
            count = sum(map(len, documents.values()))
            raise InputError(
                f"{source} leaves no document to train on: it holds {count}, held out for "
                "validation or test; give more, or a `separator` between them"
            )
        tokenizer = Tokenizer.train(texts, vocabulary)
    elif not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.load(tokenizer)
    rows = {
        split: rows_of_documents(tokenizer.encode_documents(texts), length, layout == "packed")
        for split, texts in parts.items()
    }
    digest = hashlib.sha256()
    for texts in parts.values():
        for text in texts:
            digest.update(hashlib.sha256(text.encode()).digest())
    return Corpus(
        name=str(source),
        tokenizer=tokenizer,
        length=length,
        layout=layout,
        fingerprint=digest.hexdigest(),
        **rows,
    )


def split_of(text: str) -> str:
    """The split a document falls into, from its text alone."""
    bucket = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100
    return "train" if bucket < 90 else "valid" if bucket < 95 else "test"


def _split(documents: dict[str, list[str]]) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {split: [] for split in SPLITS}
    for given, texts in documents.items():
        for text in texts:
            split = split_of(text) if given == "all" else given
            if split == "train" and "valid" not in documents and split_of(text) == "valid":
                split = "valid"  # a data set with a test split but no validation split
            if split in parts:
                parts[split].append(text)
    return parts
