"""Figures as a page says them: values with errors and units, and what they amount to."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from ltm_pyro.bounds import Figure, Report
from ltm_pyro.bounds.figures import Interval, interval
from ltm_pyro.bounds.in_html import standing
from ltm_pyro.bounds.report import paired, unfitted
from ltm_pyro.bounds.sampling import ratio_error, sampling_error
from ltm_pyro.bounds.tax import CONTROL
from ltm_pyro.bounds.weights import Array
from ltm_pyro.reports.page import Table, Text

ONE_SEED = "Errors are over documents, of one training each: another seed of it may differ by more."
NOTHING = "–"
"""In a cell that has nothing to say."""


def within(value: float, error: float, sign: str = "") -> str:
    """A value and its standard error, or that it is not known."""
    if math.isnan(value):
        return NOTHING
    return f"{value:{sign}.4f}" + ("" if math.isnan(error) else f" ± {error:.4f}")


def between(ends: Interval, sign: str = "") -> str:
    """An interval."""
    if any(map(math.isnan, ends)):
        return NOTHING
    return f"{ends[0]:{sign}.4f} to {ends[1]:{sign}.4f}"


def whole(value: float, digits: int = 4) -> str:
    """A number, or that it is not known."""
    return NOTHING if math.isnan(value) else f"{value:.{digits}f}"


def figure_tables(reports: Iterable[tuple[str, Report]]) -> Iterator[Table]:
    """The figures of reports, each under a name of its own ("" for one alone)."""
    for name, report in reports:
        figures = list(report.figures.values())
        of = f"{name}: " if name else ""
        told = [
            [
                one.name, standing(one), within(one.nats_per_token, one.standard_error),
                between(one.interval), whole(one.monte_carlo_error), whole(one.perplexity, 2),
                whole(one.bits_per_byte), _made(one),
            ]
            for one in figures
        ]  # fmt: skip
        yield Table(
            f"{of}figures of -log p(x), nats per token ± standard error over documents; lower is "
            "better" + ("; of the tokens alone, with the KL" if any(map(sited, figures)) else ""),
            ["figure", "is it a bound?", "nats/token", "95 % interval", "± MC", "perplexity",
             "bits/byte", "how it was made"],
            told,
        )  # fmt: skip
        more = [one for one in figures if sited(one)]
        if more:
            yield Table(
                f"{of}all observed sites together, nats per document ± standard error",
                ["figure", "nats/document", "of"],
                [
                    [one.name, within(one.nats_per_document, one.document_error),
                     ", ".join(one.observed)]
                    for one in more
                ],
            )  # fmt: skip
        parts = [
            [one.name, part, _per_token(one, part), within(float(v.mean()), over_documents(one, v)),
             f"{one.known.get(part, one.documents)} of {one.documents}"]
            for one in figures
            for part, v in one.parts.items()
        ]  # fmt: skip
        if parts:
            yield Table(
                f"{of}what figures are the sum of; q has seen all of it, so a part is no score of "
                "a site given the rest",
                ["figure", "part", "nats/token", "nats/document", "known in documents"],
                parts,
            )


def sited(figure: Figure) -> bool:
    """Whether a figure is of more than tokens."""
    return figure.observed != ("tokens",)


def over_documents(figure: Figure, values: Array) -> float:
    """Standard error of the mean over a figure's documents."""
    return ratio_error(values, np.ones_like(values), figure.stream)


def _per_token(figure: Figure, part: str) -> str:
    """Of tokens and of what pays for them: nats of another site have no tokens to be divided by."""
    if sited(figure) and part != "tokens":
        return NOTHING
    return whole(float(figure.parts[part].sum() / figure.tokens.sum()))


def in_short(figure: Figure) -> str:
    """A figure in a line."""
    if sited(figure):
        return (
            f"{within(figure.nats_per_document, figure.document_error)} nats/document of "
            f"{', '.join(figure.observed)}"
        )
    return (
        f"{within(figure.nats_per_token, figure.standard_error)} nats/token, perplexity "
        f"{whole(figure.perplexity, 2)}"
    )


def cautions(reports: Iterable[tuple[str, Report]]) -> list[Text]:
    """What is to be known of figures before they are compared."""
    found = [
        Text(f"{name}: {told}." if name else f"{told[0].upper()}{told[1:]}.")
        for name, report in reports
        if (told := unfitted(report.figures))
    ]
    return [*found, Text(ONE_SEED)]


def _made(figure: Figure) -> str:
    text = figure.protocol
    if figure.weights:
        text += f". {figure.weights}"
    if figure.mean_perplexity is not None:
        text += (
            ". The mean over rows of exp(nats/token), which this protocol calls perplexity: "
            f"{figure.mean_perplexity:.2f}"
        )
    return text


def gains(report: Report) -> list[tuple[str, str, float, float, Interval]]:
    """By how many nats per token each bound lies below the prior's and the control's, paired.

    (bound, what it is compared with, gain, standard error, 95 % interval).
    """
    found = []
    kinds = {name: name.partition(":")[0] for name in report.figures}
    for other, kind in kinds.items():
        for name, own in kinds.items():
            if kind not in ("prior", CONTROL) or own in ("prior", CONTROL):
                continue
            if not report[name].is_bound:
                continue
            gain, error, freedom = paired(report[other], report[name], one_model=True)
            if math.isnan(gain):  # no part of one tells its tokens
                continue
            ends = interval(gain, error, freedom)
            found.append((name, other, gain, error, ends))
    return found


def gain_table(report: Report) -> Table:
    """The gains of a report."""
    return Table(
        "What thoughts earn: a figure less the bound, paired by document; above 0 they earn",
        ["bound", "beside", "nats/token", "95 % interval", "in words"],
        [
            [name, over(other), within(gain, error, "+"), between(ends, "+"), earned(ends, other)]
            for name, other, gain, error, ends in gains(report)
        ],
    )


def document_gains(report: Report) -> Table:
    """By how much each bound lies below the prior's, of all that a model observes together."""
    rows = []
    priors = [one for name, one in report.figures.items() if name.partition(":")[0] == "prior"]
    for prior in filter(sited, priors):
        for name, one in report.figures.items():
            if one is prior or not one.is_bound or one.observed != prior.observed:
                continue
            gap = prior.nats - one.nats
            gain = float(gap.mean())
            error, freedom = sampling_error(gap, np.ones_like(gap), one.stream)
            ends = interval(gain, error, freedom)
            rows.append(
                [name, within(gain, error, "+"), between(ends, "+"), earned(ends, prior.name)]
            )
    return Table(
        "What thoughts earn over those drawn from the prior, all observed sites together; paired",
        ["bound", "nats/document", "95 % interval", "in words"],
        rows,
    )


def over(name: str) -> str:
    """What a bound is compared with, in words."""
    return (
        "the control, a decoder without latents"
        if name.partition(":")[0] == CONTROL
        else "thoughts drawn from the prior"
    )


def earned(ends: Interval, other: str) -> str:
    """What an interval of a gain over another figure says, in words."""
    if any(map(math.isnan, ends)):
        return "too few documents to tell"
    if ends[0] > 0:
        return "thoughts earn"
    if ends[1] < 0:
        exact = other.partition(":")[0] == CONTROL
        return f"thoughts cost, or the {'bound is' if exact else 'fit is'} loose"
    return "cannot be told from these documents"


def lower(ends: Interval, one: str, other: str) -> str:
    """Which of two is lower, if an interval of the first less the second tells."""
    if any(map(math.isnan, ends)):
        return "too few documents to tell"
    if ends[0] <= 0 <= ends[1]:
        return "these documents do not tell them apart"
    return f"{one if ends[1] < 0 else other} is lower"
