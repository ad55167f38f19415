"""Figures as a table in a notebook."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ltm_pyro.display.tables import table


def figure_table(title: str, figures: Sequence[Any], remark: str = "") -> str:
    """Figures of the same documents, a row each, their parts below them, and what to know of them.

    Where any of them is of more than tokens, all are in nats per document, as when printed.
    """
    if not figures:
        return table(title, [], ["no figures"])
    one = figures[0]
    text = all(figure.observed == ("tokens",) for figure in figures)
    rows = [row for figure in figures for row in _rows(figure, text)]
    size = f"{one.documents:,} documents{alike(figures)}, {int(one.tokens.sum()):,} tokens"
    remarks = [said for figure in figures for said in _remarks(figure)]
    return table(title, rows, [*remarks, *([remark] if remark else []), f"{size}; lower is better"])


def alike(figures: Iterable[Any]) -> str:
    """Where documents are windows of a stream, how well their errors are known; else nothing."""
    known = [figure.freedom for figure in figures if figure.stream]
    if not known:
        return ""
    return f" (windows of a stream: errors of {min(known):.0f} degrees of freedom)"


def standing(figure: Any) -> str:
    """Whether a figure may be called a likelihood."""
    kind = figure.name.partition(":")[0]
    if kind == "baseline":
        return "exact"
    if kind == "upper":
        return "a bound from below"
    return "a bound" if figure.is_bound else "NOT A BOUND"


def _rows(figure: Any, text: bool) -> Iterator[dict[str, Any]]:
    if text:
        of_what = {
            "nats/token": figure.nats_per_token,
            "± s.e.": figure.standard_error,
            "± MC": figure.monte_carlo_error,
            "perplexity": figure.perplexity,
            "bits/byte": figure.bits_per_byte,
        }
    else:
        of_what = {"nats/document": figure.nats_per_document, "± s.e.": figure.document_error}
    seen = "" if text else f"; of {', '.join(figure.observed)}"
    protocol = figure.protocol + seen
    bound = {"is it a bound?": standing(figure)}
    yield {"figure": figure.name, **of_what, **bound, "protocol": protocol}
    for name, part in figure.parts.items():
        size = figure.tokens.sum() if text else figure.documents
        yield {"figure": f"— {name}", "nats/token" if text else "nats/document":
               float(part.sum() / size), "protocol": _of_few(figure, name)}  # fmt: skip
    if figure.observed != ("tokens",) and not math.isnan(figure.nats_per_token):
        yield {"figure": "— tokens alone", "nats/document": figure.of_tokens.mean(),
               "protocol": f"{figure.nats_per_token:.4f} ± {figure.standard_error:.4f} nats/token, "
                           f"the KL included; perplexity {figure.perplexity:.2f}"}  # fmt: skip


def _of_few(figure: Any, site: str) -> str:
    """In words, how many documents have a value of a site, where not all have."""
    known = figure.known.get(site, figure.documents)
    return "" if known == figure.documents else f"known of {known:,} of {figure.documents:,}"


def _remarks(figure: Any) -> Iterator[str]:
    if figure.weights:
        yield f"{figure.name}: {figure.weights}"
    if figure.mean_perplexity is not None:
        yield (
            f"{figure.name}: mean over rows of exp(nats/token), which this protocol calls "
            f"perplexity: {figure.mean_perplexity:.2f}"
        )
