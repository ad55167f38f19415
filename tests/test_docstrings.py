"""Examples in docstrings run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import ltm_pyro
from ltm_pyro import guides, models

OPTIONS = doctest.NORMALIZE_WHITESPACE


def examples():
    """Every docstring of the package that has examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for package in (ltm_pyro, guides, models):  # the last two stand elsewhere
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not found.name.endswith("__main__"):
                yield from finder.find(importlib.import_module(found.name))


@pytest.mark.parametrize("test", [t for t in examples() if t.examples], ids=lambda t: t.name)
def test_its_examples_give_what_they_say(test):
    told: list[str] = []
    assert doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=told.append).failed == 0, told


def test_what_is_used_most_has_examples():
    shown = {test.name.split(".")[-1] for test in examples() if test.examples}
    used = {"LatentThoughtModel", "Guide", "Prior", "Posterior", "evaluate", "generate"}
    assert used | {"load_corpus", "preset", "to_datatree", "topics"} <= shown
