"""The sections of a run's report."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.reports.curves import training
from ltm_pyro.reports.looking import diagnostics, verdicts, what
from ltm_pyro.reports.measuring import Measured
from ltm_pyro.reports.page import Code, Section, Table, Text, Verdict
from ltm_pyro.reports.thought_map import map_section
from ltm_pyro.reports.words import (
    cautions,
    document_gains,
    earned,
    figure_tables,
    gain_table,
    gains,
    in_short,
    over,
    standing,
    within,
)
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.runs.config_json import to_dict
from ltm_pyro.runs.info_words import NOT_STRAIGHT, run_lines
from ltm_pyro.runs.scored import Scored
from ltm_pyro.runs.trust import outside


def sections(
    run: Run, facts: Mapping[str, Any], found: Measured, text: Scored, how: str, command: str
) -> list[Section]:
    """All sections.

    Args:
        run: the run.
        facts: of `info_run`.
        found: what was measured.
        text: what it was measured on.
        how: which rows were scored, in words.
        command: what makes this report once more.
    """
    return [
        Section("In short", _short(found, how)),
        Section("What it is", [about(facts), *notes(text)]),
        Section("Training", training(run.log(), facts)),
        Section(
            "Figures",
            [Text(how), *given(run), *figure_tables([("", found.figures)]), *_gains(found)],
        ),
        Section("Diagnostics", [what(found.inspected)], diagnostics(found.inspected)),
        Section("Texts it writes", _texts(found)),
        *_map(run, found, text),
        Section("Again", again(run, facts, command)),
    ]


def _short(found: Measured, how: str) -> list[Any]:
    lines = [
        Verdict(f"{name} ({standing(one)})", in_short(one))
        for name, one in found.figures.figures.items()
    ]
    lines += [
        Verdict(
            f"{name} beside {over(other)}",
            f"{within(gain, error, '+')} nats/token, paired: {earned(ends, other)}.",
        )
        for name, other, gain, error, ends in gains(found.figures)
    ]
    lines += [
        Verdict(one.of, f"{one.text.partition(':')[0]}.") for one in verdicts(found.inspected)
    ]
    return [Text(how), *lines]


def about(facts: Mapping[str, Any]) -> Table:
    """What a run is: model, prior, guide, decoder, data, sizes, versions."""
    return Table("The run, as it was recorded", [], run_lines(facts))


def notes(text: Scored) -> list[Text]:
    """What a reader should know of the text."""
    return [Text(f"Of the text: {note}.") for note in text.corpus.notes]


def _gains(found: Measured) -> list[Any]:
    tables = [gain_table(found.figures), document_gains(found.figures)]
    said = cautions([("", found.figures)])
    if any(table.rows for table in tables):
        return [*(table for table in tables if table.rows), *said]
    return [Text("Nothing that was scored here is to be compared with another."), *said]


def _texts(found: Measured) -> list[Any]:
    blocks: list[Any] = []
    for one in found.texts:
        for i, (text, ended) in enumerate(zip(one.texts, one.ended, strict=True), 1):
            of = (
                f"from the prompt {one.prompts[i - 1]!r}"
                if one.prompts[i - 1]
                else "from the prior"
            )
            blocks.append(Code(f"{i}, thoughts {of}; ended by {ended}", text))
    return blocks or [Text("None was asked for (--texts 0).")]


def _map(run: Run, found: Measured, text: Scored) -> list[Section]:
    if found.inspected is None:
        return []
    columns = text.corpus.columns
    column = next(iter(columns), None)
    known = columns[column] if column is not None else ()
    if found.inspected.everywhere is None:
        return []
    return [map_section(found.inspected.everywhere, run.tokenizer, column, known)]


def given(run: Run) -> list[Text]:
    """What figures are conditional on, where a prior or a model reads columns."""
    read = list(run.model.prior.columns)
    if read:
        return [Text(f"Figures are of -log p(x | {', '.join(read)}): the prior is told them.")]
    if type(run.model) is not LatentThoughtModel and run.config.data.kept:
        columns = ", ".join(run.config.data.kept)
        return [
            Text(
                f"The model may read {columns}: what it reads of them and does not observe is "
                "given, and its figures are of -log p(x | that)."
            )
        ]
    return []


def trusted(run: Run) -> str:
    """What a command needs for a run with code of its own."""
    return " --trust" if outside(run.config) else ""


def again(run: Run, facts: Mapping[str, Any], command: str) -> list[Any]:
    """How to repeat a run and its report, and how to cite it."""
    same = "" if facts["straight"] else f" ({NOT_STRAIGHT})"
    return [
        Code("This report", command),
        Code(f"The run, from its configuration{same}", facts["repeat"] + trusted(run)),
        Code(
            "The figures of its last weights, over all rows",
            f"ltm evaluate {shlex.quote(str(run.path))}{trusted(run)}",
        ),
        Text(
            f"Seed {run.config.training.seed}; random streams and numbers are the same on the same "
            "machine with the same versions and number of threads."
        ),
        Code("How to cite it", "\n".join(facts["cite"])),
        Code("Its whole configuration", json.dumps(to_dict(run.config), indent=1), folded=True),
    ]
