"""What a configuration names, made; and the names of what was made in Python."""

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from ltm_pyro import guides
from ltm_pyro.config import Config, Named, Thoughts
from ltm_pyro.guides import Guide
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models import LatentThoughtModel, TextModel, priors
from ltm_pyro.models.decoders.build import build_decoder, named_decoder
from ltm_pyro.models.priors import Prior
from ltm_pyro.models.size import BYTES, check_memory, parameters_of
from ltm_pyro.names import describe, find
from ltm_pyro.runs import trackers
from ltm_pyro.runs.callbacks import Callback
from ltm_pyro.seeds import Stream, seeded

__all__ = [
    "build_decoder",
    "build_guide",
    "build_model",
    "build_prior",
    "named_decoder",
    "named_guide",
    "named_prior",
    "shared_of",
]


def build_prior(
    named: Named, thoughts: Thoughts, columns: Mapping[str, Sequence[str]] | None = None
) -> Prior:
    """A prior by name, e.g. `Named("standard-normal")`, or by `package.module:Class`.

    `columns` are those of the data, with the values that are known, for classes that take them.
    """
    found = find("prior", named, priors, Prior)
    takes = "columns" in inspect.signature(found.func).parameters
    made = functools.partial(found, thoughts, **({"columns": columns or {}} if takes else {}))
    if named.options and (count := parameters_of(made)) is not None:
        what = f"{count:,} parameters of the prior {named.name}, of {BYTES} bytes"
        check_memory({what: count * BYTES}, "its options, or the thoughts' slots or dim")
    prior: Prior = made()
    return prior


def build_guide(named: Named, model: TextModel | None = None, seed: int = 0) -> MakeGuide:
    """A guide class with its options bound, to be called with (thoughts, batch_size).

    With a model, what guides of this class share between documents is made for it, and bound too;
    see `Guide.of`; its weights are drawn from `seed`. Without one, names and options are checked.
    """
    found = find("guide", named, guides, Guide)
    if model is None:
        return found
    cls: Any = found.func
    with seeded(seed, Stream.SHARED_WEIGHTS):
        bound: MakeGuide = cls.of(model, **found.keywords)
    return bound


def shared_of(guide: MakeGuide) -> Any:
    """The module that a factory's guides share between documents, or None."""
    return getattr(guide, "keywords", {}).get("shared")


def build_model(config: Config, seed: int | None = None) -> LatentThoughtModel:
    """The configuration's model, its weights drawn from `seed` (training's unless given)."""
    with seeded(config.training.seed if seed is None else seed):
        prior = build_prior(config.prior, config.thoughts, config.data.columns)
        return LatentThoughtModel(config, prior)


def build_callback(named: Named) -> Callback:
    """A callback by name, e.g. `Named("tensor-board")`, or by `package.module:Class`."""
    callback: Callback = find("callback", named, trackers, Callback)()
    return callback


def named_prior(prior: Prior) -> Named:
    """The name and options that `build_prior` would need."""
    return describe(prior, priors, Prior)


def named_guide(guide: MakeGuide) -> Named:
    """The name and options that `build_guide` would need."""
    return describe(guide, guides, Guide)
