"""What is told before a run begins, so that nothing is lost by it."""

import torch

from ltm_pyro.config import Config
from ltm_pyro.data import Corpus, Rows
from ltm_pyro.errors import InputError, first_line
from ltm_pyro.inference.local import MakeGuide, new_guide
from ltm_pyro.inference.memory import Memory
from ltm_pyro.inference.optimizers import local_optimizer
from ltm_pyro.models import LatentThoughtModel


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
        raise InputError(f"guide {config.guide.name!r}: {first_line(error)}") from None
    local = list(made.parameters())
    if local and (config.fast.steps or config.warm is not None):
        local_optimizer(config.fast, made, local)
    if config.warm is not None:
        Memory(rows).remember(made, rows)


def device_named(name: str) -> torch.device:
    """A device that is here, e.g. of the name "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: for a name that is none, or a device that this machine lacks.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise InputError(
            f"device {name!r} cannot be used ({first_line(error)}): here there is "
            f"{', '.join(found)}"
        ) from None
    return device
