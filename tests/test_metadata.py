"""What machines read of the project: its files agree with one another."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from ltm_pyro.commands.cli import parse

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
CODEMETA = json.loads((ROOT / "codemeta.json").read_text())
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def test_codemeta_says_what_pyproject_says():
    assert CODEMETA["version"] == PROJECT["version"]
    assert CODEMETA["name"].replace("_", "-") == PROJECT["name"]
    for key in ("description", "keywords"):
        assert CODEMETA[key] == PROJECT[key]
    assert CODEMETA["license"].rpartition("/")[2] == PROJECT["license"]
    assert CODEMETA["runtimePlatform"] == f"Python {PROJECT['requires-python']}"


def test_codemeta_says_what_the_citation_says():
    assert CODEMETA["version"] == CITATION["version"]
    assert CODEMETA["alternateName"] == CITATION["title"]
    assert CODEMETA["license"].endswith("/" + CITATION["license"])
    assert [one["name"] for one in CODEMETA["author"]] == [a["name"] for a in CITATION["authors"]]
    for article, cited in zip(
        CODEMETA["referencePublication"], CITATION["references"], strict=True
    ):
        assert (article["name"], article["url"], int(article["datePublished"])) == (
            cited["title"], cited["url"], cited["year"],
        )  # fmt: skip


def test_the_changelog_knows_the_version():
    assert re.findall(r"^## (\S+)", CHANGELOG, re.MULTILINE)[:2].count(PROJECT["version"]) == 1


def test_hooks_check_what_make_lint_checks_with_the_tested_version():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {one["repo"] for one in hooks} == {"local"}  # nothing but packages is fetched
    known = {hook["id"]: hook for one in hooks for hook in one["hooks"]}
    pinned = (ROOT / "constraints.txt").read_text().split()
    lint = re.findall(r"ruff (.*?)(?: \.)?$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for name, command in (("ruff-format", "format"), ("ruff-check", "check")):
        [version] = known[name]["additional_dependencies"]
        assert version in pinned
        assert shlex.split(known[name]["entry"])[:2] == ["ruff", command]
        assert any(line.startswith(command) for line in lint)
    versions = {
        tuple(hook["additional_dependencies"]) for name, hook in known.items() if "ruff" not in name
    }
    assert len(versions) == 1
    assert all("==" in version for [version] in versions)


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_a_form_asks_what_can_be_answered(path):
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert isinstance(form["blank_issues_enabled"], bool)
        return
    assert form["name"]
    assert form["description"]
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    names = [part["id"] for part in asked]
    assert len(set(names)) == len(names)
    for part in asked:
        assert part["type"] in {"textarea", "input", "dropdown", "checkboxes"}
        assert part["attributes"]["label"]
    assert any(part.get("validations", {}).get("required") for part in asked)
    for line in re.findall(r"`ltm (.*?)`", path.read_text()):
        assert parse(line.split())


def test_a_pull_request_is_asked_for_what_make_can_do():
    text = (ROOT / ".github" / "pull_request_template.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = set(re.findall(r"`make (\w+)`", text))
    assert {"check"} <= asked <= targets
