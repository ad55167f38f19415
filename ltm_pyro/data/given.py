"""What a user gives where rows are expected: rows, or texts with the tokenizer to make rows of."""

from typing import Any

from ltm_pyro.data.laying import rows_of_documents
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import StoredRows
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError


def rows_of(given: Any, model: Any, tokenizer: Tokenizer | None = None) -> Rows:
    """Rows as they are; or those of a text or texts, cut to the rows of the model's length.

    Texts that the tokenizer cannot give back have no bytes, so that no bits per byte are told.

    Raises:
        InputError: for texts without a tokenizer, for what is neither, and for nothing at all.
    """
    if isinstance(given, Rows | StoredRows):
        rows = given if isinstance(given, Rows) else given[:]
        if not len(rows):
            raise InputError("there are no rows to score: is the split empty?")
        return rows
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not all(isinstance(one, str) for one in texts):
        raise InputError(
            f"rows are of type {type(given).__name__}: expected Rows (corpus.test, "
            "corpus.test[:8]) or a list of texts"
        )
    if tokenizer is None:
        raise InputError(
            "texts need the tokenizer that the model was trained with: pass "
            "tokenizer=corpus.tokenizer, or tokenizer=run.tokenizer"
        )
    config = getattr(model, "config", None)
    if config is not None and config.architecture.vocabulary != tokenizer.vocabulary:
        raise InputError(
            f"the tokenizer has {tokenizer.vocabulary} tokens, the model "
            f"{config.architecture.vocabulary}: pass the one it was trained with"
        )
    if not any(one.strip() for one in texts):
        raise InputError("there are no texts, or blank ones alone: expected at least one with text")
    documents = tokenizer.encode_documents(list(texts))
    if not (tokenizer.is_lossless or all(tokenizer.comes_back(texts))):
        documents = [(ids, [0] * len(ids)) for ids, _ in documents]
    length = max(len(ids) for ids, _ in documents)
    return rows_of_documents(documents, length if config is None else config.architecture.length)
