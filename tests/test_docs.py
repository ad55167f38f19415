"""The documentation's code runs as it stands, and what it lists is what there is."""

import re
from pathlib import Path

import pytest

from ltm_pyro import guides
from ltm_pyro.auditing import RECIPES
from ltm_pyro.commands.cli import parse
from ltm_pyro.guides import Guide
from ltm_pyro.models import decoders, priors
from ltm_pyro.models.decoders import Decoder
from ltm_pyro.models.priors import Prior
from ltm_pyro.names import names

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_its_code_runs_block_after_block(path):
    known: dict = {"__name__": "docs"}
    for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
        exec(block, known)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_its_commands_are_understood(path):
    for line in re.findall(r"^ltm (.*)$", path.read_text(), re.MULTILINE):
        assert parse(line.split())


def test_every_recipe_is_told_of():
    page = (DOCS / "false_bounds.md").read_text()
    for recipe in RECIPES.values():
        assert f"| `{recipe.name}` |" in page
        assert recipe.text in page


def test_every_member_is_listed():
    for page, module, base in (
        ("writing_a_prior.md", priors, Prior),
        ("writing_a_guide.md", guides, Guide),
        ("writing_a_decoder.md", decoders, Decoder),
    ):
        listed = set(re.findall(r"`([a-z-]+)`", (DOCS / page).read_text()))
        assert set(names(module, base)) - {"no-guide"} <= listed
