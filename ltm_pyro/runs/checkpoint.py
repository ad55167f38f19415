"""Checkpoints: weights to load, and all that a run needs to go on. See `folder`."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from ltm_pyro import files
from ltm_pyro.config import Config
from ltm_pyro.data import Tokenizer
from ltm_pyro.errors import InputError, first_line, unknown
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.options import checked
from ltm_pyro.runs.build import build_guide, build_model, shared_of
from ltm_pyro.runs.folder import (
    BASELINE,
    BEST,
    CONFIG,
    LOG,
    MODEL,
    SHARED,
    TOKENIZER,
    TRAINER,
    read_config,
    resume_command,
)

CHECKPOINTS = {"last": MODEL, "best": BEST}


@dataclass(frozen=True)
class Run:
    """A trained model and what belongs to it, as loaded from its folder.

    Attributes:
        path: the folder.
        config: the configuration it was trained with.
        model: the latent-thought model.
        baseline: the decoder without latents trained beside it, or None.
        guide: the guide class it was trained with, and what guides of this class share.
        tokenizer: its tokenizer.
        step: iterations done when these weights were saved.
        record: what config.json holds besides the configuration.
    """

    path: Path
    config: Config
    model: LatentThoughtModel
    baseline: AutoregressiveModel | None
    guide: MakeGuide
    tokenizer: Tokenizer
    step: int
    record: Mapping[str, Any]

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return files.json_lines(self.path / LOG)


def save_weights(
    path: Path, modules: Mapping[str, nn.Module | None], metadata: Mapping[str, Any]
) -> None:
    """Weights of modules as safetensors, their names behind the module's prefix.

    `metadata` are facts such as the weights' step.
    """
    state = {
        prefix + name: value
        for prefix, module in modules.items()
        if module is not None
        for name, value in module.state_dict().items()
    }
    tensors = {name: value.detach().contiguous().cpu() for name, value in state.items()}
    facts = {name: str(value) for name, value in metadata.items()}
    files.write(path, safetensors.torch.save(tensors, facts))


def save_trainer(path: Path, state: Mapping[str, Any]) -> None:
    """What a resumed run needs."""
    held = io.BytesIO()  # torch's own writer does not say when a disk is full
    torch.save(dict(state), held)
    files.write(path / TRAINER, held.getbuffer())


def read_back(state: Any) -> Any:
    """A state as a resumed run would read it."""
    held = io.BytesIO()
    torch.save(state, held)
    held.seek(0)
    return torch.load(held, weights_only=True)


def load_trainer(path: Path) -> dict[str, Any] | None:
    """What `save_trainer` wrote, or None where a run was stopped before it saved anything.

    Only tensors and plain types are read.
    """
    place = path / TRAINER
    if not place.exists():
        if (path / MODEL).exists():
            raise InputError(
                f"{path} cannot be resumed: it has no {TRAINER}; copy that file here too, or train "
                "into another folder"
            )
        return None
    try:
        state = torch.load(place, weights_only=True)
        return {name: state[name] for name in ("model", "svi", "callbacks")} | state
    except Exception as error:  # the unpickler raises many kinds
        raise InputError(
            f"{place} is damaged or not a trainer state ({first_line(error)}): put back a whole "
            "copy, or begin anew with --overwrite"
        ) from None


@checked
def load(path: str | Path, checkpoint: str = "last") -> Run:
    """Load a run from its folder.

    Args:
        path: the folder.
        checkpoint: "last", or "best": the weights of the look with the lowest held-out bound.

    Raises:
        InputError: if it is no run, is damaged, was written in another format, or has no such
            checkpoint.
    """
    if checkpoint not in CHECKPOINTS:
        raise unknown("checkpoint", checkpoint, CHECKPOINTS)
    path = Path(path)
    config, record = read_config(path)
    tokenizer = load_tokenizer(path)
    if tokenizer.vocabulary != config.architecture.vocabulary:
        raise InputError(
            f"{path / TOKENIZER} has {tokenizer.vocabulary} tokens, the model "
            f"{config.architecture.vocabulary}: it belongs to another run; put back this run's own"
        )
    model, baseline = build_model(config), None
    guide = build_guide(config.guide, model)
    facts, state = read_weights(path, checkpoint)
    beside, of_guide = (_part(state, prefix) for prefix in (BASELINE, SHARED))
    try:
        model.load_state_dict(state)
        if beside:
            baseline = AutoregressiveModel(config)
            baseline.load_state_dict(beside)
        if of_guide:
            shared_of(guide).load_state_dict(of_guide)
    except RuntimeError as error:
        raise InputError(
            f"{path / CHECKPOINTS[checkpoint]} holds another model than {CONFIG} says "
            f"({first_line(error)}): put back this run's own"
        ) from None
    return Run(path, config, model, baseline, guide, tokenizer, int(facts["step"]), record)


def _part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Take the tensors whose names begin with a prefix out of a state."""
    found = [name for name in state if name.startswith(prefix)]
    return {name.removeprefix(prefix): state.pop(name) for name in found}


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a run's folder."""
    try:
        return Tokenizer.load(path / TOKENIZER)
    except InputError as error:
        raise InputError(f"{error}; put back this run's own") from None


def read_weights(
    path: Path, checkpoint: str = "last", facts_only: bool = False
) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Metadata and tensors of a run's checkpoint.

    Raises:
        InputError: if it is missing, truncated or not safetensors.
    """
    place = path / CHECKPOINTS[checkpoint]
    if not place.exists():
        raise InputError(_missing(path, checkpoint))
    try:
        with safetensors.safe_open(place, "pt") as file:
            facts = file.metadata()
            names = [] if facts_only else file.keys()
            int(facts["step"])
            return dict(facts), {name: file.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        anew = f"write it anew from {TRAINER} with {resume_command(path)}"
        raise InputError(
            f"{place} is damaged or no checkpoint ({first_line(error)}): put back a whole copy, or "
            + (anew if checkpoint == "last" else "take the last checkpoint")
        ) from None


def _missing(path: Path, checkpoint: str) -> str:
    if checkpoint == "best":
        return (
            f"{path} has no best checkpoint: it has not looked at held-out text (too few documents "
            "for a validation split, or stopped before the first look), or was not wholly copied; "
            "take the last one"
        )
    return (
        f"{path / MODEL} is missing: the run has not saved a checkpoint yet, or was not wholly "
        f"copied; {resume_command(path)} goes on, and writes it"
    )
