"""Options that several commands share, and how they speak."""

import dataclasses
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from tqdm.auto import tqdm
from tyro.conf import UseAppendAction

from ltm_pyro.config import (
    Data,
)
from ltm_pyro.options import Count, take_fields


def say(text: str) -> None:
    """A line for the person at the terminal; standard output is for results."""
    tqdm.write(text, file=sys.stderr)


@dataclass(frozen=True)
class Text:
    """Which text, and how it becomes documents."""

    data: str | None = None
    """python-docs, a file (.txt .jsonl .csv .parquet), a folder, or a Hugging Face data set."""
    field: UseAppendAction[tuple[str, ...]] = ()
    """A field of each record that is part of its text; may be given several times."""
    column: UseAppendAction[tuple[str, ...]] = ()
    """A column of each document, for priors that read it: a field of a record, folder for files in
    folders, module for python-docs; may be given several times."""
    separator: str | None = None
    """Regular expression between the documents of a .txt file (default: a blank line)."""
    subset: str | None = None
    """Configuration of a Hugging Face data set."""
    streaming: bool = False
    """Read a Hugging Face data set as a stream."""
    limit: Count | None = None
    """Read at most this many documents of each split."""

    def __post_init__(self) -> None:
        take_fields(self, "--")

    def over(self, data: Data) -> Data:
        """`data` with what was given here."""
        given: dict[str, Any] = {
            "source": self.data,
            "fields": self.field or None,
            "separator": self.separator,
            "subset": self.subset,
            "streaming": self.streaming or None,
            "limit": self.limit,
            "columns": {**dict.fromkeys(self.column, ()), **data.columns} or None,
        }
        return dataclasses.replace(data, **{k: v for k, v in given.items() if v is not None})


FlatText = Annotated[Text, tyro.conf.arg(name="")]
