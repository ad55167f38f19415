"""Every grid of the examples is one that `ltm study` takes."""

from pathlib import Path

import pytest

from ltm_pyro.commands.study import read_grid
from ltm_pyro.commands.train import Train

GRIDS = sorted((Path(__file__).parent.parent / "examples" / "studies").glob("*.json"))


@pytest.mark.parametrize("path", GRIDS, ids=lambda p: p.stem)
def test_it_can_be_read_and_each_recipe_is_another_run(path, tmp_path):
    train, recipes, score = read_grid(path)
    configs = {}
    for name, options in recipes.items():
        asked = Train.parsed(["--out", str(tmp_path), *train, *options])
        configs[name] = asked.config()
        asked.check_names(configs[name])
    for name, config in configs.items():
        assert [other for other, its in configs.items() if its == config] == [name]
    assert score.rows > 1
