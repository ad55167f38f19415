"""Formulas as MathML, by docutils: pages need no script and no network to show them."""

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

NAME = re.compile(r'(<mo>&ApplyFunction;</mo>)(?!\s*<mo stretchy="false">[(\[])')
"""After log and its like, where no bracket follows, stands a thin space."""
logger = logging.getLogger(__name__)


def made(text: str, node: nodes.Node, as_block: bool = False) -> str:
    """MathML of a formula; what docutils cannot read is a warning."""
    try:
        return NAME.sub(r'\1<mspace width="0.17em"></mspace>', tex2mathml(text, as_block=as_block))
    except MathError as error:
        logger.warning("formula %r: %s", text, error, location=node)
        return text


def inline(self: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(made(node.astext(), node))
    raise nodes.SkipNode


def block(self: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own; several lines are aligned at their &."""
    text = node.astext()
    if r"\\" in text and r"\begin" not in text:
        text = rf"\begin{{aligned}}{text}\end{{aligned}}"
    self.body.append(f'<div class="formula">{made(text, node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, Any]:
    """Offer the renderer and choose it."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True}
