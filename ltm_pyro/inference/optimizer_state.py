"""The state of an optimizer, from a file: checked before it is loaded.

`torch.optim` takes over whatever it is given, and fused kernels read it by the parameter's size:
one number in place of a matrix is read past its end.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ltm_pyro.errors import InputError


def check_optimizer_state(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Raises InputError for a state that this optimizer could not have after a step.

    Shapes, types and strides are those that a copy of the optimizer has after a step of nothing,
    so for that moment it takes its memory twice.
    """
    try:
        expected = _after_a_step(optimizer)
    except Exception:  # one of a user's own, which cannot be copied: it reads its state itself
        return
    if not isinstance(state, Mapping) or not {"state", "param_groups"} <= set(state):
        raise InputError("the optimizer's state has other parts")
    groups, known = state["param_groups"], expected["param_groups"]
    if not isinstance(groups, list) or [_places(g) for g in groups] != [_places(g) for g in known]:
        raise InputError("the optimizer's state has other groups of parameters")
    for group, own in zip(groups, known, strict=True):
        wrong = [n for n in set(group) & set(own) if not _as_option(group[n], own[n])]
        if wrong:
            raise InputError(f"the optimizer's state has other options: {', '.join(sorted(wrong))}")
    held = state["state"]
    if not isinstance(held, Mapping) or not set(held) <= set(expected["state"]):
        raise InputError("the optimizer's state is of other parameters")
    for place, values in held.items():
        wrong = _difference(values, expected["state"][place])
        if wrong:
            raise InputError(f"the optimizer's {', '.join(wrong)} of parameter {place} is damaged")


def take_weights(module: torch.nn.Module, weights: Mapping[str, Any]) -> None:
    """Load weights from a file: those of this module, shape for shape.

    Raises:
        InputError: for names that are missing or too many, or what is no such tensor, which torch
            may copy past its end.
    """
    wrong = _difference(weights, module.state_dict())
    if wrong:
        raise InputError(f"{', '.join(wrong[:3])} of its weights are missing or of another kind")
    module.load_state_dict(dict(weights))


def _places(group: Any) -> Any:
    return group.get("params") if isinstance(group, Mapping) else None


def _after_a_step(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    twin = copy.deepcopy(optimizer)
    for group in twin.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    with torch.random.fork_rng():
        twin.step()
    return twin.state_dict()


def _difference(given: Any, known: Mapping[str, Any]) -> list[str]:
    """The names of what is missing, too much or of another kind than what is known."""
    if not isinstance(given, Mapping):
        return ["state"]
    both = set(given) & set(known)
    return sorted({str(n) for n in set(given) ^ set(known)}) + sorted(
        str(n) for n in both if not _alike(given[n], known[n])
    )


def _as_option(given: Any, known: Any) -> bool:
    """Switches say which kernel reads the state (`fused`, `amsgrad`): they are this optimizer's."""
    switch = isinstance(known, bool | None)
    return given is known if switch else _alike(given, known)


def _alike(given: Any, known: Any) -> bool:
    """Whether two values are of one kind; tensors also of one shape, type and stride."""
    if isinstance(known, Tensor):
        return (
            isinstance(given, Tensor)
            and given.layout == known.layout
            and given.device.type != "meta"
            and (given.shape, given.dtype) == (known.shape, known.dtype)
            and given.stride() == known.stride()
        )
    for kinds in ((bool, type(None)), (int, float), (list, tuple)):
        if isinstance(known, kinds):
            return isinstance(given, kinds)
    return isinstance(given, type(known))
