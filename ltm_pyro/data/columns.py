"""What documents are besides their text: values counted along a list, and numbers."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping

from ltm_pyro.data.sources.base import Document
from ltm_pyro.errors import InputError

MOST = 3.4e38
"""About the largest number of fp32, which rows hold."""


def coder(
    columns: Mapping[str, tuple[str, ...]], numbers: Iterable[str] = ()
) -> Callable[[Document], dict[str, int | float]]:
    """Tells what a document has in each column.

    Of a column of values the index of its own, -1 where that is missing or not known; a number
    itself, nan where it is missing.
    """
    numbers = tuple(numbers)
    if both := sorted({*columns} & {*numbers}):
        raise InputError(
            f"column {both[0]!r} is to be kept as a value and as a number: name it once, among "
            "columns or among numbers"
        )
    places: dict[str, dict[str | None, int]] = {
        name: {value: place for place, value in enumerate(known)} for name, known in columns.items()
    }

    def code(one: Document) -> dict[str, int | float]:
        found: dict[str, int | float] = {
            name: known.get(one.columns.get(name), -1) for name, known in places.items()
        }
        return found | {name: number_of(name, one.columns.get(name)) for name in numbers}

    return code


def number_of(name: str, value: str | None) -> float:
    """A column's value as a number; nan where it is missing.

    Raises:
        InputError: for what is none, or no finite one.
    """
    if value is None or not value.strip():
        return math.nan
    try:
        number = float(value)
    except ValueError:
        number = math.inf
    if abs(number) > MOST:
        raise InputError(
            f"column {name!r} holds {value[:40]!r}: expected a finite number of fp32, or nothing "
            "where it is missing; of other values name it with --column, or among columns"
        )
    return number


def sorted_values(name: str, values: Collection[str], documents: int) -> tuple[str, ...]:
    """The values of a column among so many training documents, sorted."""
    if not values:
        raise InputError(
            f"column {name!r} has no value in any of the {documents} training documents: leave it "
            "out, or give the values that are known, as Data(columns={...})"
        )
    return tuple(sorted(values))
