"""Figures as a table in a notebook."""

from collections.abc import Sequence
from typing import Any

from ltm_pyro.display.tables import table


def figure_table(title: str, figures: Sequence[Any]) -> str:
    """Figures of the same documents, a row each, their parts below them."""
    one = figures[0]
    rows = [row for figure in figures for row in (_row(figure), *_parts(figure))]
    over = f" (errors over {one.units} blocks of windows)" if one.block is not None else ""
    size = f"{one.documents:,} documents{over}, {int(one.tokens.sum()):,} tokens; lower is better"
    return table(
        title, rows, [remark for figure in figures for remark in _remarks(figure)] + [size]
    )


def _row(figure: Any) -> dict[str, Any]:
    if figure.observed == ("tokens",):
        of_what = {
            "nats/token": figure.nats_per_token,
            "± s.e.": figure.standard_error,
            "± MC": figure.monte_carlo_error,
            "perplexity": figure.perplexity,
            "bits/byte": figure.bits_per_byte,
        }
    else:
        of_what = {"nats/document": figure.nats_per_document, "± s.e.": figure.document_error}
    return {"figure": figure.name, **of_what, "a bound": figure.is_bound,
            "protocol": figure.protocol}  # fmt: skip


def _parts(figure: Any) -> list[dict[str, Any]]:
    text = figure.observed == ("tokens",)
    unit, total = (
        ("nats/token", figure.tokens.sum()) if text else ("nats/document", figure.documents)
    )
    return [
        {"figure": f"— {name}", unit: float(part.sum() / total)}
        for name, part in figure.parts.items()
    ]


def _remarks(figure: Any) -> list[str]:
    found = [f"{figure.name}: {figure.weights}"] if figure.weights else []
    if figure.mean_perplexity is not None:
        found.append(
            f"{figure.name}: mean over rows of exp(nats/token), which this protocol calls "
            f"perplexity: {figure.mean_perplexity:.2f}"
        )
    return found
