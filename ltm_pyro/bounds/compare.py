"""Models beside one another, by what they say of the same held-out documents."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from ltm_pyro.bounds.figures import interval
from ltm_pyro.bounds.report import Report, paired, unfitted
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.options import checked


@checked
def compare(reports: Mapping[str, Report], by: str = "elbo") -> pd.DataFrame:
    """A row for each model, the best first: what `arviz.compare` does where loo is valid.

    Thoughts of a document are fitted to that document, so leaving it out (loo) leaves nothing to
    predict it from. What compares models is the evidence of documents that none was trained on.
    Of two bounds the tighter one may win with the worse model: where the difference is small,
    compare `iwae` with many draws (of models of text alone), or certified intervals. A bound that
    tightens with its draws or steps says something of models at equal numbers of them alone.

    Args:
        reports: of `evaluate`, by the model's name, all on the same rows.
        by: the figure that ranks, which every report has.

    Returns:
        Columns, in nats per token of text: `nats_per_token` and its `standard_error`; `difference`
        to the best row, its `difference_error` (paired, document by document), and its
        interval, `low` and `high`; what says that the bound is `loose`, in words, "" where nothing
        does (bad importance weights, a fitted guide that is worse than the prior, where the report
        has `prior`); and the figure's `protocol`. The intervals hold at once with
        95 %, whichever model is the best (Bonferroni over all pairs): where one holds zero, the
        documents do not tell the two models apart.

    Raises:
        InputError: for no report, a figure that one lacks or that is no bound, or reports that are
            not of the same documents.
    """
    if not reports:
        raise InputError("reports is empty: give those of ltm.evaluate, by the model's name")
    figures = {}
    for name, report in reports.items():
        if by not in report.figures:
            raise unknown(f"figure of the report of {name!r}", by, report.figures)
        figures[name] = report[by]
        if not figures[name].is_bound:
            raise InputError(f"{by} is no bound, so it ranks no models: give a figure that is one")
        if not np.isfinite(figures[name].of_tokens).all():
            raise InputError(
                f"{by} of {name!r} does not tell its tokens from what else the model observes, so "
                "it ranks no models by their text: give elbo"
            )
    rank = sorted(figures, key=lambda name: float(figures[name].of_tokens.sum()))
    best, rows = figures[rank[0]], []
    loose = {name: unfitted(one.figures) if by == "elbo" else "" for name, one in reports.items()}
    pairs = max(1, math.comb(len(rank), 2))  # of which the data chose those with the best
    for name in rank:
        figure = figures[name]
        try:
            gap, error, freedom = (0.0, 0.0, 1.0) if figure is best else paired(figure, best)
        except ValueError:
            raise InputError(
                f"{name!r} and {rank[0]!r} were not scored on the same documents: give the same "
                "rows to evaluate"
            ) from None
        low, high = interval(gap, error, freedom, pairs)
        rows.append(
            {
                "nats_per_token": float(figure.of_tokens.sum() / figure.tokens.sum()),
                "standard_error": figure.standard_error,
                "difference": gap,
                "difference_error": error,
                "low": low,
                "high": high,
                "loose": figure.weights or loose[name],
                "protocol": figure.protocol,
            }
        )
    return pd.DataFrame(rows, index=pd.Index(rank, name="model"))
