"""`ltm study`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, UseAppendAction

import ltm_pyro as ltm
from ltm_pyro import files
from ltm_pyro.commands.parsing import read
from ltm_pyro.commands.text import as_json, say, show
from ltm_pyro.commands.train import Train
from ltm_pyro.config import Config
from ltm_pyro.data.asked import FlatText, Text
from ltm_pyro.errors import InputError, first_line, unknown
from ltm_pyro.experiments.studies import Study as Reported
from ltm_pyro.experiments.studies import redraw, studies, study_named
from ltm_pyro.experiments.studies.running import REPORT
from ltm_pyro.experiments.tax import Score, cells_of, study
from ltm_pyro.experiments.tax_tables import controls, costs, in_words, summary, traced
from ltm_pyro.options import Count, taken
from ltm_pyro.runs.config_json import from_dict
from ltm_pyro.runs.training import for_corpus

PARTS = {"about": str, "train": tuple[str, ...], "recipes": dict, "score": dict}
"""What a grid may hold, and of which kind."""


@dataclass(frozen=True)
class Study:
    """Experiments of the literature, each with its report; can be resumed."""

    asked: Any

    @classmethod
    def parsed(cls, arguments: Sequence[str]) -> "Study":
        """The study that is named, with its options filled in."""
        if not arguments or arguments[0] in ("-h", "--help"):
            show(usage())
            raise SystemExit(0)
        name, rest = arguments[0], arguments[1:]
        if name in OTHERS:
            return cls(read(OTHERS[name], f"study {name}", rest))
        if name not in studies():
            raise unknown("study", name, [*OTHERS, *studies()])
        return cls(read(study_named(name), f"study {name}", rest))

    def run(self) -> None:
        """Compute what is not finished, and print the report."""
        if not isinstance(self.asked, Reported):
            self.asked.run()
            return
        results = self.asked.run(say)
        told = as_json(results.summary) if self.asked.json else "\n\n".join(results.texts)
        show(told)
        say(f"report: {self.asked.out / REPORT}")


@dataclass(frozen=True)
class Redraw:
    """Write the report of a study anew from its finished parts."""

    folder: Positional[Annotated[Path, tyro.conf.arg(metavar="FOLDER")]]
    """Folder of a study."""

    def run(self) -> None:
        """Write and print it."""
        show("\n\n".join(redraw(self.folder).texts))


@dataclass(frozen=True)
class Tax:
    """Train many models beside their controls, and tell what thoughts cost."""

    grid: Annotated[Path, tyro.conf.arg(metavar="JSON")]
    """Options of ltm train that all cells have, and those of each recipe."""
    out: Path
    """Folder of the study: RECIPE/seed-N/, and the table."""
    text: FlatText = field(default_factory=Text)
    seeds: Count = 1
    """How many: 0, 1, ..."""
    recipe: UseAppendAction[tuple[str, ...]] = ()
    """Only these recipes of the grid; may be given several times."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Train and score what is not finished, and print the table."""
        train, recipes, score = read_grid(self.grid)
        for name in self.recipe:
            if name not in recipes:
                raise unknown("recipe", name, recipes)
        files.make_folder(self.out)
        corpora: dict[str, ltm.Corpus] = {}
        made: dict[str, Config] = {}
        for name in self.recipe or recipes:
            options = ["--out", str(self.out), *train, *recipes[name]]
            asked = Train.parsed(options)
            config = asked.config()
            config = config.replace(data=self.text.over(config.data))
            asked.check_names(config)
            like = next((n for n, other in made.items() if same_text(other, config)), None)
            corpora[name] = ltm.load_data(config) if like is None else corpora[like]
            if like is None:
                say(f"data: {corpora[name]}")
            made[name] = config
        made = {name: for_corpus(config, corpora[name]) for name, config in made.items()}
        found = study(cells_of(made, range(self.seeds), self.out), corpora, score, self.out, say)
        table = summary(found)
        texts = (in_words(table), traced(table), controls(found), costs(found))
        show(as_json(table) if self.json else "\n\n".join(texts))


OTHERS: dict[str, Any] = {"tax": Tax, "redraw": Redraw}
"""Besides the studies in `experiments.studies`."""


def usage() -> str:
    """What `ltm study --help` prints."""
    known = {**OTHERS, **studies()}
    lines = [f"  ltm study {name:<10} {first_line_of(known[name])}" for name in sorted(known)]
    return "\n".join([*lines, "  ltm study NAME --help for options"])


def first_line_of(cls: type) -> str:
    """What a class is for."""
    return (cls.__doc__ or "").splitlines()[0]


def same_text(one: Config, other: Config) -> bool:
    """Whether two configurations have the same corpus, in the same rows."""
    return (one.data, one.architecture.length) == (other.data, other.architecture.length)


def read_grid(path: Path) -> tuple[list[str], dict[str, list[str]], Score]:
    """Options of all cells, those of each recipe, and how cells are scored.

    Raises:
        InputError: for a file that is no grid.
    """
    try:
        content: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no grid: expected JSON ({first_line(error)})") from None
    if not isinstance(content, dict) or "recipes" not in content:
        raise InputError(
            f"{path} is no grid: expected an object with recipes, such as "
            '{"train": ["--steps", "900"], "recipes": {"grown": ["--speak", "0.5"]}}'
        )
    for name, value in content.items():
        if name not in PARTS:
            raise unknown(f"part of {path}", name, PARTS)
        taken(f"{name} of {path}", value, PARTS[name])
    recipes = {
        name: list(taken(f"recipe {name} of {path}", options, tuple[str, ...]))
        for name, options in content["recipes"].items()
    }
    if not recipes:
        raise InputError(f"{path} has no recipes: name one at least")
    return (
        list(content.get("train", ())),
        recipes,
        from_dict(Score, content.get("score", {}), f"{path}: score"),
    )
