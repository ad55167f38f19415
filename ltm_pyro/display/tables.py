"""Tables for a notebook, everything in them escaped."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any


def table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    notes: Iterable[str] = (),
) -> str:
    """An HTML table with a caption, and lines of text below it.

    Args:
        title: the caption.
        rows: a cell for each column, by the column's name; missing and None are left empty. Numbers
            are aligned to the right and have four decimals.
        notes: what else there is to say, a line each.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(_cell(row.get(name)) for name in columns) + "</tr>" for row in rows
    )
    below = "".join(f"<div>{escape(note)}</div>" for note in notes)
    return (
        f'<div><table><caption style="text-align:left"><b>{escape(title)}</b></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}</div>"
    )


def facts(title: str, known: Mapping[str, Any], notes: Iterable[str] = ()) -> str:
    """A table of two columns: what something is, name by name."""
    return table(title, [{"": name, " ": value} for name, value in known.items()], notes)


def _cell(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f'<td style="text-align:{"right" if number else "left"}">{escape(_said(value))}</td>'


def _said(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
