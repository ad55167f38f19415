"""An evaluation that is killed goes on where it was, and gives what it would have given."""

import copy
import dataclasses
import functools
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds import evaluation
from ltm_pyro.bounds.fingerprint import fingerprint
from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Amortized, Covariance, MeanField
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel

from ..conftest import some_rows

BOUNDS = ("elbo:4", "iwae:30", "predictive:4")
FEW = BOUNDS[:2]


@pytest.fixture
def score(model, config, tmp_path):
    rows = some_rows(7)
    baseline = AutoregressiveModel(config)

    def run(keep=tmp_path / "kept", bounds=BOUNDS, **changes):
        settings = {"fast": Fast(steps=2), "chunk": 3, "repeat": 4, "progress": False}
        settings |= {"baseline": baseline, "keep": keep} | changes
        return ltm.evaluate(model, rows, bounds, **settings)

    return run


def same(one, other):
    """Whether two reports agree in all but the time they took."""
    for name, figure in one.figures.items():
        for field in dataclasses.fields(figure):
            if field.name != "seconds":
                a, b = getattr(figure, field.name), getattr(other[name], field.name)
                np.testing.assert_equal(a, b, err_msg=f"{name}: {field.name}")


def test_it_goes_on_where_it_was_killed(score, tmp_path, monkeypatch):
    whole = score(keep=None)
    timed, done = evaluation._timed, []

    def killed(estimator, *rest):
        if len(done) == 9:
            raise KeyboardInterrupt
        done.append(estimator.__name__)
        return timed(estimator, *rest)

    monkeypatch.setattr(evaluation, "_timed", killed)
    with pytest.raises(KeyboardInterrupt):
        score()
    assert len(list((tmp_path / "kept/parts").iterdir())) == 9
    done.clear()

    def counted(estimator, *rest):
        done.append(estimator.__name__)
        return timed(estimator, *rest)

    monkeypatch.setattr(evaluation, "_timed", counted)
    same(whole, score())
    # Three chunks, and two of the four rows that are repeated, as often as `rounds` says.
    every = 3 * 4 + 2 * 3 * 6
    assert len(done) == every - 9
    done.clear()
    same(whole, score())
    assert not done


def test_nats_of_each_document_are_a_table(score, tmp_path):
    report = score(bounds=FEW)
    table = pd.read_parquet(tmp_path / "kept/documents.parquet")
    assert list(table) == ["document", "tokens", "bytes", *report.figures]
    assert table["iwae"].tolist() == report["iwae"].nats.tolist()
    assert table["tokens"].sum() == report["elbo"].tokens.sum()
    parts = pd.read_parquet(tmp_path / "kept/parts/elbo-0-000001.parquet")
    nats = dict(zip(table["document"], report["elbo"].nats, strict=True))  # of a row each
    assert parts["nats"].tolist() == pytest.approx([nats[one] for one in parts["document"]])
    assert len(parts) == 3


def test_another_evaluation_needs_another_folder(score, tmp_path):
    score(bounds=FEW)
    with pytest.raises(InputError, match=r"holds an evaluation with seed 0, and 1 is asked for"):
        score(bounds=FEW, seed=1)
    with pytest.raises(InputError, match=r"with guide .*MeanField.*Covariance.* is asked for"):
        score(bounds=FEW, guide=Covariance)
    with pytest.raises(InputError, match=r"holds an evaluation with figures"):
        score(bounds=("elbo:5", *BOUNDS[1:]))
    place = tmp_path / "kept/parts/elbo-0-000000.parquet"
    place.write_bytes(place.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"elbo-0-000000.parquet is damaged .*: remove it"):
        score(bounds=FEW)
    place.unlink()
    score(bounds=FEW)
    made = tmp_path / "kept/evaluation.json"
    assert json.loads(made.read_text())["made"]["chunk"] == 3
    made.write_text("{")
    with pytest.raises(InputError, match=r"evaluation.json is damaged"):
        score(bounds=FEW)


def test_whatever_figures_follow_from_is_part_of_what_was_kept(score, config, monkeypatch):
    some = {"bounds": ("elbo:2", "elbo:3"), "repeat": 0, "chunk": 7}
    report = score(**some)
    same(report, score(**some))  # two of one name are kept apart
    assert report["elbo:2"].nats.tolist() != report["elbo:3"].nats.tolist()
    for name, change in (
        ("repeat", {"repeat": 1}), ("chunk", {"chunk": 6}), ("fast", {"fast": Fast(steps=3)}),
        ("fast", {"fast": Fast(steps=2, lr=0.1)}), ("figures", {"bounds": ("elbo:2", "elbo:4")}),
        ("baseline", {"baseline": AutoregressiveModel(config)}),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"holds an evaluation with {name}"):
            score(**some | change)
    monkeypatch.setattr(evaluation, "__version__", "0.0.1")
    with pytest.raises(InputError, match="holds an evaluation with version"):
        score(**some)


def test_columns_encoders_and_settings_are_part_of_what_was_kept(config, tmp_path):
    rows = some_rows(4)
    fast = {"fast": Fast(steps=0), "repeat": 0, "progress": False, "keep": tmp_path / "kept"}
    model = LatentThoughtModel(config)
    first, second = Amortized.of(model), Amortized.of(model)
    ltm.evaluate(model, rows, ["elbo:2"], guide=first, **fast)
    with pytest.raises(InputError, match=r"holds an evaluation with guide"):
        ltm.evaluate(model, rows, ["elbo:2"], guide=second, **fast)
    labelled = dataclasses.replace(rows, columns={"label": torch.tensor([0, 1, 0, 1])})
    with pytest.raises(InputError, match=r"holds an evaluation with text"):
        ltm.evaluate(model, labelled, ["elbo:2"], guide=first, **fast)
    heads = dataclasses.replace(config.architecture, heads=1)
    other = LatentThoughtModel(config.replace(architecture=heads))
    other.load_state_dict(model.state_dict())
    with pytest.raises(InputError, match=r"holds an evaluation with model"):
        ltm.evaluate(other, rows, ["elbo:2"], guide=first, **fast)
    ltm.evaluate(model, rows, ["elbo:2"], guide=first, **fast)


def narrow(scale):
    def guide(*given):
        return MeanField(*given, scale=scale)

    return guide


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([[1], 2], [[1, 2]]),
        ({"a": {"b": 1}, "c": 2}, {"a": {"b": 1, "c": 2}}),
        ({"a": 1}, {"b": 1}),
        (1, 1.0),
        ([1, 2], [2, 1]),
        (torch.arange(4), torch.arange(4).reshape(2, 2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(2), torch.ones(2)),
        (np.arange(3), np.arange(3) + 1),
        (np.array(["a", None], object), np.array(["b", None], object)),
        (torch.nn.Tanh, torch.nn.ReLU),
        (functools.partial(MeanField, scale=0.1), functools.partial(MeanField, scale=0.2)),
        (Fast(), Fast(lr=0.123)),
        (torch.nn.Dropout(0.1), torch.nn.Dropout(0.2)),
        (torch.nn.Dropout(0.1).forward, torch.nn.Dropout(0.2).forward),
        (narrow(0.1), narrow(0.2)),
        (lambda *given: MeanField(*given, 0.1), lambda *given: MeanField(*given, 0.2)),
        (SimpleNamespace(a=1), SimpleNamespace(a=2)),
    ],
)
def test_a_fingerprint_changes_with_what_numbers_follow_from(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(copy.deepcopy(one))
    assert fingerprint(one, other) != fingerprint(other, one)


def test_a_fingerprint_does_not_change_with_evaluation_mode(model):
    before = fingerprint(model)
    assert fingerprint(model.train(not model.training)) == before


def test_a_fingerprint_is_the_same_in_another_process(config):
    code = (
        "import torch; from ltm_pyro.bounds.fingerprint import fingerprint\n"
        "from ltm_pyro.guides import MeanField; from ltm_pyro.config import Fast\n"
        "import functools; import numpy as np\n"
        "held = np.array(['a', 1.5], object)\n"
        "guide = functools.partial(MeanField, scale=0.1)\n"
        "print(fingerprint(guide, Fast(), torch.arange(3), held))\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    held = np.array(["a", 1.5], object)
    here = fingerprint(functools.partial(MeanField, scale=0.1), Fast(), torch.arange(3), held)
    assert there == f"{here}\n"
    assert fingerprint(config) != fingerprint(config.replace(fast=Fast(steps=99)))
