"""What the package says of its priors, guides and decoders, as Markdown; it needs no Sphinx."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltm_pyro import guides, preset
from ltm_pyro.guides import Guide
from ltm_pyro.models import LatentThoughtModel, decoders, priors
from ltm_pyro.models.decoders import Decoder
from ltm_pyro.models.priors import Prior
from ltm_pyro.names import GIVEN, names
from ltm_pyro.options import expected, hints

KINDS: dict[str, tuple[str, Any, type]] = {
    "priors": ("prior", priors, Prior),
    "guides": ("guide", guides, Guide),
    "decoders": ("decoder", decoders, Decoder),
}
"""By folder of pages: the setting, the module and the base class."""
ZOO = Path(__file__).parent.parent / "results" / "zoo.md"
VALUES = {"author": ("austen", "eliot")}
"""Columns of a corpus, for a prior that reads one."""


@dataclass(frozen=True)
class Option:
    """One option: its name, what values it takes, its default, and what it means."""

    name: str
    takes: str
    default: str
    meaning: str


def members(kind: str) -> dict[str, type]:
    """The classes that have a page, by the names that the command line knows them by."""
    _, module, base = KINDS[kind]
    found = names(module, base)
    return {name: cls for name, cls in found.items() if cls is not guides.NoGuide}


def options(cls: type) -> list[Option]:
    """The options of a class, from the signature and the docstring of its constructor's class."""
    made: Any = cls
    kinds, told = hints(made.__init__), meanings(cls)
    return [
        Option(
            name,
            expected(kinds[name]) if name in kinds else "anything",
            repr(parameter.default),
            told.get(name, ""),
        )
        for name, parameter in inspect.signature(made.__init__).parameters.items()
        if name not in ("self", *GIVEN)
    ]


def meanings(cls: type) -> dict[str, str]:
    """Arguments as the nearest docstring with a section `Args` that names them says."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        section = re.search(r"^Args:\n((?:[ \n].*\n?)+)", inspect.getdoc(one) or "", re.MULTILINE)
        for names_, meaning in _entries(section[1] if section else ""):
            found |= dict.fromkeys(names_.split(", "), meaning)
    return found


def _entries(section: str) -> Iterator[tuple[str, str]]:
    for entry in re.split(r"\n(?=    \w)", section.rstrip()):
        name, _, meaning = entry.strip().partition(": ")
        yield name, " ".join(meaning.split())


def options_table(kind: str, name: str) -> str:
    """How the member is asked for, and its options."""
    setting, module, _ = KINDS[kind]
    cls = members(kind)[name]
    found = options(cls)
    call = f"{{py:class}}`~{module.__name__}.{cls.__name__}`"
    if not found:
        return f"None. `--{setting} {name}`, or {call} in Python."
    lines = [
        f"`--{setting} {name}` with `--{setting}.OPTION VALUE`, or {call} in Python.",
        "",
        "| option | takes | default | |",
        "|---|---|---|---|",
    ]
    for option in found:
        cells = (f"`{option.name}`", option.takes, f"`{option.default}`", option.meaning)
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines)


def measured(kind: str, name: str) -> str:
    """What it holds at the sizes of the preset tiny, and what the zoo saw of it."""
    config, cls = preset("tiny"), members(kind)[name]
    dimensions = config.thoughts.count * config.thoughts.dim
    if kind == "decoders":
        count = LatentThoughtModel(config, decoder=name).parameter_count()
        return f"With the sizes of the preset `tiny` the model has {count:,} parameters."
    made: Any = cls
    if kind == "priors":
        columns = "columns" in inspect.signature(made.__init__).parameters
        extra = {"column": "author", "columns": VALUES} if columns else {}
        count = sum(p.numel() for p in made(config.thoughts, **extra).parameters())
        text = (
            f"With the thoughts of the preset `tiny`, {dimensions} numbers a document, it learns "
            f"{count:,} parameters" + (f" (two values of {extra['column']})" if columns else "")
        )
        return f"{text}.\n\n{_in_the_zoo('mean-field', name, 'with the guide `mean-field`')}"
    guide = cls.of(LatentThoughtModel(config))(config.thoughts, 1)  # type: ignore[attr-defined]
    count = sum(p.numel() for p in guide.parameters())
    if not count:
        count = sum(b.numel() for n, b in guide.named_buffers() if n == "particles")
    shared = 0 if guide.shared is None else sum(p.numel() for p in guide.shared.parameters())
    text = (
        f"With the thoughts of the preset `tiny`, {dimensions} numbers a document, it holds "
        f"{count:,} numbers a document"
        + (f", and an encoder of {shared:,} parameters for all of them" if shared else "")
    )
    return f"{text}.\n\n{_in_the_zoo(name, 'standard-normal', 'under `standard-normal`')}"


def _in_the_zoo(guide: str, prior: str, how: str) -> str:
    """A cell of the zoo's second table, in words."""
    table = ZOO.read_text().split("\n## ")[2].strip().splitlines()
    head, *rows = [line.strip("| ").split(" | ") for line in table if line.startswith("| ")]
    cell = {row[0]: row for row in rows}[guide][head.index(prior)]
    zoo = "[the zoo](../../results/zoo.md)"
    if cell.startswith("refused"):
        return f"It is refused in {zoo}: it has no bound."
    if (guide, prior) == ("mean-field", "standard-normal"):
        return f"It is what others are compared with in {zoo}."
    below, error = cell.split(" ± ")
    where = "below" if float(below) > 0 else "above"
    return (
        f"In {zoo}, after 30 iterations of a small model, its valid bound {how} lay {below[1:]} ± "
        f"{error} nats per token {where} that of `mean-field` under `standard-normal`."
    )
