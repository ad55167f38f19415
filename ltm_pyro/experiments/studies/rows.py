"""Rows that studies take from a corpus, and their text."""

import numpy as np
import torch

from ltm_pyro.data import Tokenizer
from ltm_pyro.data.store import StoredRows
from ltm_pyro.seeds import Stream, generator


def documents_by_lot(rows: StoredRows, number: int, seed: int) -> StoredRows:
    """All rows of so many documents, chosen by lot, in the order of the corpus."""
    documents = np.unique(rows.index["document"])
    if len(documents) <= number:
        return rows
    order = torch.randperm(len(documents), generator=generator(seed, Stream.REPORTED)).numpy()
    chosen = np.isin(rows.index["document"], documents[order[:number]])
    return rows.chosen(np.flatnonzero(chosen).tolist())


def texts_of(rows: StoredRows, tokenizer: Tokenizer) -> list[str]:
    """The text of each row, without an end of text."""
    found = []
    for i in range(len(rows)):
        one = rows[i : i + 1]
        ids = one.tokens[0, : int(one.lengths[0])].tolist()
        found.append(tokenizer.decode([t for t in ids if t != tokenizer.end]))
    return found


def words_of(rows: StoredRows, tokenizer: Tokenizer) -> int:
    """Words of all documents together: what stands between white space.

    A word that a row's end cuts in two is one: rows of a document are put together first.
    """
    texts: dict[int, str] = {}
    for document, text in zip(
        rows.index["document"].tolist(), texts_of(rows, tokenizer), strict=True
    ):
        texts[document] = texts.get(document, "") + text
    return sum(len(text.split()) for text in texts.values())
