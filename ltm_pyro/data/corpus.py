"""A corpus: rows of tokens for training, validation and test, and what made them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ltm_pyro.config import Data
from ltm_pyro.data.building import SPLITS
from ltm_pyro.data.in_html import corpus_table
from ltm_pyro.data.store import StoredRows
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import unknown

Layout = Literal["document", "packed"]


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
        numbers: names of the columns that are numbers.
        notes: what a reader should know, a line each: fields taken for text, files left out, near
            duplicates kept together, splits that are empty, text that the tokenizer loses.
        source: what names the documents in a configuration: as `Data.source`.
        read_as: how they were read, where `load_corpus` did it.
    """

    name: str
    train: StoredRows
    valid: StoredRows
    test: StoredRows
    tokenizer: Tokenizer
    length: int
    layout: Layout
    fingerprint: str
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    source: str | tuple[str, ...] = ""
    read_as: Data | None = None

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
        tokens, size = (sum(n) for n in zip(*(self.rows(s).sums for s in SPLITS), strict=True))
        columns = "".join(f"; {name}: {len(known)} values" for name, known in self.columns.items())
        columns += "".join(f"; {name}: a number" for name in self.numbers)
        return (
            f"{self.name}: {tokens:,} tokens of {self.vocabulary:,} kinds, {size:,} bytes; "
            f"rows ({self.layout}, up to {self.length} tokens): {counts}{columns}"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return corpus_table(self)

    def rows(self, split: str) -> StoredRows:
        """The rows of `train`, `valid` or `test`, or of `all` three."""
        if split == "all":
            return StoredRows.end_to_end([self.train, self.valid, self.test])
        if split not in SPLITS:
            raise unknown("split", split, (*SPLITS, "all"))
        rows: StoredRows = getattr(self, split)
        return rows
