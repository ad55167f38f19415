"""The table of figures of models that observe more than tokens."""

import math
from collections.abc import Iterable
from typing import Any


def table_by_site(figures: Iterable[Any]) -> str:
    """A table of figures of several observed sites: the whole, and each site in its own unit."""
    lines = [f"{'':<14}{'nats/document':>14}{'± s.e.':>9}{'seconds':>9}  protocol"]
    for figure in figures:
        lines.append(
            f"{figure.name:<14}{figure.nats_per_document:>14.4f}{figure.document_error:>9.4f}"
            f"{figure.seconds:>9.1f}  {figure.protocol}; of {', '.join(figure.observed)}"
        )
        for name, part in figure.parts.items():
            known = figure.known.get(name, figure.documents)
            missing = "" if known == figure.documents else (
                f"           known of {known} of {figure.documents} documents"
                + (f", {part.sum() / known:.4f} in each" if known else "")
            )  # fmt: skip
            lines.append(f"  {name:<12}{part.mean():>14.4f}{missing}")
        if not math.isnan(figure.nats_per_token) and figure.observed != ("tokens",):
            lines.append(
                f"  {'tokens alone':<12}{figure.nats_per_token:>14.4f}{figure.standard_error:>9.4f}"
                f"           nats/token, the KL included; perplexity {figure.perplexity:.2f}"
            )
        if figure.weights:
            lines.append(f"  {figure.weights}")
    tokens = int(figure.tokens.sum())
    return "\n".join([*lines, f"{figure.documents} documents, {tokens} tokens; lower is better"])
