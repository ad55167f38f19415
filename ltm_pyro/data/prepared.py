"""Reading text that `prepare` made ready, in the memory of what is asked for."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltm_pyro.config import Data
from ltm_pyro.data import kept
from ltm_pyro.data.corpus import Corpus
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.files.storage import place
from ltm_pyro.options import shown

OF_ROWS = ("source", "layout", "columns", "numbers", "tokenizer", "vocabulary")
"""What a configuration may say of text that is prepared."""


def is_prepared(given: Any) -> bool:
    """Whether it names a folder in which text is, or is being, prepared.

    Raises:
        InputError: for a URL of a store that cannot be reached.
    """
    if not isinstance(given, str | Path):
        return False
    try:
        return (place(given) / kept.MADE).is_file()
    except InputError:
        raise
    except (OSError, ValueError):  # no name of a file
        return False


def read(given: str | Path, data: Data, length: int, tokenizer: Tokenizer | None) -> Corpus:
    """The corpus of a folder. Its rows are read when they are asked for.

    Args:
        given: the folder.
        data, length, tokenizer: what is asked for, which has to be what was prepared.

    Raises:
        InputError: if it was prepared otherwise, is not finished, or is damaged.
    """
    path = place(given)
    if not (path / kept.FACTS).exists():
        raise InputError(f"{path} is not finished: call ltm prepare once more, with --out {path}")
    splits, facts = kept.read(path)
    own = tokenizer_of(path)
    _check(path, facts, data, length)
    if tokenizer is not None and tokenizer.fingerprint() != own.fingerprint():
        raise InputError(
            f"{path} was prepared with another tokenizer than is asked for: prepare the text again "
            "with --tokenizer (of a run: its folder)"
        )
    columns = {name: tuple(values) for name, values in facts["columns"].items()}
    shape: dict[str, Any] = {
        "layout": facts["layout"],
        "columns": columns,
        "numbers": tuple(facts["numbers"]),
    }
    return Corpus(
        name=str(given),
        tokenizer=own,
        length=length,
        fingerprint=facts["fingerprint"],
        notes=tuple(facts["notes"]),
        source=str(given),
        read_as=dataclasses.replace(data, source=str(given), **shape),
        **shape,
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
    )


def check_given(corpus: Corpus, asked: Mapping[str, Any]) -> None:
    """Raises InputError if a user asks for something of rows or tokens that was prepared otherwise.

    Args:
        corpus: of a prepared folder.
        asked: what was asked for in so many words, among layout and vocabulary.
    """
    for name, value in asked.items():
        if value != (has := getattr(corpus, name)):
            raise InputError(
                f"{corpus.name} was prepared with {name} {has}, and {value} is asked for: leave "
                f"--{name} out, or prepare the text again"
            )


def tokenizer_of(path: Path) -> Tokenizer:
    """The tokenizer of a folder, which may be in a store."""
    file = path / kept.TOKENIZER
    return Tokenizer.of_text(file.read_text(encoding="utf-8"), str(file))


def _check(path: Path, facts: dict[str, Any], data: Data, length: int) -> None:
    """Raises InputError if text was prepared otherwise than it is asked for."""
    if facts["length"] != length:
        raise InputError(
            f"{path} was prepared in rows of up to {facts['length']} tokens, and {length} are "
            f"asked for: give --length {facts['length']} (length=), or prepare the text again"
        )
    for one in dataclasses.fields(Data):
        value = getattr(data, one.name)
        if one.name not in OF_ROWS and value != one.default:
            raise InputError(
                f"{path} holds text that is prepared, of which {one.name} cannot be {shown(value)} "
                "any more: it is an option of ltm prepare"
            )
    if data.layout not in ("document", facts["layout"]):
        raise InputError(
            f"{path} was prepared in the layout {facts['layout']}, and {data.layout} is asked for: "
            "prepare the text again"
        )
    for kind, asked, known in (
        ("column", data.columns, facts["columns"]), ("number", data.numbers, facts["numbers"])
    ):  # fmt: skip
        for name in asked:
            if name not in known:
                raise unknown(f"{kind} of {path}, which was prepared with others:", name, known)
    for name, values in data.columns.items():
        if values and list(values) != list(facts["columns"][name]):
            raise InputError(
                f"{path} was prepared with other values of column {name!r} than are asked for"
            )
