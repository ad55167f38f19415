"""What a configuration names, made; and the names of what was made in Python."""

import functools
import inspect
from typing import Any

import torch

from ltm_pyro import guides
from ltm_pyro.config import Config, Named
from ltm_pyro.config.sizes import PLAIN
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.guides import Guide
from ltm_pyro.inference import Hierarchical
from ltm_pyro.inference.covering import Covering
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models import LatentThoughtModel, TextModel, priors
from ltm_pyro.models.decoders.build import build_decoder, named_decoder
from ltm_pyro.models.priors.build import build_prior, named_prior
from ltm_pyro.models.size import without_memory
from ltm_pyro.names import describe, find
from ltm_pyro.programs.densities import blank
from ltm_pyro.programs.reading import Sites
from ltm_pyro.runs import trackers
from ltm_pyro.runs.callbacks import Callback
from ltm_pyro.seeds import Stream, seeded

__all__ = [
    "build_decoder",
    "build_guide",
    "build_model",
    "build_prior",
    "check_named",
    "covering_shared",
    "named_decoder",
    "named_guide",
    "named_model",
    "named_prior",
    "rows_without_text",
    "shared_of",
]


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
    """The configuration's model, its weights drawn from `seed` (training's unless given).

    A class of one's own is called with the configuration, with `prior` and with `columns` (those of
    the data, with their known values) if it takes them, and with its options.
    """
    with seeded(config.training.seed if seed is None else seed):
        prior = build_prior(config.prior, config.thoughts, config.data.columns)
        make = find_model(config.model)
        takes = inspect.signature(make.func).parameters
        given = {"prior": prior, "columns": config.data.columns}
        model = make(config, **{name: one for name, one in given.items() if name in takes})
    if "prior" not in takes and named_prior(model.prior) != config.prior:
        raise InputError(
            f"model {config.model.name} takes no prior, and samples one of its own: leave out "
            f"{config.prior.name}, or give its constructor an argument prior"
        )
    return model


def find_model(named: Named) -> "functools.partial[LatentThoughtModel]":
    """The class that a name stands for, its options bound."""
    if named.name == PLAIN and not named.options:
        return functools.partial(LatentThoughtModel)
    if ":" not in named.name:
        if named.name == PLAIN:
            raise unknown(f"option of model {PLAIN}", next(iter(named.options)), ())
        raise unknown("model", named.name, (PLAIN, "package.module:Class"))
    return find("model", named, priors, LatentThoughtModel)


def check_named(config: Config) -> None:
    """Raises InputError for a model, prior or decoder that is not known, or a wrong option."""
    build_prior(config.prior, config.thoughts, config.data.columns)
    find_model(config.model)
    with without_memory():
        build_decoder(config.decoder, config.architecture, config.thoughts)


def covering_shared(
    named: Named, make: MakeGuide, model: LatentThoughtModel, rows: AnyRows
) -> MakeGuide:
    """A guide that also covers the sites which the model samples once for all documents.

    It is the one that is given, of which it is the local part, or that itself, where there are no
    such sites, or it samples them. The rows are what the model is traced on.
    """
    if type(model) is LatentThoughtModel:
        return make
    shared = Sites.of(model, rows).of_kind("shared")
    if not shared or (":" in named.name and _covers(model, make, rows)):
        return make
    return Hierarchical.of(model, rows=rows, local=make)


def _covers(model: LatentThoughtModel, make: MakeGuide, rows: AnyRows) -> bool:
    try:
        Covering(model, make, rows)
    except InputError:
        return False
    return True


def rows_without_text(config: Config) -> Rows:
    """Two rows that a model can be traced on where there is no text: each column has a value."""
    data, length = config.data, min(2, config.architecture.length)
    columns = {name: torch.zeros(2, dtype=torch.long) for name in data.columns}
    columns |= {name: torch.zeros(2) for name in data.numbers}
    return blank(torch.full((2,), length), columns)


def build_callback(named: Named) -> Callback:
    """A callback by name, e.g. `Named("tensor-board")`, or by `package.module:Class`."""
    callback: Callback = find("callback", named, trackers, Callback)()
    return callback


def named_model(model: LatentThoughtModel) -> Named:
    """The name and options that `build_model` would need."""
    if type(model) is LatentThoughtModel:
        return Named(PLAIN)
    return describe(model, priors, LatentThoughtModel)


def named_guide(guide: MakeGuide) -> Named:
    """The name and options that `build_guide` would need; of `Hierarchical`, its local guide's."""
    if isinstance(guide, functools.partial) and guide.func is Hierarchical:
        return named_guide(guide.keywords["local"])
    return describe(guide, guides, Guide)
