"""A run's folder: what it was, what it learned, and what it needs to go on.

::

    RUN/config.json          format, versions, command, configuration, data fingerprint
        tokenizer.json       text to ids
        model.safetensors    the weights, and those of the baseline in baseline.safetensors
        trainer.pt           everything a resumed run needs, in one file (tensors and plain types)
        log.jsonl            a line for each iteration and each look at held-out text

Every file is written beside its place and moved there, so a crash leaves the old one or the new.
"""

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import safetensors.torch
import torch
from torch import nn

from ltm_pyro._version import __version__
from ltm_pyro.build import build_guide, build_model
from ltm_pyro.config import Config, from_dict, to_dict
from ltm_pyro.data import Tokenizer
from ltm_pyro.errors import InputError
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel

FORMAT = 1
CONFIG, TOKENIZER, TRAINER, LOG = "config.json", "tokenizer.json", "trainer.pt", "log.jsonl"
MODEL, BASELINE = "model.safetensors", "baseline.safetensors"
FILES = (CONFIG, TOKENIZER, TRAINER, LOG, MODEL, BASELINE)


@dataclass(frozen=True)
class Run:
    """A trained model and what belongs to it, as loaded from its folder.

    Attributes:
        path: the folder.
        config: the configuration it was trained with.
        model: the latent-thought model.
        baseline: the decoder without latents trained beside it, or None.
        tokenizer: its tokenizer.
        step: iterations done.
        record: what config.json holds besides the configuration.
    """

    path: Path
    config: Config
    model: LatentThoughtModel
    baseline: AutoregressiveModel | None
    tokenizer: Tokenizer
    step: int
    record: Mapping[str, Any]

    @property
    def guide(self) -> MakeGuide:
        """The guide class it was trained with."""
        return build_guide(self.config.guide)

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        path = self.path / LOG
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def start(path: Path, config: Config, tokenizer: Tokenizer, fingerprint: str) -> None:
    """Make a run's folder, with its configuration and tokenizer."""
    path.mkdir(parents=True, exist_ok=True)
    record = {
        "format": FORMAT,
        "versions": {
            "ltm_pyro": __version__,
            "torch": torch.__version__,
            "pyro": pyro.__version__,
            "python": platform.python_version(),
        },
        "command": sys.argv,
        "data_fingerprint": fingerprint,
        "config": to_dict(config),
    }
    write(path / TOKENIZER, lambda place: tokenizer.save(place))
    write(path / CONFIG, lambda place: place.write_text(json.dumps(record, indent=2) + "\n"))


def save_weights(path: Path, module: nn.Module, step: int) -> None:
    """A module's weights as safetensors, the step in the file's metadata."""
    state = {k: v.detach().contiguous().cpu() for k, v in module.state_dict().items()}
    write(path, lambda place: safetensors.torch.save_file(state, place, {"step": str(step)}))


def save_trainer(path: Path, state: Mapping[str, Any]) -> None:
    """What a resumed run needs."""
    write(path / TRAINER, lambda place: torch.save(dict(state), place))


def load_trainer(path: Path) -> dict[str, Any]:
    """What `save_trainer` wrote; only tensors and plain types are read."""
    place = path / TRAINER
    if not place.exists():
        raise InputError(f"{path} cannot be resumed: it has no {TRAINER}")
    try:
        return dict(torch.load(place, weights_only=True))
    except Exception as error:
        raise InputError(f"{place} is damaged or not a trainer state: {_line(error)}") from None


def load(path: str | Path) -> Run:
    """Load a run from its folder.

    Raises:
        InputError: if it is no run, is damaged, or was written in another format.
    """
    path = Path(path)
    config, record = read_config(path)
    tokenizer = Tokenizer.load(path / TOKENIZER)
    if tokenizer.vocabulary != config.architecture.vocabulary:
        raise InputError(
            f"{path / TOKENIZER} has {tokenizer.vocabulary} tokens, the model "
            f"{config.architecture.vocabulary}: it belongs to another run"
        )
    model = build_model(config)
    step = load_weights(path / MODEL, model)
    baseline = None
    if (path / BASELINE).exists():
        baseline = AutoregressiveModel(config)
        load_weights(path / BASELINE, baseline)
    return Run(path, config, model, baseline, tokenizer, step, record)


def read_config(path: Path) -> tuple[Config, dict[str, Any]]:
    """The configuration of a run's folder, and what else its config.json holds."""
    place = path / CONFIG
    if not place.exists():
        raise InputError(f"{path} is not a run: it has no {CONFIG}")
    try:
        record = json.loads(place.read_text())
        written = record["format"]
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{place} is damaged: it is not a run's configuration") from None
    if written != FORMAT:
        raise InputError(
            f"{path} was written in format {written}; this version of ltm_pyro "
            f"({__version__}) reads format {FORMAT}"
        )
    return from_dict(Config, record.pop("config"), str(place)), record


def load_weights(path: Path, module: nn.Module) -> int:
    """Fill a module from a safetensors file; returns the step it was saved at."""
    if not path.exists():
        raise InputError(f"{path} is missing: the run was not saved, or not wholly copied")
    try:
        with safetensors.safe_open(path, "pt") as file:
            step = int((file.metadata() or {}).get("step", 0))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        module.load_state_dict(state)
    except (safetensors.SafetensorError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} is damaged or of another model: {_line(error)}") from None
    return step


def write(path: Path, save: Callable[[Path], Any]) -> None:
    """Write a file so that a crash leaves either the old one or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save(beside)
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; what was there before is untouched"
        ) from None
    finally:
        beside.unlink(missing_ok=True)


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
