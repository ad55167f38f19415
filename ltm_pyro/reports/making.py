"""A report from runs: what is measured, and where the page is put."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ltm_pyro import __version__, files
from ltm_pyro.config.sizes import PLAIN
from ltm_pyro.data import Corpus
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.options import checked
from ltm_pyro.reports import one as single
from ltm_pyro.reports import pair
from ltm_pyro.reports.measuring import Asked, Measured, choose, measure
from ltm_pyro.reports.page import check_place, render
from ltm_pyro.runs.checkpoint import Run, load
from ltm_pyro.runs.info import info_run
from ltm_pyro.runs.info_words import command_line
from ltm_pyro.runs.scored import Scored, check_comparable, to_score
from ltm_pyro.runs.training import load_data
from ltm_pyro.runs.trust import check_data

NAME = "report.html"


@checked
def report(
    run: Run | str | Path,
    other: Run | str | Path | None = None,
    *,
    out: str | Path | None = None,
    corpus: Corpus | None = None,
    split: Literal["train", "valid", "test", "all"] | None = None,
    checkpoint: Literal["last", "best"] = "last",
    device: str = "cpu",
    trust: bool = False,
    note: Callable[[str], Any] | None = None,
    **options: Any,
) -> Path:
    """Write a page that says what a run is and what it does, and return where it stands.

    The page is one HTML file that loads nothing. Of two runs it has the paired differences of their
    figures on the same documents.

    Args:
        run: a run, or its folder.
        other: another with the same tokenizer, to stand beside it.
        out: the file; `report.html` in the run's folder, or of two runs a name of both in the
            folder one is in, unless given. Only a report is replaced.
        corpus: what is scored, read with the run's tokenizer (`load_data`); the run's own text
            unless given.
        split: of the corpus: that of tests of its own text and all of another, unless given.
            Documents that a run was trained on are left out, but of a split that is named here and
            is `train` or `all`.
        checkpoint, device, trust: of runs given by their folders; see `load`.
        note: called with a line about what is done next.
        options: what is measured, and how: fields of `ltm_pyro.reports.measuring.Asked` (`bounds`,
            `rows`, `inspected`, `texts`, `prompts`, `fast_steps`, `seed`, `chunk`, `progress`).

    Raises:
        InputError: for a run that cannot be read, text that is not there or not to be read
            without trust, figures that cannot be had, runs that cannot score the same rows, or a
            place where something else stands.
    """
    start = time.perf_counter()
    say = note or (lambda line: None)
    asked = _asked(options)
    runs = [
        one if isinstance(one, Run) else load(one, checkpoint, trust, device)
        for one in (run, other)
        if one is not None
    ]
    place = _place(runs, out)
    if check_place(place):
        say(f"report: {place} is replaced")
    if other is not None:
        paths = [shlex.quote(str(one.path)) for one in runs]
        check_comparable(runs[0], runs[1], f"ltm report {paths[1]} {paths[0]}")
    text = _text(runs, corpus, split, trust)
    places = choose(text.rows, asked.rows, asked.seed)
    of = checkpoint if not any(isinstance(one, Run) for one in (run, other)) else ""
    how = _how(text, len(places), of, runs)
    say(f"data: {how}")
    # Read before minutes are spent on measuring, so that damage is told at once.
    facts = [info_run(one.path) | {"parameters": one.model.parameter_count()} for one in runs]
    found: list[Measured] = []
    for one in runs:
        rows = (text.rows if one is runs[0] else text.read_by(one))[places]
        found.append(measure(one, rows, asked, say, alone=len(runs) == 1))
    others = {
        "split": split, "trust": trust or None,
        "checkpoint": checkpoint if checkpoint != "last" else None,
        "device": device if device != "cpu" else None,
    }  # fmt: skip
    kept = {name: value for name, value in others.items() if value is not None}
    command = _command(runs, {**kept, **options}, corpus is not None)
    if len(runs) == 1:
        title = f"{runs[0].path}"
        sections = single.sections(runs[0], facts[0], found[0], text, how, command)
    else:
        title = f"{runs[0].path} (A) beside {runs[1].path} (B)"
        sections = pair.sections(runs, facts, found, text, how, command)
    page = render(title, _lead(runs, facts), sections, _foot(found, time.perf_counter() - start))
    files.make_folder(place.parent)
    files.write(place, page)
    say(f"report: {place}, {len(page):,} bytes, in {time.perf_counter() - start:.0f} s")
    return place


def _asked(options: dict[str, Any]) -> Asked:
    for name in options:
        known = [field.name for field in dataclasses.fields(Asked)]
        if name not in known:
            raise unknown("option", name, known)
    return Asked(**options)


def _place(runs: Sequence[Run], out: str | Path | None) -> Path:
    if out is not None:
        return Path(out)
    if len(runs) == 1:
        return runs[0].path / NAME
    return Path("-".join(["report", *(one.path.resolve().name for one in runs)]) + ".html")


def _text(runs: Sequence[Run], corpus: Corpus | None, split: str | None, trust: bool) -> Scored:
    """The rows to be scored, of the first run's own text unless a corpus is given."""
    run = runs[0]
    if corpus is None:
        check_data(run.path, run.config.data, run.record, trust, ())
        corpus = load_data(run.config, run.tokenizer)
    elif corpus.tokenizer.fingerprint() != run.tokenizer.fingerprint():
        raise InputError(
            f"{corpus.name} was read with another tokenizer than that of {run.path}: read it with "
            "ltm.load_data(run.config.replace(data=...), run.tokenizer)"
        )
    own = corpus.fingerprint == run.record["data"]["fingerprint"]
    found = to_score(corpus, runs, split, "test" if own else "all")
    if not len(found.rows):
        raise InputError(
            f"{corpus.name}, split {found.split}: there are no rows to score; name another split, "
            "or other text"
        )
    return found


def _how(text: Scored, rows: int, checkpoint: str, runs: Sequence[Run]) -> str:
    """Which rows are scored, in words."""
    every = len(text.rows)
    lot = f", of whole documents chosen by lot out of {every:,} rows" if rows < every else ""
    left = (
        f" {text.left_out:,} documents that were trained on are left out." if text.left_out else ""
    )
    steps = " and ".join(f"{one.step:,}" for one in runs)
    return (
        f"Scored: {rows:,} rows of {text.corpus.name}, split {text.split}{lot}; weights of "
        f"iteration {steps}{f' (the {checkpoint} checkpoint)' if checkpoint else ''}.{left}"
    )


def _lead(runs: Sequence[Run], facts: Sequence[dict[str, Any]]) -> str:
    parts = []
    for letter, run, one in zip("AB", runs, facts, strict=False):
        of = f"{letter}: a" if len(runs) > 1 else "A"
        control = "beside a control without latents" if run.baseline else "without a control"
        parts.append(
            f"{of} latent-thought language model of {one['parameters']:,} parameters, "
            f"{_made_of(one)}, guide {one['guide']}, {one['iterations']:,} iterations {control}."
        )
    return " ".join(parts)


def _made_of(facts: Mapping[str, Any]) -> str:
    own = facts["model"] != PLAIN
    return f"decoder {facts['decoder']}, " + (
        f"program {facts['model']}" if own else f"prior {facts['prior']}"
    )


def _foot(found: Sequence[Measured], seconds: float) -> str:
    spent = ", ".join(
        f"{name} {sum(one.seconds.get(name, 0.0) for one in found):.0f} s"
        for name in dict.fromkeys(name for one in found for name in one.seconds)
    )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return (
        f"Made by ltm_pyro {__version__} at {now} in {seconds:.0f} s: {spent}. The page loads "
        "nothing, and holds paths of the machine it was made on and beginnings of held-out texts."
    )


def _command(runs: Sequence[Run], options: Mapping[str, Any], other_text: bool) -> str:
    """What makes the report again: the command, or a call from Python."""
    if Path(sys.argv[0]).name in ("ltm", "__main__.py") and sys.argv[1:2] == ["report"]:
        return command_line(sys.argv)
    given = [repr(str(one.path)) for one in runs]
    given += [f"{name}={value!r}" for name, value in options.items()]
    given += ["corpus=..."] if other_text else []
    return f"ltm_pyro.report({', '.join(given)})"
