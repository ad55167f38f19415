"""Checkpoints: the weights of a run, to be loaded. See `folder`; `state` is what a resume reads."""

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from ltm_pyro.config import Config
from ltm_pyro.data import Tokenizer
from ltm_pyro.display.tables import facts
from ltm_pyro.errors import Damaged, InputError, NotFinite, Notice, first_line, unknown
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.options import checked
from ltm_pyro.programs.elbo import weights_not_finite
from ltm_pyro.runs.build import (
    build_guide,
    build_model,
    covering_shared,
    rows_without_text,
    shared_of,
)
from ltm_pyro.runs.control import build_control
from ltm_pyro.runs.devices import device_named
from ltm_pyro.runs.folder import (
    BASELINE,
    BEST,
    MODEL,
    PREVIOUS,
    SHARED,
    TOKENIZER,
    TRAINER,
    check,
    read_log,
    resume_command,
)
from ltm_pyro.runs.looks import BOUND, in_words
from ltm_pyro.runs.record import CONFIG, read_config
from ltm_pyro.runs.state import load_trainer
from ltm_pyro.runs.trust import check_code, explain

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
        stopped: the signal that ended its training before the end, where `ltm.train` returns it.
    """

    path: Path
    config: Config
    model: LatentThoughtModel
    baseline: AutoregressiveModel | None
    guide: MakeGuide
    tokenizer: Tokenizer
    step: int
    record: Mapping[str, Any]
    stopped: int | None = None

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return read_log(self.path)

    def __repr__(self) -> str:
        known = self._facts()
        return f"Run {self.path}: " + ", ".join(f"{name} {value}" for name, value in known.items())

    def _repr_html_(self) -> str:
        return facts(f"Run {self.path}", self._facts())

    def _facts(self) -> dict[str, Any]:
        config, stopped = self.config, f", stopped by signal {self.stopped}" if self.stopped else ""
        parameters = sum(p.numel() for p in self.model.parameters())
        known = {
            "iterations": f"{self.step:,} of {config.training.steps:,}{stopped}",
            "text": str(self.record["data"]["source"]),
            "model": f"{parameters:,} parameters, thoughts of shape {config.thoughts.shape}",
        }
        for part in ("decoder", "prior", "guide"):
            known[part] = getattr(config, part).name
        looks = []
        with suppress(InputError):  # its folder may be gone, or damaged by now
            looks = [line for line in self.log() if BOUND in line and line["step"] <= self.step]
        if looks:
            known["held-out bound"] = in_words(looks[-1])
        return known


def weights(modules: Mapping[str, nn.Module | None], metadata: Mapping[str, Any]) -> bytes:
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
    return safetensors.torch.save(tensors, facts)


@checked
def load(
    path: str | Path, checkpoint: str = "last", trust: bool = False, device: str = "cpu"
) -> Run:
    """Load a run from its folder.

    Args:
        path: the folder, or the URL of a copy in a store (see `ltm_pyro.runs.copies`).
        checkpoint: "last", or "best": the weights of the look with the lowest held-out bound.
        trust: whether classes outside the library that it names may be imported, and so run.
            Those that have been imported already need no trust.
        device: where its weights go, e.g. "cuda".

    Raises:
        InputError: if it is no run, is damaged, was written in another format, has no such
            checkpoint, or names code that is not trusted.
        NotFinite: if a weight is not.
    """
    from ltm_pyro.runs.copies import folder_of  # which copies what is saved here

    path = folder_of(path)
    check_code(path, *read_config(path), trust)
    return load_own(path, checkpoint, device)


def load_own(path: Path, checkpoint: str = "last", device: str = "cpu") -> Run:
    """As `load`, of a run that may import what it names."""
    if checkpoint not in CHECKPOINTS:
        raise unknown("checkpoint", checkpoint, CHECKPOINTS)
    config, record = read_config(path)
    tokenizer = load_tokenizer(path)
    if tokenizer.vocabulary != config.architecture.vocabulary:
        raise InputError(
            f"{path / TOKENIZER} has {tokenizer.vocabulary} tokens, the model "
            f"{config.architecture.vocabulary}: it belongs to another run; put back this run's own"
        )
    place = device_named(device)
    try:
        model, baseline = build_model(config).to(place), None
        guide = build_guide(config.guide, model)
        some = rows_without_text(config).to(place)
        guide = covering_shared(config.guide, guide, model, some)
    except InputError as error:
        raise explain(error, path, record) from None
    step, state = _weights_of(path, checkpoint)
    beside, of_guide = (_part(state, prefix) for prefix in (BASELINE, SHARED))
    try:
        model.load_state_dict(state)
        if beside or config.training.baseline:
            baseline = build_control(config, model).to(place)
            baseline.load_state_dict(beside)
        if of_guide or shared_of(guide) is not None:
            (shared_of(guide) or nn.Module()).load_state_dict(of_guide)
    except RuntimeError as error:
        raise InputError(
            f"{path / CHECKPOINTS[checkpoint]} holds another model than {CONFIG} says "
            f"({first_line(error)}): put back this run's own"
        ) from None
    for module in (model, baseline, shared_of(guide)):
        wrong = None if module is None else next(weights_not_finite(module), None)
        if wrong is not None:
            raise NotFinite(
                f"{path / CHECKPOINTS[checkpoint]}: {wrong} is not finite, so nothing can be "
                "computed with it: take another checkpoint, or train again with a lower rate"
            )
    return Run(path, config, model, baseline, guide, tokenizer, step, record)


def _weights_of(path: Path, checkpoint: str) -> tuple[int, dict[str, torch.Tensor]]:
    """Step and weights of a checkpoint; if the last is damaged, those of the trainer's state."""
    try:
        facts, state = read_weights(path, checkpoint)
        return int(facts["step"]), state
    except Damaged as error:
        if checkpoint != "last" or not any((path / n).exists() for n in (TRAINER, PREVIOUS)):
            raise
        kept = load_trainer(path, _weights_in)
        assert kept is not None
        told = f"{error}; meanwhile the weights of iteration {kept[0]} are used, from {kept[2]}"
        warnings.warn(Notice(told), stacklevel=3)
        return kept[:2]


def _weights_in(state: Mapping[str, Any], name: str) -> tuple[int, dict[str, torch.Tensor], str]:
    """Step and weights of a trainer's state, by their names in a file of weights."""
    parts = {"": state["model"], SHARED: state.get("shared", {})}
    parts[BASELINE] = state["callbacks"].get("baseline", {}).get("model", {})
    named = {prefix + name: value for prefix, p in parts.items() for name, value in p.items()}
    return state["svi"]["done"], named, name


def _part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Take the tensors whose names begin with a prefix out of a state."""
    found = [name for name in state if name.startswith(prefix)]
    return {name.removeprefix(prefix): state.pop(name) for name in found}


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a run's folder."""
    check(path, TOKENIZER)
    try:
        return Tokenizer.load(path / TOKENIZER)
    except InputError as error:
        raise InputError(f"{error}; put back this run's own") from None


def read_weights(
    path: Path, checkpoint: str = "last", facts_only: bool = False
) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Metadata and tensors of a run's checkpoint.

    Raises:
        InputError: if it is missing, damaged, another run's or not safetensors.
    """
    place = path / CHECKPOINTS[checkpoint]
    if not place.exists():
        raise InputError(_missing(path, checkpoint))
    check(path, place.name)
    try:
        with safetensors.safe_open(place, "pt") as file:
            facts = file.metadata()
            names = [] if facts_only else file.keys()
            int(facts["step"])
            return dict(facts), {name: file.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        anew = f"write it anew from {TRAINER} with {resume_command(path)}"
        raise Damaged(
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
