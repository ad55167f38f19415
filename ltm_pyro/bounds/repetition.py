"""What a repetition would give: some rows fitted and scored again, from draws of their own."""

import math

import torch
from torch import Tensor

from ltm_pyro.seeds import Stream, generator

FEWEST, MOST = 24, 6
"""Repetitions, over all rows, below which rows are repeated more often; and of a row at most."""


def repeated_rows(rows: int, most: int, seed: int) -> Tensor:
    """Which rows are repeated: all of them, or `most` chosen by lot."""
    order = torch.randperm(rows, generator=generator(seed, Stream.REPEATED_ROWS))
    return order[:most].sort().values


def rounds(rows: int, shared: bool = False) -> int:
    """How often so many rows are repeated; where all share draws, as often as it is done at all."""
    return min(MOST, MOST if shared else math.ceil(FEWEST / rows)) if rows else 0


def over_repetitions(
    first: Tensor, again: Tensor, chosen: Tensor, within: Tensor | None
) -> tuple[Tensor, float]:
    """Variance of each row's estimate over repetitions, (rows,), and its degrees of freedom.

    An estimate varies with its draws and with those that its guide was fitted with. The spread of
    the repeated rows holds both, whatever the tails of the weights, and no formula for the draws
    alone does. Rows are independent, so their spreads add up to that of the corpus; that of the
    rows not repeated is the repeated ones' share of it.

    Args:
        first: the estimates, (rows,).
        again: repetitions of some rows, (rounds, repeated rows).
        chosen: which rows those are.
        within: variance over the draws of one fit, (rows,), by which rows share the spread; alike
            if not known.
    """
    values = torch.cat([first[None, chosen], again]).double()
    spread, freedom = values.var(0), len(again)
    total = spread.sum()
    if within is None or not within[chosen].sum() > 0:
        variance = (total / len(chosen)).expand(len(first))
    else:
        variance = within.double() * (total / within[chosen].double().sum())
    # Satterthwaite's, with an unbiased estimate of each fourth power.
    fourth = spread.square().sum() / (freedom + 2)
    return variance, float(total.square() / fourth) if fourth > 0 else math.inf


def error_of_all(first: Tensor, again: Tensor, chosen: Tensor) -> float:
    """Standard error of a sum over rows from what moves all rows of a repetition alike, nats.

    What sums over the repeated rows vary by is more than the rows' own spreads by this, with a
    degree of freedom for each repetition. Arguments as those of `over_repetitions`.
    """
    values = torch.cat([first[None, chosen], again]).double()
    rows = len(chosen)
    if rows < 2:
        return 0.0
    rest = float(values.sum(1).var() - values.var(0).sum()) / (rows * (rows - 1))
    return len(first) * math.sqrt(max(rest, 0.0))


def shared_error(log_weights: Tensor) -> float:
    """What shared draws add to the standard error of a sum over rows of log mean weights, nats.

    By the jackknife over draws, (draws, rows): what a draw does to one row it may do to all, so the
    variance of the sum is more than that of each row, of which this is the square root of the rest.
    Known with a degree of freedom less than there are draws; nan of one draw.
    """
    share = log_weights.double().softmax(0).clamp(max=1 - 1e-12)
    # The log mean without a draw, less that of all, is log(1 - share) and the same for every draw.
    return _beyond_each_row(torch.log1p(-share))


def shared_error_of_means(values: Tensor) -> float:
    """The same of a sum over rows of means of `values` over draws, (draws, rows)."""
    values = values.double()
    return _beyond_each_row((values.mean(0) - values) / max(1, len(values) - 1))


def _beyond_each_row(without: Tensor) -> float:
    """From each row's estimate without each draw, up to a constant, (draws, rows)."""
    draws = len(without)
    if draws < 2:
        return math.nan
    whole, own = without.sum(1).var(correction=0), without.var(0, correction=0).sum()
    return math.sqrt((draws - 1) * max(float(whole - own), 0.0))
