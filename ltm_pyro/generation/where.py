"""Columns of texts that are yet to be written, for priors that read them."""

from collections.abc import Mapping

from ltm_pyro.data.laying import rows_of_documents
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.models import LatentThoughtModel


def codes_of(model: LatentThoughtModel, where: Mapping[str, str]) -> dict[str, int]:
    """The code of each column that the model knows, -1 where no value is given.

    Raises:
        InputError: for a column or a value that the model does not know.
    """
    known = {**model.config.data.columns, **model.prior.columns}
    for name, value in where.items():
        if not known:
            raise InputError(
                f"column {name!r} is given, but the model knows none: train with --column {name}, "
                "and a prior that reads it"
            )
        if name not in known:
            raise unknown("column", name, known)
        if value not in known[name]:
            raise unknown(f"value of column {name}", value, known[name])
    return {
        name: tuple(values).index(where[name]) if name in where else -1
        for name, values in known.items()
    }


def rows_where(
    codes: Mapping[str, int], documents: list[tuple[list[int], list[int]]], length: int
) -> Rows:
    """Rows of documents (as for `rows_of_documents`) that all have these codes."""
    columns = {name: [code] * len(documents) for name, code in codes.items()}
    return rows_of_documents(documents, length, columns=columns)
