"""What studies that train models have in common: a grid of recipes, and a cell for each seed."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro
from tyro.conf import UseAppendAction

from ltm_pyro.config import Config
from ltm_pyro.data import Corpus
from ltm_pyro.data.asked import FlatText, Text
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.experiments.grids.grid import Grid, read_grid
from ltm_pyro.experiments.grids.spending import Spending
from ltm_pyro.experiments.grids.tax import Cell, Score, cells_of
from ltm_pyro.experiments.studies.base import Found, Note, Part, Results, Study, Trial, with_error
from ltm_pyro.inference.processes import here
from ltm_pyro.options import Count
from ltm_pyro.runs.devices import device_named
from ltm_pyro.runs.recipe import Recipe
from ltm_pyro.runs.training import for_corpus, load_data
from ltm_pyro.runs.trust import check_options


@dataclass(frozen=True, kw_only=True)
class OfGrid(Study):
    """Options of a study that trains the recipes of a grid, each beside its control.

    A cell, one recipe with one seed, is a run in `RECIPE/seed-N/run`, `cell.json` beside it, and a
    part of the study.
    """

    grid: Annotated[str, tyro.conf.arg(metavar="JSON")]
    """Options of ltm train that all cells have, those of each recipe, axes, and how cells are
    scored."""
    text: FlatText = field(default_factory=Text)
    seeds: Count = 1
    """How many: 0, 1, ..."""
    recipe: UseAppendAction[tuple[str, ...]] = ()
    """Only these recipes of the grid, and those that they begin with; may be given several
    times."""
    trust: bool = False
    """Import classes outside ltm_pyro that the grid names."""
    device: str = "cpu"
    """Where models are trained and scored: cpu, cuda, cuda:1."""

    # Cells know better what they follow from.
    ELSEWHERE: ClassVar[frozenset[str]] = Study.ELSEWHERE | {"grid", "text", "trust", "device"}
    ADDS: ClassVar[frozenset[str]] = frozenset({"seeds", "recipe"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", str(self.grid))
        super().__post_init__()

    @cached_property
    def asked(self) -> Grid:
        """The grid."""
        return read_grid(Path(self.grid))

    @property
    def score(self) -> Score:
        """How cells are scored."""
        return self.asked.score

    @cached_property
    def corpora(self) -> dict[str, tuple[Config, Corpus]]:
        """Of each recipe that is asked for its configuration and its text, which is read once.

        Raises:
            InputError: for a recipe that the grid has not, or options that `ltm train` has not.
        """
        recipes = self.asked.recipes
        for name in self.recipe:
            if name not in recipes:
                raise unknown("recipe", name, recipes)
        begins = self.asked.begins
        wanted = set(self.recipe or recipes)
        for name in reversed(list(recipes)):  # a recipe begins with one that stands before it
            if name in wanted and name in begins:
                wanted.add(begins[name])
        found: dict[str, tuple[Config, Corpus]] = {}
        read: list[tuple[Config, Corpus]] = []
        for name in (one for one in recipes if one in wanted):
            config = self._config(name)
            corpus = next((one for other, one in read if _same_text(other, config)), None)
            if corpus is None:
                corpus = load_data(config)
                self.tell(f"data: {corpus}")
                read.append((config, corpus))
            found[name] = (for_corpus(config, corpus), corpus)
            if name in begins:
                self._check_grows(name, found[name][0], found[begins[name]][0])
        return found

    def _config(self, recipe: str) -> Config:
        """Of a recipe, with the text that is asked for.

        Raises:
            InputError: for options that a recipe has not.
        """
        options = self.asked.recipes[recipe]
        if not self.trust:
            check_options(options, self.grid)
        try:
            asked = Recipe.parsed(options)
            config = asked.config()
            asked.check_names(config)
        except InputError as error:
            raise InputError(f"recipe {recipe!r} of {self.grid}: {error}") from None
        return config.replace(data=self.text.over(config.data))

    def _check_grows(self, name: str, config: Config, before: Config) -> None:
        """Raises InputError if thoughts cannot be grown on another recipe's decoder."""
        first = self.asked.begins[name]
        told = f"recipe {name!r} of {self.grid} begins with {first!r}, "
        one, other = ((c.decoder, c.architecture) for c in (config, before))
        if one != other:
            raise InputError(
                f"{told}whose decoder is another: give both the same decoder and architecture"
            )
        if before.training.speak < 1:
            raise InputError(f"{told}which thinks: give that --speak 1, a decoder alone")
        if "parameters" in (config.training.control, before.training.control):
            raise InputError(
                f"{told}and a control with as many parameters as the model has another decoder: "
                "take the control decoder, or flops"
            )

    @cached_property
    def cells(self) -> list[Cell]:
        """A cell for each recipe and seed, those of the first seed first."""
        configs = {name: config for name, (config, _) in self.corpora.items()}
        seeds, begins = range(self.seeds), self.asked.begins
        return cells_of(configs, seeds, self.out, self.fingerprint, begins)

    @property
    def computed_on(self) -> str:
        """The device, of several processes this one's.

        Raises:
            InputError: if it is not here.
        """
        return str(device_named(here().device(self.device)))

    @property
    def fingerprint(self) -> str:
        """Of the text, which is one for all recipes.

        Raises:
            InputError: if recipes differ in it.
        """
        found = {corpus.fingerprint: name for name, (_, corpus) in self.corpora.items()}
        if len(found) > 1:
            raise InputError(
                f"recipes {' and '.join(found.values())} of {self.grid} read different texts, "
                "whose figures cannot be compared: give each a study of its own"
            )
        return next(iter(found))

    def follows(self) -> dict[str, Any]:
        """The text."""
        return {"text": self.fingerprint}

    @cached_property
    def _work(self) -> dict[str, float]:
        """FLOPs of a cell of each recipe; the models that they are counted on are let go."""
        return {name: self._spending(name).work for name in self.corpora}

    def _spending(self, recipe: str) -> Spending:
        config, corpus = self.corpora[recipe]
        draws = self.score.fast(config.fast).particles / config.fast.particles
        steps = round(draws * self.steps_of_scores)  # as long as so many of training's own take
        return Spending.of(config, corpus, self.score.rows, steps, self.computed_on)

    @property
    def steps_of_scores(self) -> int:
        """Fast steps that the scores of a row take together, for the estimate of the time."""
        return self.score.fast_steps * (1 + ("same_noise" in self.score.bounds))

    def parts(self) -> Sequence[Part]:
        """A cell each; work is counted in FLOPs.

        Raises:
            InputError: if a cell was made by another configuration.
        """
        parts = []
        for cell in self.cells:
            known = cell.read(self.score)  # what does not fit is told before the long part
            corpus = self.corpora[cell.recipe][1]
            follows = json.dumps([cell.made(self.score), corpus.fingerprint], sort_keys=True)
            parts.append(Part(
                f"{cell.recipe}-seed-{cell.seed}", partial(self.compute, cell),
                0.0 if known else self._work[cell.recipe],
                hashlib.sha256(follows.encode()).hexdigest()[:16], int(cell.start is not None),
            ))  # fmt: skip
        return parts

    def trial(self) -> Trial:
        """Two iterations of the first cell that is not finished, and its control's."""
        left = [cell for cell in self.cells if cell.read(self.score) is None]
        if not left:
            return Trial(lambda: None, 1.0)
        spending = self._spending(left[0].recipe)
        return Trial(spending.trial, spending.trial_work)

    def compute(self, cell: Cell) -> Found:
        """Train and score a cell, or go on with it."""
        found = cell.read(self.score)
        if found is None:
            self.tell(f"{cell.recipe}, seed {cell.seed}: {cell.path}")
            corpus = self.corpora[cell.recipe][1]
            found = cell.run(corpus, self.score, self.tell, self.computed_on, self.trust)
            for bound, tax in found["tax"].items():
                told = with_error(tax["nats_per_token"], tax["standard_error"], "+")
                self.tell(f"{cell.recipe}, seed {cell.seed}: tax by {bound} {told}")
        return {**found, "place": self.asked.places[cell.recipe], **self.more(cell)}

    def more(self, cell: Cell) -> Found:
        """What a study wants to know of a cell that is trained, besides."""
        return {}

    def results(self, found: Mapping[str, Found]) -> Results:
        """What the cells that are finished tell."""
        cells = list(found.values())
        told = self.told(cells)
        text = f"Text: {'; '.join(dict.fromkeys(cell['corpus'] for cell in cells))}."
        return replace(told, texts=[*told.texts, text])

    @abstractmethod
    def told(self, cells: Sequence[Mapping[str, Any]]) -> Results:
        """What cells tell."""

    def tell(self, text: str) -> None:
        """A line for the person who waits."""
        self.__dict__.get("note", print)(text)

    def run(self, note: Note = print) -> Results:
        """Train and score the cells that are not finished, and write the report."""
        self.__dict__["note"] = note
        return super().run(note)


def _same_text(one: Config, other: Config) -> bool:
    """Whether two configurations have the same corpus, in the same rows."""
    return (one.data, one.architecture.length) == (other.data, other.architecture.length)
