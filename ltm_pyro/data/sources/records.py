"""Records with named fields: some fields make a document's text, others are its columns.

A text is what a record's field holds as it was written, never what a library made of it: numbers
are not rounded, "NA" is a word, and what is no text is refused by name.
"""

import datetime
import decimal
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ltm_pyro.data.sources.base import Again, Document, Found, Wanted
from ltm_pyro.errors import InputError, unknown

Record = Mapping[str, Any]
HEAD = 1000
"""Records that tell which fields there are; a field that is asked for is looked for in all."""


class Number(str):
    """A number as it was written, e.g. 1.10."""


def documents_of(
    records: Callable[[], Iterator[Record]],
    wanted: Wanted,
    where: str,
    known: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
) -> Found:
    """A document a record.

    Args:
        records: begins to read them, from the first.
        wanted: fields and columns.
        where: what messages call the source.
        known: the names of all fields, where the source has them; else they are looked for.
        texts: the fields that hold text, where the source says so.

    Raises:
        InputError: for a field that is not there, or where none holds text.
    """
    asked = {name.partition(".")[0] for name in wanted.fields} - set(wanted.fields)
    head = list(itertools.islice(records(), HEAD))
    names = list(known if known is not None else dict.fromkeys(k for r in head for k in r))
    if not head:
        return Found((), tuple(names))
    for name in (*wanted.fields, *asked):
        if known is None and name not in names and name.partition(".")[0] not in names:
            names += dict.fromkeys(k for r in records() for k in r if k not in names)
        if name not in names and name.partition(".")[0] not in names:
            raise unknown(f"field of {where}", name, names)
    chosen: tuple[str, ...] = wanted.fields
    fields: tuple[str, ...] = ()
    if not chosen:
        holding = texts if texts is not None else [n for n in names if _holds_text(n, head)]
        chosen = fields = ("text",) if "text" in names else tuple(holding)
    if not chosen:
        raise InputError(
            f"{where} has no field that holds text; its fields: {', '.join(names) or 'none'}; name "
            "one with --field (a part of a record as FIELD.PART)"
        )
    columns = [name for name in wanted.columns if name in names]

    def documents() -> Iterator[Document]:
        for number, record in enumerate(records(), start=1):
            try:
                parts = [text_of(record, field, where, number) for field in chosen]
                values = {n: value_of(record.get(n), n, where) for n in columns}
            except InputError as error:
                wanted.broken("records whose field is no text", error)
                continue
            yield Document("\n".join(part for part in parts if part is not None), values)

    return Found(Again(documents), tuple(names), fields)


def text_of(record: Record, field: str, where: str, number: int) -> str | None:
    """The text in a field; a list of texts is joined by newlines.

    Raises:
        InputError: for what is no text.
    """
    value = _at(record, field)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | decimal.Decimal) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list | tuple) and all(isinstance(x, str) or x is None for x in value):
        return "\n".join(x for x in value if x is not None)
    raise InputError(
        f"field {field!r} of {where} holds {kind_of_value(value)} (record {number}), which is no "
        "text: name a field that holds text, or a part of a record as "
        f"{field}.{_part(value)}, with --field"
    )


def value_of(value: Any, column: str, where: str) -> str | None:
    """A column's value, as text.

    Raises:
        InputError: for a list, a record or bytes.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, int | float | decimal.Decimal):
        return None if value != value else str(value)
    raise InputError(
        f"column {column!r} of {where} holds {kind_of_value(value)}: expected a text or a number"
    )


def kind_of_value(value: Any) -> str:
    """What a value is, for messages."""
    if isinstance(value, Mapping):
        return "a record"
    if isinstance(value, list | tuple):
        inner = next((x for x in value if not isinstance(x, str)), None)
        held = "texts" if inner is None else kind_of_value(inner)
        return f"a list with {held} in it" if value else "an empty list"
    if isinstance(value, bytes):
        return "bytes"
    return "nothing" if value is None else type(value).__name__


def _part(value: Any) -> str:
    """A name to show how a part of a record is chosen."""
    inner = value[0] if isinstance(value, list | tuple) and value else value
    return next(iter(inner), "PART") if isinstance(inner, Mapping) else "PART"


def _at(value: Any, path: str) -> Any:
    """The value at a dotted name; of a list of records, those of each."""
    if isinstance(value, list):
        found = [_at(one, path) for one in value]
        return list(itertools.chain(*(x if isinstance(x, list) else [x] for x in found)))
    if not isinstance(value, Mapping):
        return None
    if path in value:
        return value[path]
    first, dot, rest = path.partition(".")
    return _at(value.get(first), rest) if dot else None


def _holds_text(name: str, head: Iterable[Record]) -> bool:
    """Whether a field of the first records is text: a string that is no number."""
    values = [record.get(name) for record in head]
    texts = [x for x in values if isinstance(x, str) and not isinstance(x, Number)]
    return any(not is_number(x) for x in texts if x.strip())


def is_number(text: str) -> bool:
    """Whether a cell reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
