"""Figures that several processes make together are those that one makes."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from itertools import chain

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds import evaluation
from ltm_pyro.commands import cli
from ltm_pyro.config import Fast
from ltm_pyro.experiments import studies
from ltm_pyro.experiments.studies.running import run
from ltm_pyro.inference.processes import by_itself, here
from ltm_pyro.inference.world import ALONE
from ltm_pyro.models import LatentThoughtModel

from ..conftest import some_rows
from ..experiments.studies import test_running as studied
from ..processes import together
from ..runs.helpers import train

BOUNDS = ("elbo:3", "iwae:40", "ais:2", "predictive:2", "prior:3", "same_noise")


def scored(config, folder):
    """The figures of 7 rows in parts of 2, and how many parts this process made."""
    torch.manual_seed(0)
    model, made, timed = LatentThoughtModel(config), [], evaluation._timed
    evaluation._timed = lambda *given: made.append(1) or timed(*given)
    try:
        report = ltm.evaluate(
            model, some_rows(7, seed=3), BOUNDS, fast=Fast(steps=2), chunk=2, repeat=3,
            progress=False, keep=folder, world=here(),
        )  # fmt: skip
    finally:
        evaluation._timed = timed
    return len(made), {
        name: [
            one.nats,
            one.monte_carlo_variance,
            one.khat,
            one.protocol,
            one.text,
            dict(one.parts),
        ]
        for name, one in report.figures.items()
    }


def test_two_processes_score_what_one_does(config, tmp_path):
    alone, known = scored(config, tmp_path / "one")
    shares = together(scored, config, tmp_path / "two")
    # 4 parts of the whole, and 2 of the rows that are repeated, 6 times; not of the last figure.
    assert alone == 4 * 6 + 2 * 6 * 5
    assert sum(count for count, _ in shares) == alone
    assert all(0 < count < alone for count, _ in shares)
    for _, found in shares:
        for name, figure in known.items():
            np.testing.assert_equal(found[name], figure, err_msg=name)
    names = [sorted(p.name for p in (tmp_path / one / "parts").iterdir()) for one in ("one", "two")]
    assert names[0] == names[1]
    assert (tmp_path / "two" / "documents.parquet").exists()
    assert scored(config, tmp_path / "two")[0] == 0  # nothing is left to do


def test_rows_of_like_length_are_scored_together(config, monkeypatch):
    torch.manual_seed(0)
    model, rows, met = LatentThoughtModel(config), some_rows(9, seed=3), []
    timed = evaluation._timed

    def noting(estimator, task, *rest):
        met.append(task.rows)
        return timed(estimator, task, *rest)

    monkeypatch.setattr(evaluation, "_timed", noting)
    report = ltm.evaluate(model, rows, "elbo:4", chunk=3, repeat=0, progress=False)
    lengths = [part.lengths.tolist() for part in met]
    assert list(chain(*lengths)) == sorted(rows.lengths.tolist())
    assert len(set(rows.lengths.tolist())) > 3
    assert rows.lengths.tolist() != sorted(rows.lengths.tolist())
    monkeypatch.undo()
    # A document's figure stands in its own place, and does not depend on its company.
    for i in range(9):
        one = ltm.evaluate(model, rows[[i]], "elbo:4", repeat=0, progress=False)["elbo"]
        assert report["elbo"].nats[i] == pytest.approx(one.nats[0], rel=1e-5)
        assert report["elbo"].tokens[i] == int(rows.lengths[i])
    shuffled = ltm.evaluate(model, rows[[3, 1, 2]], "elbo:4", repeat=0, progress=False)["elbo"]
    again = ltm.evaluate(model, rows[[1, 2, 3]], "elbo:4", repeat=0, progress=False)["elbo"]
    np.testing.assert_allclose(shuffled.nats, again.nats, rtol=1e-5)
    assert shuffled.text != again.text


def commanded(words):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(words)
    return code, out.getvalue(), err.getvalue()


def without_seconds(found):
    if isinstance(found, dict):
        return {k: without_seconds(v) for k, v in found.items() if "second" not in k}
    return found


def test_the_command_speaks_once(run_config, corpus, tmp_path):
    train(run_config, tmp_path / "run", corpus=corpus)
    words = [
        "evaluate",
        str(tmp_path / "run"),
        "--bounds",
        "elbo:2,prior:2",
        "--chunk",
        "5",
        "--json",
    ]
    code, one, _ = commanded(words)
    (first, told, said), other = together(commanded, words)
    assert code == first == 0
    assert other == (0, "", "")
    assert said.count("data: ") >= 1
    assert without_seconds(json.loads(told)) == without_seconds(json.loads(one))


def study(out):
    """A study of seven parts; which of them this process computed."""
    studied.COMPUTED.clear()
    studies.studies = lambda: {"squares": studied.Squares}
    found = run(studied.Squares(out=out, numbers=tuple(range(2, 9))), lambda text: None)
    assert isinstance(found.summary, dict)
    return [one for one in studied.COMPUTED if one != "trial"], found.summary, here().rank


def test_parts_of_a_study_are_each_computed_once(tmp_path):
    shares = together(study, tmp_path)
    assert sorted(chain(*(own for own, _, _ in shares))) == [str(n) for n in range(2, 9)]
    assert shares[0][1] == shares[1][1] == {f"of-{n}": n * n for n in range(2, 9)}
    assert json.loads((tmp_path / "results.json").read_text()) == shares[0][1]


def apart(counts):
    """What is taken of each count, by itself and together; and whether this process was alone."""
    with by_itself():
        alone = here() is ALONE and list(here().take(2)) == [0, 1]
    found = [list(here().take(count)) for count in counts]
    here().wait(long=True)
    return alone, here() is ALONE, found


def test_a_number_is_taken_once():
    one, other = together(apart, [5, 0, 3])
    assert one[:2] == other[:2] == (True, False)
    for mine, its, count in zip(one[2], other[2], [5, 0, 3], strict=True):
        assert sorted(mine + its) == list(range(count))
    assert apart([5, 0, 3]) == (True, True, [[0, 1, 2, 3, 4], [], [0, 1, 2]])
