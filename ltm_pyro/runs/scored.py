"""Which rows of a text a run is scored on: of documents that it was not trained on."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ltm_pyro.data import Corpus
from ltm_pyro.data.store import StoredRows
from ltm_pyro.errors import InputError
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.runs.seen import seen, without_seen
from ltm_pyro.runs.training import load_data


@dataclass(frozen=True)
class Scored:
    """Rows that runs are scored on.

    Attributes:
        corpus: what they are of.
        split: the split that they are.
        rows: the rows.
        left_out: documents of that split that were trained on, and so are not among the rows.
        known: numbers of the documents that are left out wherever they stand, or None.
    """

    corpus: Corpus
    split: str
    rows: StoredRows
    left_out: int
    known: np.ndarray | None

    def read_by(self, run: Run) -> StoredRows:
        """The same rows, with the columns that another run's prior reads, in codes of its own.

        Raises:
            InputError: if the corpus cannot be read again for them.
        """
        columns, numbers = run.config.data.columns, run.config.data.numbers
        if columns == self.corpus.columns and {*numbers} <= {*self.corpus.numbers}:
            return self.rows
        if self.corpus.read_as is None:
            raise InputError(
                f"{run.path} has other columns than {self.corpus.name}, which cannot be read again"
            )
        data = dataclasses.replace(self.corpus.read_as, columns=columns, numbers=numbers)
        again = load_data(run.config.replace(data=data), self.corpus.tokenizer)
        return without_seen(again.rows(self.split), self.known)[0]


def to_score(corpus: Corpus, runs: Sequence[Run], split: str | None, default: str) -> Scored:
    """The rows of a corpus that none of some runs was trained on.

    Args:
        corpus: the text.
        runs: what is to be scored.
        split: the split that was asked for, if one was: who names `train` or `all` wants its
            documents, trained on or not.
        default: the split if none was.
    """
    known = [] if split in ("train", "all") else [seen(run.path) for run in runs]
    found = [one for one in known if one is not None]
    united = np.unique(np.concatenate(found)) if found else None
    rows, met = without_seen(corpus.rows(split or default), united)
    return Scored(corpus, split or default, rows, met, united)


def check_comparable(run: Run, other: Run, instead: str) -> None:
    """Raises InputError if another run cannot score the rows of a run.

    `instead` says what would do where the other's rows are too short.
    """
    if other.tokenizer.fingerprint() != run.tokenizer.fingerprint():
        raise InputError(f"{other.path} has another tokenizer than {run.path}")
    own, its = (one.config.architecture.length for one in (run, other))
    if its < own:
        raise InputError(
            f"{other.path} reads rows of {its} tokens, {run.path} has rows of {own}: {instead} "
            "instead, which cuts documents into rows that both read"
        )
