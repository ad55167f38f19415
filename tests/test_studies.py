"""Every grid of the examples is one that `ltm study` takes."""

from pathlib import Path

import pytest

from ltm_pyro.experiments.grids.grid import read_grid
from ltm_pyro.runs.recipe import Recipe

GRIDS = sorted((Path(__file__).parent.parent / "examples" / "studies").glob("*.json"))


@pytest.mark.parametrize("path", GRIDS, ids=lambda p: p.stem)
def test_it_can_be_read_and_each_recipe_is_another_run(path):
    grid = read_grid(path)
    runs = {
        name: (Recipe.parsed(options).config(), grid.begins.get(name))
        for name, options in grid.recipes.items()
    }
    for name, run in runs.items():
        assert [other for other, its in runs.items() if its == run] == [name]
    assert grid.score.rows > 1
