"""Bounds against the number of fast steps, of any run."""

import dataclasses
import json

import pytest

import ltm_pyro as ltm
from ltm_pyro.bounds import certify
from ltm_pyro.errors import InputError
from ltm_pyro.experiments import thinking

from ..runs.helpers import train, with_training


def test_a_run_is_scored_at_each_number_of_steps(run_config, tmp_path, capsys):
    run = train(with_training(run_config, baseline=True, steps=2), tmp_path / "run")
    thinking.main([str(run.path), "--rows", "6", "--steps", "0", "3", "--out", str(tmp_path)])
    (found,) = json.loads((tmp_path / "thinking.json").read_text())
    figures = found["nats_per_token"]
    assert set(figures) == {"elbo", "iwae", "same_noise", "prior", "baseline"}
    assert set(figures["elbo"]) == {"0", "3"}
    assert figures["baseline"]["0"] == figures["baseline"]["3"]
    # Without a step the guide is the prior, and its KL is nothing.
    assert figures["elbo"]["0"] == pytest.approx(figures["prior"]["0"], abs=0.02)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("| 3 | ")
    assert f"{figures['elbo']['3'] - figures['baseline']['3']:+.4f}" in last


def test_what_is_certified_stands_beside_the_bounds_of_the_same_documents(
    run_config, tmp_path, capsys
):
    """A decoder that was trained alone: log p(x) is known, and no fast step finds anything."""
    run = train(with_training(run_config, baseline=True, steps=2, speak=1.0), tmp_path / "run")
    given = ["--rows", "6", "--steps", "0", "2", "--certified", "4", "--out", str(tmp_path)]
    thinking.main([str(run.path), *given])
    (found,) = json.loads((tmp_path / "thinking.json").read_text())
    told = found["enclosed"]["certificate"]
    rows = ltm.load_data(run.config, run.tokenizer).test[:4]
    report = ltm.evaluate(run.model, rows, ["prior:1"], baseline=run.baseline, progress=False)
    exact = report["baseline"].nats_per_token
    assert told["certified"] == told["documents"] == len(report["baseline"].nats)
    least, most = told["interval_95"]["nats_per_token"]
    assert least - 1e-5 < exact < most + 1e-5
    assert most - least < 1e-3
    for of_step in found["enclosed"]["bounds_nats_per_token"].values():
        assert of_step == pytest.approx({"0": exact, "2": exact}, abs=1e-5)
    assert found["enclosed"]["control"]["nats_per_token"] == pytest.approx(exact)
    assert found["enclosed"]["control"]["standard_error"] == pytest.approx(0, abs=1e-5)
    assert "is enclosed: " in capsys.readouterr().out


def test_bounds_are_of_the_documents_that_are_certified(run_config, tmp_path, monkeypatch):
    """One of three is refused: its nats are in neither bound."""
    run = train(with_training(run_config, baseline=True, steps=2), tmp_path / "run")
    rows = ltm.load_data(run.config, run.tokenizer).test[:4]

    def some(*given, **more):
        return dataclasses.replace(certify(*given, **more), reason=["", "no", ""])

    monkeypatch.setattr(thinking, "certify", some)
    found = thinking.enclosed(run, rows, [0, 3])
    assert found["certificate"]["certified"] == 2
    for count in (0, 3):
        fast = dataclasses.replace(run.config.fast, steps=count)
        given = {"guide": run.guide, "fast": fast, "repeat": 0, "progress": False}
        figure = ltm.evaluate(run.model, rows, ["elbo:8", "iwae:32"], **given)["elbo"]
        exact = figure.nats[[0, 2]].sum() / figure.tokens[[0, 2]].sum()
        assert found["bounds_nats_per_token"]["elbo:8"][count] == pytest.approx(exact)
        assert exact != pytest.approx(figure.nats_per_token, abs=1e-3)
    report = ltm.evaluate(run.model, rows, ["prior:1"], baseline=run.baseline, progress=False)
    control, tokens = report["baseline"].nats[[0, 2]], report["baseline"].tokens[[0, 2]]
    assert found["control"]["nats_per_token"] == pytest.approx(control.sum() / tokens.sum())
    assert 0 < found["control"]["standard_error"] < 0.1


def test_other_draws_a_step_than_in_training(run_config, tmp_path, monkeypatch):
    """Bounds are of guides fitted by as many draws as asked for, certificates by 8 or more."""
    run = train(with_training(run_config, baseline=True, steps=2), tmp_path / "run")
    fitted_by, written = [], []

    def listening(*given, **more):
        fitted_by.append(more["fast"].particles)
        written.append(more["simulated"])
        return certify(*given, **more)

    monkeypatch.setattr(thinking, "certify", listening)
    found = {
        draws: thinking.thinking(run.path, 4, [3], certified=2, particles=draws, simulated=9)
        for draws in (None, 1, 12)
    }
    with pytest.raises(InputError, match="particles"):
        thinking.thinking(run.path, 4, [3], particles=0)
    assert fitted_by == [8, 8, 12]
    assert written == [9, 9, 9]
    assert [one["particles"] for one in found.values()] == [1, 1, 12]
    assert found[1]["nats_per_token"] == found[None]["nats_per_token"]
    rows = ltm.load_data(run.config, run.tokenizer).test[:4]
    fast = dataclasses.replace(run.config.fast, steps=3, particles=12)
    given = {"guide": run.guide, "fast": fast, "repeat": 0, "progress": False}
    exact = ltm.evaluate(run.model, rows, thinking.BOUNDS, **given)["elbo"].nats_per_token
    assert found[12]["nats_per_token"]["elbo"][3] == pytest.approx(exact)
    assert found[1]["nats_per_token"]["elbo"][3] != pytest.approx(exact, abs=1e-6)


def test_a_gap_is_told_from_both_ends_of_the_interval():
    certificate = {
        "documents": 5,
        "certified": 3,
        "interval_95": {"nats_per_token": [2.0, 2.1]},
        "refused": {"too wide": 2},
    }
    bounds = {"elbo:8": {0: 2.5, 4: 2.25}, "iwae:32": {0: 2.3, 4: 2.125}}
    found = {"certificate": certificate, "bounds_nats_per_token": bounds, "control": {}}
    first, *_, last = thinking.enclosed_table(found).splitlines()
    assert first == "log p(x) of 3 of 5 documents is enclosed: 2.0000 to 2.1000 nats/token (95 %)"
    assert last == "| 4 | +0.1500 to +0.2500 | +0.0250 to +0.1250 |"
    found["control"] = {"nats_per_token": 2.25, "standard_error": 0.125}
    _, second, third, *_ = thinking.enclosed_table(found).splitlines()
    assert second == "refused, 2: too wide"
    assert third == "less the control: -0.2500 to -0.1500, ± 0.1250 over documents"
    none = {"certificate": {**certificate, "certified": 0}, "bounds_nats_per_token": bounds}
    head = "log p(x) of 0 of 5 documents is enclosed"
    assert thinking.enclosed_table(none) == f"{head}\nrefused, 2: too wide"
