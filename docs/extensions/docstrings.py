"""Docstrings as they are written here: `name` is a link where it can be one, else code."""

import re
from typing import Any

from docutils import nodes
from sphinx.util.nodes import make_refnode

SPECIAL = re.compile(r"``.*?``|`.*?`|\*\*.*?\*\*|:\w+(?::\w+)*:|(\w_)(?=\W|$)|[|*]")
"""What reStructuredText would take for markup, beside the markup that is meant."""
ARRAY = re.compile(r"~?numpy\.ndarray\[tuple\[[^\]]*\], ~?numpy\.dtype\[[^\]]*\]\]")
SEVERAL = re.compile(r"    (?P<names>\w+(?:, \w+)+): (?P<meaning>.*)")
"""Arguments that share a line of a section."""
ANNOTATED = re.compile(r"~?(?:typing\.)?Annotated\[([^\[\],]+)(?:, [~.\w]+\([^()]*\))+\]")


def escape(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Bars, stars and trailing underscores of formulas are themselves."""
    code = False  # an indented block after ::, or a doctest

    def plain(match: re.Match[str]) -> str:
        text = match[0]
        if match[1]:
            return f"{match[1][0]}\\_"
        return f"\\{text}" if text in "|*" else text

    for i, line in enumerate(lines):
        if code and line.strip() and not line.startswith(" "):
            code = False
        if not code and not line.lstrip().startswith((">>>", "...")):
            lines[i] = SPECIAL.sub(plain, line)
        code = code or line.endswith("::")


def ready(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Before napoleon: what stands before a colon in a property's docstring is no type, and several
    arguments of one meaning are several."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]
        return
    found: list[str] = []
    for line in lines:
        several = SEVERAL.fullmatch(line)
        names = several["names"].split(", ") if several else []
        found += [f"    {one}: {several['meaning']}" for one in names] if several else [line]
    lines[:] = found


def shorten(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """Ranges of numbers and kinds of arrays stay out of signatures, which are valid Python."""
    if not signature:
        return None

    def short(text: str) -> str:
        return ARRAY.sub("~numpy.ndarray", ANNOTATED.sub(r"\1", text))

    return short(signature).replace("<factory>", "..."), returns and short(returns)


def find(app: Any, env: Any, node: Any, content: nodes.Element) -> nodes.Node | None:
    """A name in backticks that only one class or function of the reference has."""
    if node.get("refdomain") != "py":
        return None
    domain, target = env.get_domain("py"), node["reftarget"]
    found = domain.find_obj(env, None, None, target, None, 1)
    known = [(name, entry) for name, entry in found if entry.objtype in ("class", "function")]
    places = {(entry.docname, entry.node_id) for _, entry in known}
    if len(places) != 1:
        return None
    name, entry = known[0]
    place = entry.docname, entry.node_id
    return make_refnode(app.builder, node["refdoc"], *place, content, name)


def setup(app: Any) -> dict[str, Any]:
    """Connect them; after napoleon has read the sections."""
    app.config.default_role = "py:obj"
    app.connect("autodoc-process-docstring", ready, priority=400)
    app.connect("autodoc-process-docstring", escape, priority=600)
    app.connect("autodoc-process-signature", shorten)
    app.connect("missing-reference", find)
    return {"parallel_read_safe": True}
