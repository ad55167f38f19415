"""Grids of studies that train: recipes of `ltm train`, and axes that are crossed with each."""

import itertools
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltm_pyro.errors import InputError, first_line, unknown
from ltm_pyro.experiments.grids.tax import Score
from ltm_pyro.options import shown, taken
from ltm_pyro.runs.config_json import from_dict

PARTS = {"about": str, "train": tuple[str, ...], "recipes": dict, "axes": dict, "score": dict}
"""What a grid may hold, and of which kind."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=,-]*")
"""What a recipe may be called."""
FROM = "--from"
Place = dict[str, int | float | str]
"""Where a recipe lies: the value of each axis."""


@dataclass(frozen=True)
class Grid:
    """Which models a study trains, and how they are scored.

    Attributes:
        recipes: options of `ltm train`, all of them, by the recipe's name; of a grid with axes
            there is one for each of its recipes and each combination of values.
        places: of each recipe, where on the axes it lies; empty where there are none.
        begins: of each recipe that thoughts are grown in, on which recipe's decoder.
        score: how each is scored.
    """

    recipes: Mapping[str, tuple[str, ...]]
    score: Score
    places: Mapping[str, Place] = field(default_factory=dict)
    begins: Mapping[str, str] = field(default_factory=dict)


def read_grid(path: Path) -> Grid:
    """The grid in a JSON file.

    An axis is an option of `ltm train` by its name, with its values: `"fast.steps": [1, 4, 16]`.
    Options that change together are joined: `"architecture.layers+thoughts.layers": [2, 4]`.
    `--from` names a recipe that stands before: thoughts are grown on its decoder, of the same seed.

    Raises:
        InputError: for a file that is no grid.
    """
    try:
        content: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no grid: expected JSON ({first_line(error)})") from None
    if not isinstance(content, dict) or not content.keys() & {"recipes", "axes"}:
        raise InputError(
            f"{path} is no grid: expected an object with recipes, or axes, such as "
            '{"train": ["--steps", "900"], "recipes": {"grown": ["--speak", "0.5"]}}'
        )
    for name, value in content.items():
        if name not in PARTS:
            raise unknown(f"part of {path}", name, PARTS)
        taken(f"{name} of {path}", value, PARTS[name])
    every = tuple(content.get("train", ()))
    axes = {name: _values(name, given, path) for name, given in content.get("axes", {}).items()}
    asked = content.get("recipes", {"": ()} if axes else {})
    recipes: dict[str, tuple[str, ...]] = {}
    places: dict[str, Place] = {}
    begins: dict[str, str] = {}
    for name, own in asked.items():
        options = taken(f"recipe {name} of {path}", own, tuple[str, ...])
        for values in itertools.product(*axes.values()):
            place = dict(zip(axes, values, strict=True))
            full = _full(name, place)
            if not NAME.fullmatch(full) or ".." in full:
                raise InputError(
                    f"recipe {full!r} of {path} is to be the name of a folder: expected letters, "
                    "digits and . _ + = , -, beginning with a letter or a digit"
                )
            words, first = _begins((*every, *options, *_options(place)), full, path)
            if first is not None:
                begins[full] = _before(full, first, place, recipes, path)
            recipes[full], places[full] = words, place
    if not recipes:
        raise InputError(f"{path} has no recipes: name one at least")
    score = from_dict(Score, content.get("score", {}), f"{path}: score")
    return Grid(recipes, score, places, begins)


def _full(name: str, place: Place) -> str:
    """What a recipe is called at its place on the axes."""
    return "_".join([*([name] if name else []), *(f"{a}-{v}" for a, v in place.items())])


def _before(recipe: str, first: str, place: Place, known: Collection[str], path: Path) -> str:
    """The full name of a recipe to begin with: where there are axes, at the same place."""
    for one in (_full(first, place), first):
        if one in known:
            return one
    if not known:
        raise InputError(
            f"recipe {recipe!r} of {path} begins with {first!r}, and none stands before it"
        )
    raise unknown(f"recipe before {recipe}", first, known)


def _begins(
    options: tuple[str, ...], recipe: str, path: Path
) -> tuple[tuple[str, ...], str | None]:
    """The options without `--from RECIPE`, and that recipe."""
    words = [w for one in options for w in (one.split("=", 1) if one[:7] == f"{FROM}=" else [one])]
    if FROM not in words:
        return options, None
    at = words.index(FROM)
    if len(words) < at + 2 or FROM in words[at + 1 :]:
        raise InputError(
            f"recipe {recipe!r} of {path} begins with more or less than one other: expected "
            f'"{FROM}", "RECIPE" once'
        )
    return (*words[:at], *words[at + 2 :]), words[at + 1]


def _values(axis: str, given: Any, path: Path) -> list[Any]:
    """The values of an axis."""
    if not isinstance(given, list) or not given or len(set(map(str, given))) < len(given):
        raise InputError(
            f"axis {axis} of {path} is {shown(given)}: expected a list of values, each once"
        )
    for one in given:
        if isinstance(one, bool) or not isinstance(one, int | float | str):
            raise InputError(
                f"axis {axis} of {path} has {shown(one)}: expected numbers or text, such as "
                f'"{axis}": [1, 4]; what is on or off is a recipe each'
            )
    return given


def _options(place: Place) -> list[str]:
    """`--fast.steps 4` of a place; of axes joined by `+` each option has the value."""
    return [
        word for axis, value in place.items() for name in axis.split("+")
        for word in (f"--{name.strip()}", str(value))
    ]  # fmt: skip
