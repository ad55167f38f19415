"""The sections of a report of two runs beside one another."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ltm_pyro.bounds import differences
from ltm_pyro.bounds.figures import Interval
from ltm_pyro.display.pictures import SERIES, zero
from ltm_pyro.reports.curves import BOUND_ERROR, EARNED, ERROR, TAX
from ltm_pyro.reports.looking import verdicts, what
from ltm_pyro.reports.measuring import Measured
from ltm_pyro.reports.one import given, notes, trusted
from ltm_pyro.reports.page import Code, Group, Picture, Section, Table, Text, Verdict
from ltm_pyro.reports.pictures import curve, over_iterations, picture
from ltm_pyro.reports.words import (
    NOTHING,
    between,
    cautions,
    figure_tables,
    gain_table,
    lower,
    within,
)
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.runs.config_json import to_dict
from ltm_pyro.runs.info_words import run_lines
from ltm_pyro.runs.looks import BOUND
from ltm_pyro.runs.scored import Scored

LETTERS = ("A", "B")
DRAWN = tuple(zip(LETTERS, SERIES, strict=False))
"""The colour and mark of each run's curves."""
Facts = Sequence[Mapping[str, Any]]


def sections(
    runs: Sequence[Run],
    facts: Facts,
    found: Sequence[Measured],
    text: Scored,
    how: str,
    command: str,
) -> list[Section]:
    """All sections; of each argument but the last three there is one for A and one for B."""
    table = difference_table(found)
    short = [
        Verdict(f"{name}, A less B", f"{gap} nats/token, paired: {said}.")
        for name, gap, _, said in table.rows
    ]
    reports = [(letter, one.figures) for letter, one in zip(LETTERS, found, strict=True)]
    gains = [
        Table(f"{letter}: {told.caption}", told.head, told.rows)
        for letter, report in reports
        if (told := gain_table(report)).rows
    ]
    return [
        Section("In short", [Text(how), *short]),
        Section("What differs", [differing(runs, facts)]),
        Section("Training", curves(facts)),
        Section(
            "Figures",
            [
                Text(how),
                *notes(text),
                *given(runs[0]),
                table,
                *cautions(reports),
                *figure_tables(reports),
                *gains,
            ],
        ),
        Section("Diagnostics", [what(found[0].inspected), *_verdicts(found)]),
        Section("What they are", _described(facts)),
        Section("Again", _again(runs, facts, command)),
    ]


def difference_table(found: Sequence[Measured]) -> Table:
    """Paired differences of the bounds that both have, A less B."""
    one, other = (each.figures for each in found)
    rows = []
    for name, gap in differences(other, one).items():
        if one[name].is_bound and not math.isnan(gap["difference"]):
            low, high = (float("nan") if end is None else end for end in gap["interval"])
            ends: Interval = (low, high)
            told = within(gap["difference"], gap["standard_error"], "+")
            rows.append([name, told, between(ends, "+"), lower(ends, *LETTERS)])
    return Table(
        "A less B on the same documents, nats per token, paired; below 0 A is better",
        ["figure", "nats/token", "95 % interval", "in words"],
        rows,
    )


def differing(runs: Sequence[Run], facts: Facts) -> Table:
    """What differs between the configurations of two runs, and in what they were made with."""
    one, other = ({**flat(to_dict(run.config)), **_more(fact)}
                  for run, fact in zip(runs, facts, strict=True))  # fmt: skip
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return Table(
        "Settings that are not the same" if names else "All settings are the same",
        ["setting", *LETTERS],
        [[name, one.get(name, NOTHING), other.get(name, NOTHING)] for name in names],
    )


def flat(part: Any, name: str = "") -> dict[str, str]:
    """The values of nested objects as JSON, each by its dotted name."""
    if not isinstance(part, Mapping):
        return {name: json.dumps(part, ensure_ascii=False)}
    found = {}
    for key, value in part.items():
        found.update(flat(value, f"{name}.{key}" if name else str(key)))
    return found


def _more(facts: Mapping[str, Any]) -> dict[str, str]:
    return {
        "iterations done": f"{facts['iterations']:,}",
        "parameters": str(facts["parameters"]),
        "text (SHA-256)": facts["data"]["fingerprint"],
        **{f"version of {name}": version for name, version in facts["versions"].items()},
    }


def curves(facts: Facts) -> list[Any]:
    """Curves of both over one another."""
    looks = [one["history"] for one in facts]
    if not any(looks):
        return [Text("Neither has looked at held-out text while it was trained.")]

    def bounds(ax: Any) -> None:
        names = []
        for (letter, like), each in zip(DRAWN, looks, strict=True):
            names += curve(ax, each, BOUND, f"{letter}, bound", like, BOUND_ERROR)
            names += curve(ax, each, "held_out_baseline", f"{letter}, control", like, dashed=True)
        over_iterations(ax, "nats/token", names)

    def earned(ax: Any) -> None:
        zero(ax)
        names = []
        for (letter, like), each in zip(DRAWN, looks, strict=True):
            prior, control = f"{letter}, over the prior", f"{letter}, over its control"
            names += curve(ax, each, EARNED, prior, like, EARNED + ERROR)
            names += curve(ax, each, TAX, control, like, TAX + ERROR, sign=-1, dashed=True)
        over_iterations(ax, "nats/token earned", names)

    last = [
        f"{letter} ends at {each[-1][BOUND]:.4f}"
        for letter, each in zip(LETTERS, looks, strict=True)
        if each
    ]
    drawn: list[Picture] = [
        picture(
            "held-out",
            bounds,
            f"Bounds of held-out text over iterations, nats per token: {', '.join(last)}",
            "Each run's looks at its own held-out rows, with two standard errors. The rows may be "
            "others for each; the paired differences under Figures are of the same documents.",
        )
    ]
    if any(EARNED in look or TAX in look for each in looks for look in each):
        drawn.append(
            picture(
                "earned",
                earned,
                "What the thoughts of each earn over the prior's and over its control, by "
                "iteration",
                "What inferred thoughts earn, paired by document, with two standard errors. Below "
                "zero they cost.",
            )
        )
    return [Group(drawn)]


def _verdicts(found: Sequence[Measured]) -> list[Any]:
    return [
        Verdict(f"{letter}: {one.of}", one.text)
        for letter, each in zip(LETTERS, found, strict=True)
        for one in verdicts(each.inspected)
    ]


def _described(facts: Facts) -> list[Any]:
    return [
        Table(f"{letter}, as it was recorded", [], run_lines(one))
        for letter, one in zip(LETTERS, facts, strict=True)
    ]


def _again(runs: Sequence[Run], facts: Facts, command: str) -> list[Any]:
    blocks: list[Any] = [Code("This report", command)]
    for letter, run, one in zip(LETTERS, runs, facts, strict=True):
        blocks += [
            Code(f"{letter}, from its configuration", one["repeat"] + trusted(run)),
            Code(f"{letter} alone", f"ltm report {shlex.quote(str(run.path))}{trusted(run)}"),
        ]
    return [
        *blocks,
        Code("How to cite them", "\n".join(dict.fromkeys(c for one in facts for c in one["cite"]))),
    ]
