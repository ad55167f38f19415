import json

import torch

from ltm_pyro.config import Architecture, Config, Fast, Thoughts
from ltm_pyro.data.synthetic import topic_rows
from ltm_pyro.experiments import fast_steps as steps
from ltm_pyro.experiments.fast_steps import Study, Way, bound
from ltm_pyro.models import LatentThoughtModel

TINY = Study(
    iterations=2,
    documents=3,
    steps=(1, 2),
    particles=2,
    config=Config(
        Architecture(32, 0, 12, window=2, layers=1, width=8, heads=2, feedforward=8),
        Thoughts(1, 1, 2),
    ),
)


def test_every_way_gets_a_row(tmp_path, capsys):
    steps.main(["--out", str(tmp_path)], TINY)
    found = json.loads((tmp_path / "fast-steps.json").read_text())
    assert all(set(row) == {"1", "2"} for row in found["ways"].values())
    assert found["ways"][steps.REFERENCE]["2"]["behind"] == 0
    assert len(capsys.readouterr().out.splitlines()) == len(found["ways"]) + 3
    assert (tmp_path / "fast-steps.png").stat().st_size > 1000


def test_who_was_seen_before_starts_ahead():
    torch.manual_seed(0)
    model = LatentThoughtModel(TINY.config)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(8) if p.dim() == 2 else None
    rows = topic_rows(20, 12, 32)
    fast = Fast(lr=0.1)
    cold = bound(model, rows, Way(fast), 1, 200)
    warm = bound(model, rows, Way(fast, warm=True), 1, 200)
    ahead = cold - warm
    assert ahead.mean() > 3 * ahead.std() / len(ahead) ** 0.5
