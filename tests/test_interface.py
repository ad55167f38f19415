"""No public name, parameter or default changes without a word in the changelog."""

import pytest

from .interface import RECORDED, ROOT, changes, entry, listing, untold


def test_the_changelog_tells_what_changed():
    lines = changes(RECORDED.read_text().splitlines(), listing())
    lacking = untold(lines, (ROOT / "CHANGELOG.md").read_text())
    assert not lacking, "the changelog lacks what `python -m tests.interface` prints"


def before(a, b=1, *, c="x", **more):
    """The function that the next tests change."""


OLD = [entry("p.call", before), "p.Box(a)", "p.Box.open()", "p.Box.size"]


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (lambda a, b=2, *, c="x", **more: 0, "now: `p.call(a, b=2, *, c='x', **more)`"),
        (lambda b, a=1, *, c="x", **more: 0, "now: `p.call(b, a=1, *, c='x', **more)`"),
        (lambda a, b=1, c="x", **more: 0, "now: `p.call(a, b=1, c='x', **more)`"),
    ],
    ids=["default", "order", "kind"],
)
def test_a_call_that_changed_is_told(new, told):
    assert changes(OLD, [entry("p.call", new), *OLD[1:]]) == [told]


def test_names_that_come_and_go_are_told():
    assert changes(OLD, OLD[:-1]) == ["gone: `p.Box.size`"]
    assert changes(OLD, OLD[:1]) == ["gone: `p.Box(a)`"]  # and what is in it
    assert changes(OLD[:1], OLD) == ["new: `p.Box(a)`"]
    assert changes(OLD, list(reversed(OLD))) == []


def test_only_the_first_section_and_the_whole_line_count():
    log = (
        "# Changelog\n\n## 2\n\n- **now: `p.call(a,\n  b=2)`**: why.\n\n## 1\n\n- gone: `p.size`\n"
    )
    lines = ["now: `p.call(a, b=2)`", "now: `p.call(a, b=3)`", "gone: `p.size`"]
    assert untold(lines, log) == lines[1:]


def test_the_listing_shows_what_is_called_and_how():
    lines = listing()
    assert "ltm_pyro.bounds.compare(reports, by='elbo')" in lines
    assert (
        "ltm_pyro.DualRateSVI.fit(rows, steps, batch_size=16, callbacks=(), progress=True)" in lines
    )
    assert "ltm_pyro.inference.DualRateSVI" in lines  # the same class at its second place
    assert "ltm_pyro.Generation.texts" in lines
    assert not [line for line in lines if " at 0x" in line or "torch." in line]
