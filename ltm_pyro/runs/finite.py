"""What a run saves, or has loaded, is finite: a NaN would be met by every resume."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ltm_pyro.inference import DualRateSVI
from ltm_pyro.programs.elbo import weights_not_finite
from ltm_pyro.runs.callbacks import Baseline, Callback


def not_finite(svi: DualRateSVI, callbacks: Sequence[Callback]) -> str | None:
    """The first thing of a checkpoint that is not finite, in words; None if all is.

    Weights, what the slow optimizer holds of them and the memory of a warm start are to be finite;
    buffers and the states of other callbacks may hold infinities, but no NaN.
    """
    return next(_all(svi, callbacks), None)


def _all(svi: DualRateSVI, callbacks: Sequence[Callback]) -> Iterator[str]:
    yield from _training(svi)
    for callback in callbacks:
        if isinstance(callback, Baseline):
            yield from _training(callback.svi, "the baseline's ")
        else:
            yield from _nans(callback.state_dict(), f"the state of callback {callback.name}")
    row = None if svi.memory is None else svi.memory.not_finite()
    if row is not None:
        yield f"what the warm start remembers of row {row}"


def _training(svi: DualRateSVI, of: str = "") -> Iterator[str]:
    names = {id(p): name for name, p in svi.model.named_parameters()}
    yield from weights_not_finite(svi.model, of)
    if svi.shared is not None:
        names |= {id(p): f"guide.{name}" for name, p in svi.shared.named_parameters()}
        yield from weights_not_finite(svi.shared, of + "the guide's ")
    names |= {id(svi.slowly.held(p)): names.get(id(p), "?") for p in svi.slowly.parameters}
    for parameter, held in svi.optimizer.state.items():
        for key, value in held.items():
            if isinstance(value, Tensor) and not torch.isfinite(value).all():
                yield f"{of}{key} of the slow optimizer for {names.get(id(parameter), '?')}"


def _nans(state: Any, where: str) -> Iterator[str]:
    if isinstance(state, Tensor):
        if torch.isnan(state).any():
            yield where
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _nans(value, f"{where}: {key}")
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _nans(value, where)
