"""The documentation's code runs as it stands, and what it lists is what there is."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ltm_pyro import guides
from ltm_pyro.auditing import RECIPES
from ltm_pyro.commands.cli import parse
from ltm_pyro.guides import Guide
from ltm_pyro.models import decoders, priors
from ltm_pyro.models.decoders import Decoder
from ltm_pyro.models.priors import Prior
from ltm_pyro.names import names

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def named(path):
    """A page by its place below the folder of pages."""
    return str(path.relative_to(DOCS).with_suffix(""))


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_its_code_runs_block_after_block(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known: dict = {"__name__": "docs"}
    for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
        exec(block, known)


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_its_commands_are_understood(path):
    for line in re.findall(
        r"^(?:torchrun .* -m ltm_pyro|ltm) (.*)$", path.read_text(), re.MULTILINE
    ):
        assert parse(shlex.split(line, comments=True))


def test_the_picture_of_the_tax_is_of_the_results_beside_it(tmp_path, monkeypatch):
    """Each panel has the looks of several seeds, and the tax that the page's tables tell."""
    spec = importlib.util.spec_from_file_location("tax_picture", DOCS / "pictures" / "tax.py")
    picture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(picture)
    page = (DOCS / "results" / "tax.md").read_text()
    for _, file, keys in picture.PANELS:
        found = picture.results(file, keys)
        assert len(found["looks"]) == len(found["elbo"]["by_seed"]) > 1
        assert f"{found['elbo']['mean']:+.4f} ± {found['elbo']['over_documents']:.4f}" in page
    monkeypatch.setattr(picture, "HERE", tmp_path)
    picture.main()
    assert (tmp_path / "tax.png").read_bytes().startswith(b"\x89PNG")


def test_the_commands_of_clusters_are_understood():
    folder = DOCS.parent / "examples" / "cluster"
    slurm = (folder / "slurm.sh").read_text()
    assert subprocess.run(["bash", "-n", folder / "slurm.sh"]).returncode == 0
    found = re.findall(r'command="ltm (.*)"$', slurm, re.MULTILINE)
    job = next(one for one in yaml.safe_load_all((folder / "kubernetes.yaml").read_text())
               if one["kind"] == "Job")  # fmt: skip
    (script,) = job["spec"]["template"]["spec"]["containers"][0]["args"]
    for how in re.findall(r"how=(?:\"(.*)\"|(.*))$", script, re.MULTILINE):
        found.append(script.split("-m ltm_pyro ")[1].strip().replace("$how", "".join(how)))
    assert len(found) == 4
    for line in found:
        assert parse(shlex.split(line.replace("$run", "runs/stories")))


def test_every_recipe_is_told_of():
    page = (DOCS / "results" / "false_bounds.md").read_text()
    for recipe in RECIPES.values():
        assert f"| `{recipe.name}` |" in page
        assert recipe.text in page


def test_every_member_is_listed():
    for page, module, base in (
        ("writing_a_prior.md", priors, Prior),
        ("writing_a_guide.md", guides, Guide),
        ("writing_a_decoder.md", decoders, Decoder),
    ):
        listed = set(re.findall(r"`([a-z-]+)`", (DOCS / "how_to" / page).read_text()))
        assert set(names(module, base)) - {"no-guide"} <= listed


EXTENSIONS = DOCS / "extensions"
ORDER = ["In formulas", "When to use it", "Options", "Cost", "Limits", "Reference"]


@pytest.fixture(scope="module")
def part_text():
    """What the site's pages on priors, guides and decoders are filled with."""
    spec = importlib.util.spec_from_file_location("part_text", EXTENSIONS / "part_text.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["part_text"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["part_text"]


@pytest.mark.parametrize("kind", ["priors", "guides", "decoders"])
def test_every_member_has_a_page_in_the_one_order(kind, part_text):
    pages = {path.stem: path.read_text() for path in (DOCS / "parts" / kind).glob("*.md")}
    assert set(pages) == set(part_text.members(kind))
    for name, page in pages.items():
        assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ORDER
        assert f"```{{options}} {kind}/{name}\n" in page
        assert f"```{{measured}} {kind}/{name}\n" in page


@pytest.mark.parametrize("kind", ["priors", "guides", "decoders"])
def test_every_option_is_told_with_its_default(kind, part_text):
    for name, cls in part_text.members(kind).items():
        table = part_text.options_table(kind, name)
        for option in part_text.options(cls):
            assert option.meaning, f"{cls.__name__}: no word on {option.name} in its docstring"
            assert f"| `{option.name}` | " in table
        assert ("the zoo" in part_text.measured(kind, name)) == (kind != "decoders")
    table = part_text.options_table("priors", "mixture")
    assert "| `components` | a whole number, 1 or more | `8` | number of normals. |" in table


def test_every_page_is_reached_and_every_link_leads_somewhere():
    reached, places = set(), [DOCS / "index.md"]
    while places:
        page = places.pop()
        reached.add(page)
        for listed in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
            for entry in (line for line in listed.splitlines() if line and line[0] != ":"):
                found = set(page.parent.glob(f"{entry}.md")) - reached
                assert (
                    found
                    or ("*" in entry and any(page.parent.glob(f"{entry}.md")))
                    or page.parent.name == "tutorials"
                    or (page.parent / f"{entry}.md") in reached
                    or (
                        entry == "first_model"  # a notebook
                    )
                )
                places += found
    assert reached == set(PAGES)
    for page in [*PAGES, DOCS.parent / "README.md"]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_module_that_is_to_be_run_is_there():
    pages = [*PAGES, DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"]
    own = re.compile(r"python -m ((?:ltm_pyro|tests|benchmarks)[\w.]*)")
    named = {module for page in pages for module in own.findall(page.read_text())}
    assert len(named) > 5
    for module in named:
        assert importlib.util.find_spec(module) is not None, module


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="pip install -c constraints.txt --group docs")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d",
         tmp_path / "read", DOCS, tmp_path / "site"],
        env=os.environ | {"LTM_DOCS_NOTEBOOKS": "off"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "tanh units" in (tmp_path / "site" / "parts" / "priors" / "layerwise.html").read_text()
