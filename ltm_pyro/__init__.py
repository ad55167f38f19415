"""Latent-thought language models as Pyro programs, scored by valid likelihood bounds."""

from ltm_pyro._version import __version__
from ltm_pyro.arviz import to_datatree
from ltm_pyro.bounds import evaluate
from ltm_pyro.config import (
    Config,
    Fast,
    Objective,
    Slow,
    Thoughts,
    Training,
)
from ltm_pyro.data import Corpus, Rows, Tokenizer, load_corpus
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.generation import Generation, generate
from ltm_pyro.inference import DualRateSVI, Posterior
from ltm_pyro.inference.released import released_protocol
from ltm_pyro.presets import joint_protocol, preset, quick_protocol
from ltm_pyro.runs.checkpoint import Run, load
from ltm_pyro.runs.training import check_folder, load_data, train

__all__ = [
    "Config",
    "Corpus",
    "DualRateSVI",
    "Fast",
    "Generation",
    "InputError",
    "NotFinite",
    "Objective",
    "Posterior",
    "Rows",
    "Run",
    "Slow",
    "Thoughts",
    "Tokenizer",
    "Training",
    "__version__",
    "check_folder",
    "evaluate",
    "generate",
    "joint_protocol",
    "load",
    "load_corpus",
    "load_data",
    "preset",
    "quick_protocol",
    "released_protocol",
    "to_datatree",
    "train",
]
