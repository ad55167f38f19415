"""`ltm audit`, as a user meets it."""

import json

from .test_cli import ltm

MINE = """
import math, torch
from ltm_pyro.programs.densities import draw_latents, log_joint, prior_of

@torch.no_grad()
def score(model, rows):
    latents = draw_latents(prior_of(model), rows, 32)
    return math.log(32) - torch.logsumexp(log_joint(model, latents, rows)[1], 0)

def cheat(model, rows):
    return 0.5 * score(model, rows)
"""


def test_an_estimator_of_ones_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_scores.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    both = ("--estimator", "my_scores:score", "--estimator", "my_scores:cheat")
    assert ltm("audit", *both, "--documents", "16", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["my_scores:score"]["is_bound"] is True
    assert found["my_scores:cheat"]["is_bound"] is False
    assert found["my_scores:cheat"]["checks"]["kraft"]["value"] > 2
    assert ltm("audit", "--estimator", "my_scores:score", "--documents", "8") == 0
    assert "nothing speaks against a bound" in capsys.readouterr().out


def test_a_wrong_name_ends_with_one_line(capsys):
    assert ltm("audit", "--estimator", "elbw") == 2
    assert "unknown estimator 'elbw': did you mean 'elbo'" in capsys.readouterr().err
    assert ltm("audit", "--estimator", "nowhere:score") == 2
    assert "cannot import 'nowhere:score'" in capsys.readouterr().err
