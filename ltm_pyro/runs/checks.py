"""What is told before a run begins, so that nothing is lost by it."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ltm_pyro.config import Config
from ltm_pyro.data import Corpus, Rows
from ltm_pyro.errors import InputError, first_line
from ltm_pyro.inference.local import MakeGuide, new_guide
from ltm_pyro.inference.memory import Memory
from ltm_pyro.inference.optimizers import local_optimizer, take_step
from ltm_pyro.models import LatentThoughtModel, decoders
from ltm_pyro.models.decoders import Decoder
from ltm_pyro.models.size import BYTES, MOMENTS, check_memory, check_training_fits, out_of_memory
from ltm_pyro.names import find
from ltm_pyro.runs.callbacks import Callback
from ltm_pyro.runs.state import read_back
from ltm_pyro.seeds import seeded


def check_corpus(corpus: Corpus, config: Config) -> None:
    """Raises InputError if a configuration cannot be trained on this corpus."""
    if not len(corpus.train):
        held = len(corpus.valid) + len(corpus.test)
        raise InputError(
            f"{corpus.name} leaves no document to train on: all {held} rows are held out for "
            "validation or test; give more text"
        )
    check_columns(corpus, config)
    vocabulary, begin = config.architecture.vocabulary, config.architecture.begin
    if (corpus.vocabulary, corpus.begin) != (vocabulary, begin):
        raise InputError(
            f"{corpus.name} was made into tokens of {corpus.vocabulary} kinds that begin with "
            f"{corpus.begin}, the configuration is for {vocabulary} that begin with {begin}: make "
            "it with ltm.preset(name, corpus), or load the corpus with the tokenizer it is for"
        )


def check_columns(corpus: Corpus, config: Config) -> None:
    """Raises InputError if a corpus codes its columns by other values than a configuration's."""
    for name, known in config.data.columns.items():
        if corpus.columns.get(name) != known:
            raise InputError(
                f"column {name!r} of {corpus.name} has other values than the configuration's: make "
                "it with ltm.preset(name, corpus), or train with ltm.train, which takes them over"
            )
    if lost := sorted({*config.data.numbers} - {*corpus.numbers}):
        raise InputError(
            f"{corpus.name} keeps no number {lost[0]!r}, which the configuration names: load it "
            f"with numbers=[{lost[0]!r}]"
        )


def warn_of_main(config: Config) -> None:
    """Warns of a class that lives in the running script or notebook: nothing else finds it."""
    named = [config.model, config.decoder, config.prior, config.guide, *config.callbacks]
    names = [*(one.name for one in named), config.fast.optimizer, config.slow.optimizer]
    for name in names:
        if isinstance(name, str) and name.partition(":")[0] == "__main__":
            warnings.warn(
                f"{name} stands in the running script or notebook, so no other process can load "
                "this run: put the class into a file beside it, mine.py, import it from there, "
                f"and name it 'mine:{name.partition(':')[2]}'",
                stacklevel=2,
            )


def check_fits(config: Config) -> None:
    """Raises InputError if a run of this configuration cannot fit in memory."""
    check_training_fits(config, find("decoder", config.decoder, decoders, Decoder))
    batch, numbers = config.training.batch, config.thoughts.count * config.thoughts.dim
    each = f"thoughts of {batch:,} rows, {numbers:,} numbers of {BYTES} bytes each"
    check_memory(
        {each: batch * numbers * BYTES, "their gradients": batch * numbers * BYTES},
        "the batch, or the thoughts' slots or dim",
    )


def check_density(config: Config, guide: MakeGuide) -> None:
    """Raises InputError for a guide that a run's figures cannot be made of."""
    cls = getattr(guide, "func", guide)
    if not getattr(cls, "has_density", True):
        raise InputError(
            f"guide {config.guide.name!r} has no density, so a run would have no bound to report: "
            "train with laplace-approximation, which is the normal around the same point, or with "
            "langevin, or fit it from Python with DualRateSVI"
        )


def try_guide(config: Config, model: LatentThoughtModel, guide: MakeGuide, rows: Rows) -> None:
    """Make what the fast loop will make, so that a wrong option is told before anything is lost."""
    try:
        made = new_guide(model, guide, rows)
    except (TypeError, ValueError, RuntimeError) as error:
        told = out_of_memory(error) or first_line(error)
        raise InputError(f"guide {config.guide.name!r}: {told}") from None
    local = list(made.parameters())
    batch, count = config.training.batch, sum(parameter.numel() for parameter in local)
    moments = MOMENTS.get(str(config.fast.optimizer), 0)
    check_memory(
        {
            f"{count:,} local parameters of each of {batch:,} rows": batch * count * BYTES,
            "their gradients": batch * count * BYTES,
            f"the {moments} moments of {config.fast.optimizer}": moments * batch * count * BYTES,
        },
        "the batch, the guide's options, or the thoughts' slots or dim",
    )
    if local and (config.fast.steps or config.warm is not None):
        optimizer = local_optimizer(config.fast, made, local)
        for parameter in local:
            parameter.grad = torch.zeros_like(parameter)
        with seeded(0):
            take_step(optimizer, config.fast.optimizer)
    if config.warm is not None:
        Memory(rows).remember(made, rows)


def check_states(states: Mapping[str, Any]) -> None:
    """Raises InputError for a callback's state that a resumed run could not read."""
    for name, state in states.items():
        try:
            read_back(state)
        except Exception as error:  # the pickler and the unpickler raise many kinds
            raise InputError(
                f"callback {name} has a state that cannot be saved ({first_line(error)}): expected "
                "tensors and plain Python values"
            ) from None


def check_callbacks(callbacks: Sequence[Callback]) -> None:
    """Raises InputError for what is no callback, or for two of one name."""
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise InputError(
                f"callback {callback!r}: expected an object of a class below "
                "ltm_pyro.runs.callbacks.Callback"
            )
    twice = [name for name, n in Counter(c.name for c in callbacks).items() if n > 1]
    if twice:
        raise InputError(
            f"two callbacks are named {twice[0]!r}, and a run saves their states by name: give "
            "one of them another `name`"
        )
