"""Directives of the pages on priors, guides and decoders: their text comes from the package."""

from typing import Any

import part_text
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class FromThePackage(SphinxDirective):
    """`{options} priors/mixture`: what `part_text` says of that member."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the Markdown in place."""
        kind, name = self.arguments[0].split("/")
        say = {"options": part_text.options_table, "measured": part_text.measured}[self.name]
        holder = nodes.container()
        text = StringList(say(kind, name).splitlines(), source=self.env.docname)
        self.state.nested_parse(text, self.content_offset, holder)
        return holder.children


def setup(app: Any) -> dict[str, Any]:
    """Offer both."""
    app.add_directive("options", FromThePackage)
    app.add_directive("measured", FromThePackage)
    return {"parallel_read_safe": True}
