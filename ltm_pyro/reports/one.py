"""The sections of a run's report."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from ltm_pyro.reports.curves import training
from ltm_pyro.reports.looking import diagnostics, verdicts, what
from ltm_pyro.reports.measuring import Measured
from ltm_pyro.reports.page import Code, Section, Table, Text, Verdict
from ltm_pyro.reports.thought_map import map_section
from ltm_pyro.reports.words import earned, figure_tables, gain_table, gains, over, standing, within
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.runs.config_json import to_dict
from ltm_pyro.runs.info import NOT_STRAIGHT, run_lines
from ltm_pyro.runs.scored import Scored


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
        Section(
            "What it is", [about(facts), *(Text(f"Of the text: {n}.") for n in text.corpus.notes)]
        ),
        Section("Training", training(run.log(), facts)),
        Section("Figures", [Text(how), *figure_tables([("", found.figures)]), *_gains(found)]),
        Section("Diagnostics", [what(found.inspected)], diagnostics(found.inspected)),
        Section("Texts it writes", _texts(found)),
        *_map(run, found, text),
        Section("Again", again(run, facts, command)),
    ]


def _short(found: Measured, how: str) -> list[Any]:
    lines = [
        Verdict(
            f"{name} ({standing(one)})",
            f"{within(one.nats_per_token, one.standard_error)} nats/token, perplexity "
            f"{one.perplexity:.2f}",
        )
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
    table = gain_table(found.figures)
    if table.rows:
        return [table]
    return [Text("No figure here is to be compared with another: ask for elbo and prior.")]


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
    return [map_section(found.inspected.everywhere, run.tokenizer, column, known)]


def again(run: Run, facts: Mapping[str, Any], command: str) -> list[Any]:
    """How to repeat a run and its report, and how to cite it."""
    same = "" if facts["straight"] else f" ({NOT_STRAIGHT})"
    return [
        Code("This report", command),
        Code(f"The run, from its configuration{same}", facts["repeat"]),
        Code("Its figures, over all rows", f"ltm evaluate {shlex.quote(str(run.path))}"),
        Text(
            f"Seed {run.config.training.seed}; random streams and numbers are the same on the same "
            "machine with the same versions and number of threads."
        ),
        Code("How to cite it", "\n".join(facts["cite"])),
        Code("Its whole configuration", json.dumps(to_dict(run.config), indent=1), folded=True),
    ]
