"""What a resumed run needs: a trainer's state, packed into `trainer.pt` and read back."""

import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ltm_pyro import files
from ltm_pyro.errors import Damaged, InputError, Notice, first_line
from ltm_pyro.options import Whole
from ltm_pyro.runs.folder import MODEL, PREVIOUS, TRAINER, check
from ltm_pyro.runs.manifest import Manifest
from ltm_pyro.runs.record import check_parts

STATE: dict[str, Any] = {
    "model": Mapping[str, Tensor],
    "svi": {"done": Whole, "seed": Whole, "optimizer": Mapping[str, Any]},
    "callbacks": Mapping[str, Mapping[str, Any]],
}
"""The parts of a trainer's state, and of which kind they are."""
MORE: dict[str, Any] = {
    "run": str,
    "shared": Mapping[str, Tensor],
    "memory": {"documents": Whole, "digest": str},
}
"""Those that it may have."""


def packed(state: Mapping[str, Any]) -> memoryview:
    """What a resumed run needs, as `trainer.pt` holds it."""
    held = io.BytesIO()  # torch's own writer does not say when a disk is full
    torch.save(dict(state), held)
    return held.getbuffer()


def read_back(state: Any) -> Any:
    """A state as a resumed run would read it."""
    held = io.BytesIO()
    torch.save(state, held)
    held.seek(0)
    return torch.load(held, weights_only=True)


T = TypeVar("T")


def load_trainer(path: Path, take: Callable[[dict[str, Any], str], T]) -> T | None:
    """What `take` makes of the last whole trainer state and the name of its file.

    If that of the last checkpoint is damaged it is that of the one before, which is told. None
    where a run was stopped before it saved anything. Only tensors and plain types are read.

    Raises:
        Damaged: if neither can be used.
    """
    if not any((path / name).exists() for name in (TRAINER, PREVIOUS)):
        manifest = Manifest.read(path)
        saved = manifest is not None and manifest.state(TRAINER) == "missing"
        if saved or (path / MODEL).exists():
            raise InputError(
                f"{path} cannot be resumed: it has no {TRAINER}; copy that file here too, or train "
                "into another folder"
            )
        return None
    wrong: list[str] = []
    for name in (TRAINER, PREVIOUS):
        try:
            taken = take(read_trainer(path, name), name)
        except Damaged as error:
            wrong.append(str(error))
            continue
        if wrong:
            told = f"{wrong[0]}; meanwhile the checkpoint before is used, from {PREVIOUS}"
            warnings.warn(Notice(told), stacklevel=3)
        return taken
    raise Damaged(f"{wrong[0]}; or begin anew with --overwrite")


def read_trainer(path: Path, name: str) -> dict[str, Any]:
    """A trainer's state in one of a run's files, its parts of the kinds that they are to be.

    Raises:
        Damaged: if it is none, or another run's.
    """
    place = path / name
    if not place.exists():
        raise Damaged(f"{place} is missing: put it back")
    check(path, name)
    try:
        if not files.is_stored(place):
            raise ValueError("it is no archive, or a compressed one")
        state = torch.load(place, map_location="cpu", weights_only=True)
        check_parts(state, STATE, "it")
        check_parts(state, {name: kind for name, kind in MORE.items() if name in state}, "it")
    except Exception as error:  # the unpickler raises many kinds
        raise Damaged(
            f"{place} is damaged or not a trainer state ({first_line(error)}): put back a whole "
            "copy"
        ) from None
    manifest = Manifest.read(path)
    if manifest is not None and state.get("run", manifest.run) != manifest.run:
        raise Damaged(f"{place} is another run's: put back this run's own")
    return state
