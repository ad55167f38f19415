"""Latent-thought language models as Pyro programs, scored by valid likelihood bounds."""

import importlib
import sys
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("ltm-pyro")

if TYPE_CHECKING:
    from ltm_pyro.arviz import to_datatree
    from ltm_pyro.auditing import audit
    from ltm_pyro.bounds import evaluate
    from ltm_pyro.config import Config, Fast, Objective, Slow, Thoughts, Training, Warm
    from ltm_pyro.data import Corpus, Rows, Tokenizer, load_corpus, prepare
    from ltm_pyro.errors import InputError, NotFinite
    from ltm_pyro.generation import Generation, Sampling, generate
    from ltm_pyro.inference import DualRateSVI, Posterior
    from ltm_pyro.inference.released import released_protocol
    from ltm_pyro.presets import grown_protocol, joint_protocol, preset, quick_protocol
    from ltm_pyro.reports import report
    from ltm_pyro.runs.checkpoint import Run, load
    from ltm_pyro.runs.saving import save
    from ltm_pyro.runs.training import check_folder, load_data, train

if "ipykernel" in sys.modules:  # where tqdm, which others import, asks for widgets
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("tqdm.auto")

_MODULES = {
    "arviz": ("to_datatree",),
    "auditing": ("audit",),
    "bounds": ("evaluate",),
    "config": ("Config", "Fast", "Objective", "Slow", "Thoughts", "Training", "Warm"),
    "data": ("Corpus", "Rows", "Tokenizer", "load_corpus", "prepare"),
    "errors": ("InputError", "NotFinite"),
    "generation": ("Generation", "Sampling", "generate"),
    "inference": ("DualRateSVI", "Posterior"),
    "inference.released": ("released_protocol",),
    "presets": ("grown_protocol", "joint_protocol", "preset", "quick_protocol"),
    "reports": ("report",),
    "runs.checkpoint": ("Run", "load"),
    "runs.saving": ("save",),
    "runs.training": ("check_folder", "load_data", "train"),
}
"""Where each public name stands: a module is imported when it is used, for torch takes seconds."""
_PLACES = {name: module for module, names in _MODULES.items() for name in names}
_PACKAGES = ("diagnostics", "guides", "models", "testing", *(m for m in _MODULES if "." not in m))

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
    "Sampling",
    "Slow",
    "Thoughts",
    "Tokenizer",
    "Training",
    "Warm",
    "__version__",
    "audit",
    "check_folder",
    "evaluate",
    "generate",
    "grown_protocol",
    "joint_protocol",
    "load",
    "load_corpus",
    "load_data",
    "prepare",
    "preset",
    "quick_protocol",
    "released_protocol",
    "report",
    "save",
    "to_datatree",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        value = getattr(importlib.import_module(f"ltm_pyro.{_PLACES[name]}"), name)
        globals()[name] = value
        return value
    if name in _PACKAGES:
        return importlib.import_module(f"ltm_pyro.{name}")
    raise AttributeError(f"module 'ltm_pyro' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
