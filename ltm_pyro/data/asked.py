"""Which text a command is given, as options that several commands share."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from tyro.conf import UseAppendAction

from ltm_pyro.config import Data
from ltm_pyro.data.documents import check_used
from ltm_pyro.errors import InputError
from ltm_pyro.options import Count, take_fields


@dataclass(frozen=True)
class Text:
    """Which text, and how it becomes documents."""

    data: UseAppendAction[tuple[str, ...]] = ()
    """python-docs, a file (.txt .jsonl .json .csv .tsv .parquet, text also as .gz .bz2 .xz .zst), a
    folder, or a Hugging Face data set; may be given several times."""
    field: UseAppendAction[tuple[str, ...]] = ()
    """A field of each record that is part of its text; may be given several times; a dotted name
    goes into records (messages.content)."""
    column: UseAppendAction[tuple[str, ...]] = ()
    """A column of each document, for priors that read it: a field of a record, folder for files in
    folders, module for python-docs; may be given several times."""
    number: UseAppendAction[tuple[str, ...]] = ()
    """A column of each document that is kept as a number (a rating, a time), for models that read
    it; may be given several times."""
    separator: str | None = None
    """Between the documents of a .txt file: line (a text a line), blank-line (the default), or a
    regular expression."""
    delimiter: str | None = None
    """Between the cells of a table (default: found out)."""
    subset: str | None = None
    """Configuration of a Hugging Face data set."""
    streaming: bool = False
    """Read a Hugging Face data set as a stream."""
    limit: Count | None = None
    """Read at most this many documents, of each split that the data come with."""
    dedup: bool | None = None
    """Keep near-duplicates in one split (default: of python-docs alone)."""

    def typed(self) -> set[str]:
        """Which of these were given."""
        return {name for name, value in dataclasses.asdict(self).items() if value}

    def __post_init__(self) -> None:
        take_fields(self, "--")
        for name in ("data", "field", "column", "number"):
            given = getattr(self, name)
            if not all(one.strip() for one in given):
                raise InputError(f"--{name} is empty: expected a name, or leave it out")
            if len(set(given)) < len(given):
                raise InputError(f"--{name} is given twice with the same name: give each once")

    def check_used(self) -> None:
        """Raises InputError for an option that does nothing for the one file that is given.

        Not where a run is scored, whose own separator it may have to stand in for.
        """
        if len(self.data) == 1:
            check_used(self.data[0], self.separator, self.delimiter, self.subset, self.streaming)

    def over(self, data: Data) -> Data:
        """`data` with what was given here."""
        given: dict[str, Any] = {
            "source": (self.data[0] if len(self.data) == 1 else self.data) or None,
            "fields": self.field or None,
            "separator": self.separator,
            "delimiter": self.delimiter,
            "dedup": self.dedup,
            "subset": self.subset,
            "streaming": self.streaming or None,
            "limit": self.limit,
            "columns": {**dict.fromkeys(self.column, ()), **data.columns} or None,
            "numbers": tuple(dict.fromkeys((*data.numbers, *self.number))) or None,
        }
        return dataclasses.replace(data, **{k: v for k, v in given.items() if v is not None})


FlatText = Annotated[Text, tyro.conf.arg(name="")]
