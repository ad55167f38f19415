"""What a prior or a guide draws thoughts from, checked; and the parameters that a module lost."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from ltm_pyro.errors import InputError
from ltm_pyro.options import shown
from ltm_pyro.programs.support import flat, is_real, support_of


def over_thoughts(owner: Any, made: Any, batch: tuple[int, ...]) -> Any:
    """What `owner.distribution()` gave, if it is one over thoughts of the owner's shape.

    Args:
        owner: a prior or a guide.
        made: a Pyro distribution.
        batch: the batch shape it is to have.

    Raises:
        InputError: for a distribution of torch alone, or one of another shape.
    """
    name, event = f"{type(owner).__name__}.distribution()", owner.thoughts.shape
    of_torch = isinstance(made, torch.distributions.Distribution)
    if not callable(made) or (of_torch and not isinstance(made, TorchDistributionMixin)):
        raise InputError(
            f"{name} gives {shown(made)}{' of torch.distributions' if of_torch else ''}: expected "
            "one of pyro.distributions, which have the same names"
        )
    found = tuple(getattr(made, "batch_shape", batch)), tuple(getattr(made, "event_shape", event))
    angles = (*event[:-1], event[-1] // 2)
    if (
        of_torch
        and found[0] == batch
        and (found[1] == angles or not is_real(flat(support_of(made))))
    ):
        return made  # carried to the reals: `Prior.sample` looks at their shape
    if found != (batch, event):
        raise InputError(
            f"{name} has batch shape {found[0]} and event shape {found[1]}: expected {batch} and "
            f"{event}, that is (layers, slots, dim); .expand(shape) and .to_event(3) make them"
        )
    return made


def loose_parameters(module: nn.Module) -> list[str]:
    """Names of attributes with parameters that `module.parameters()` does not have.

    They stand in a plain list or dict, or are plain tensors that want a gradient. What stands in a
    tuple under a private name is taken to be left out on purpose.
    """
    known = {id(parameter) for parameter in module.parameters()}
    found = []
    for place, part in module.named_modules():
        for name, value in vars(part).items():
            on_purpose = name.startswith("_") and isinstance(value, tuple)
            if name in ("_parameters", "_buffers", "_modules") or on_purpose:
                continue
            if any(id(parameter) not in known for parameter in _parameters(value)):
                found.append(f"{place}.{name}".lstrip("."))
    return found


def check_registered(module: nn.Module) -> None:
    """Raises InputError for parameters that would be neither trained, nor saved, nor moved."""
    if loose := loose_parameters(module):
        raise InputError(
            f"{type(module).__name__} keeps parameters where torch does not see them, in "
            f"{', '.join(loose)}: they would be neither trained, nor saved, nor moved to a device; "
            "keep them as torch.nn.Parameter, ParameterList, ParameterDict or ModuleList"
        )


def _parameters(value: Any, depth: int = 3) -> Iterator[Tensor]:
    """Parameters, and leaves that want a gradient, in a value that is no module's own."""
    if isinstance(value, Tensor):
        if value.requires_grad and value.is_leaf:
            yield value
    elif isinstance(value, nn.Module):
        yield from (p for p in value.parameters() if p.requires_grad)
    elif depth and isinstance(value, list | tuple | set | Mapping):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _parameters(one, depth - 1)
