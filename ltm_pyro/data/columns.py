"""What documents are besides their text: values counted along a list, and numbers."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ltm_pyro.data.sources.base import Document, Skipped
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


class Coming:
    """The same of documents as they are read, before all values of a column are known.

    Values are counted in the order in which they come; `places` tells at the end where each stands
    in the column's list. A number that is none is missing.

    Args:
        columns, numbers: names, as of `coder`.
        skipped: where a number that is none is counted.
    """

    def __init__(self, columns: Iterable[str], numbers: Iterable[str], skipped: Skipped):
        self.numbers, self.skipped = tuple(numbers), skipped
        self.met: dict[str, dict[str, int]] = {name: {} for name in columns}

    def __call__(self, one: Document) -> dict[str, int | float]:
        """What a document has in each column."""
        codes: dict[str, int | float] = {}
        for name, met in self.met.items():
            value = one.columns.get(name)
            codes[name] = -1 if value is None else met.setdefault(value, len(met))
        for name in self.numbers:
            try:
                codes[name] = number_of(name, one.columns.get(name))
            except InputError as error:
                self.skipped.add("numbers that are none, left out as missing", str(error))
                codes[name] = math.nan
        return codes

    def places(self, name: str, known: Iterable[str]) -> NDArray[np.int64]:
        """Of each value that was met its index among those that are known, or -1; -1 of none."""
        index = {value: place for place, value in enumerate(known)}
        return np.array([*(index.get(value, -1) for value in self.met[name]), -1])


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
