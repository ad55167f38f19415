"""Bounds against the number of fast steps, of any run."""

import json

import pytest

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
