"""Columns of texts that are yet to be written, for priors and models that read them."""

from collections.abc import Mapping

from ltm_pyro.data.columns import number_of
from ltm_pyro.data.laying import rows_of_documents
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.models import LatentThoughtModel


def codes_of(model: LatentThoughtModel, where: Mapping[str, str | float]) -> dict[str, float]:
    """What is given of each column that the model knows: the code of its value, -1 where none is;
    or a number, nan where none is.

    Raises:
        InputError: for a column or a value that the model does not know.
    """
    known = {**model.config.data.columns, **model.prior.columns}
    numbers = model.config.data.numbers
    for name, value in where.items():
        if not (known or numbers):
            raise InputError(
                f"column {name!r} is given, but the model knows none: train with --column {name}, "
                "and a prior that reads it"
            )
        if name not in known and name not in numbers:
            raise unknown("column", name, (*known, *numbers))
        if name in known and value not in known[name]:
            raise unknown(f"value of column {name}", str(value), known[name])
    codes: dict[str, float] = {
        name: tuple(values).index(str(where[name])) if name in where else -1
        for name, values in known.items()
    }
    given = {name: str(where[name]) if name in where else None for name in numbers}
    return codes | {name: number_of(name, value) for name, value in given.items()}


def rows_where(
    codes: Mapping[str, float], documents: list[tuple[list[int], list[int]]], length: int
) -> Rows:
    """Rows of documents (as for `rows_of_documents`) that all have these codes."""
    columns = {name: [code] * len(documents) for name, code in codes.items()}
    return rows_of_documents(documents, length, columns=columns)
