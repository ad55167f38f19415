"""The study of an enclosure's width, small: what it saves is what `enclosed` finds."""

import json

import numpy as np
import pytest

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.experiments.width import Way, enclosed, main, ways
from ltm_pyro.guides import MeanField

from ..exact import linear_gaussian


@pytest.mark.parametrize("documents", [4, pytest.param(32, marks=pytest.mark.slow)])
def test_every_way_encloses_and_more_work_narrows(documents):
    model, rows = linear_gaussian(0, documents)
    exact = -model.log_marginal(rows).detach().double().numpy()
    fast = Fast(steps=20, lr=0.5, optimizer="NaturalGradient", particles=4)
    found = [
        enclosed(model, rows, MeanField, fast, way)
        for way in (Way(64), Way(1024), Way(32, 3), Way(30, 2, 2))
    ]
    for one in found:
        least, most = (value * rows.token_count for value in one["nats_per_token"])
        assert least <= most
        assert one["width"] * len(rows) == pytest.approx(most - least)
        # a nat a document: none is left out
        assert least - documents < exact.sum() < most + documents
        assert one["seconds_per_document"] > 0
    assert found[1]["width"] < found[0]["width"]
    assert found[2]["spread_median"] < found[0]["spread_median"]


def test_ways_share_the_work():
    found = ways(64, [4, 16], 8)
    assert [way.chains for way in found if way.temperatures == 1] == [64, 256, 1024]
    assert [(way.chains, way.particles) for way in found if way.temperatures == 16] == [
        (64, 1), (30, 8),
    ]  # fmt: skip
    assert str(Way(64, 4, 8)) == "annealed, 8 particles over 4 temperatures, 64 weights"


def test_the_command_saves_numbers_and_figure(run_config, corpus, tmp_path, capsys):
    run = ltm.train(run_config, tmp_path / "small", corpus, progress=False)
    main([str(run.path), "--documents", "2", "--fast-steps", "2", "--chains", "30",
          "--temperatures", "2", "--particles", "1", "--out", str(tmp_path / "out")])  # fmt: skip
    saved = json.loads((tmp_path / "out" / "width-small.json").read_text())
    assert saved["documents"] == 2
    assert saved["latent_dimensions"] == Thoughts(2, 2, 3).count * 3
    assert [way["temperatures"] for way in saved["ways"]] == [1, 1, 1, 2]
    assert np.isfinite([way["width"] for way in saved["ways"]]).all()
    assert saved["command"].startswith("python -m ltm_pyro.experiments.width ")
    assert (tmp_path / "out" / "width.png").stat().st_size > 1000
    assert "allowed" in capsys.readouterr().out
