"""Which text, and how it is cut into rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Le

from ltm_pyro.options import Count, Names, names_of, take_fields

Vocabulary = Annotated[Count, Le(2**22)]  # of a tokenizer that is trained here


@dataclass(frozen=True)
class Data:
    """Where documents come from and how they are laid out; see `ltm_pyro.load_corpus`.

    Attributes:
        source: "python-docs" (embedded), a file or folder, or a Hugging Face data set; or several.
        fields, separator, delimiter, subset, streaming, limit: as in `documents.read_documents`.
        layout: "document" or "packed"; see `ltm_pyro.Corpus`.
        tokenizer: a file or a name on the hub; not given, one is trained on the training documents.
        columns: names of the columns that documents keep, with the values that are known, () for
            those of the training documents; names alone will do. A column is a field of a record;
            `folder` for files in folders, `module` for "python-docs".
        numbers: names of columns that are numbers (a rating, a time), nan where one is missing.
        dedup: whether near-duplicates fall into one split, whatever their hashes; None for the
            embedded documentation alone, which has many.
    """

    source: str | Names = "python-docs"
    fields: Names = ()
    separator: str | None = None
    delimiter: str | None = None
    subset: str | None = None
    streaming: bool = False
    limit: Count | None = None
    layout: Literal["document", "packed"] = "document"
    tokenizer: str | None = None
    vocabulary: Vocabulary = 2048
    columns: Mapping[str, Names] = field(default_factory=dict)
    numbers: Names = ()
    dedup: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", names_of("data.fields", self.fields))
        if not isinstance(self.columns, Mapping):
            names = names_of("data.columns", self.columns)
            object.__setattr__(self, "columns", dict.fromkeys(names, ()))
        object.__setattr__(self, "numbers", names_of("data.numbers", self.numbers))
        take_fields(self)

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of all columns that documents keep."""
        return (*self.columns, *self.numbers)
