"""A configuration as JSON, and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, cast, get_args, get_origin

from ltm_pyro.config import Config, Fast
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.inference.released import LOOPS
from ltm_pyro.options import hints, shown, taken

T = TypeVar("T")


def _dataclass_of(annotation: Any) -> type | None:
    """The dataclass in a field's type, also in `Warm | None` and `tuple[Named, ...]`."""
    kinds = (annotation, *get_args(annotation))
    return next((k for k in kinds if isinstance(k, type) and dataclasses.is_dataclass(k)), None)


def to_dict(config: Config) -> dict[str, Any]:
    """A configuration as plain JSON types.

    Raises:
        InputError: if an optimizer was given as an object, which JSON cannot hold.
    """
    for part, optimizer in (("fast", config.fast.optimizer), ("slow", config.slow.optimizer)):
        if not isinstance(optimizer, str):
            raise InputError(
                f"{part}.optimizer is {optimizer!r}: a saved run needs the name of a torch.optim "
                "class, or 'package.module:callable'"
            )
    found = dataclasses.asdict(config)
    for name, loop in LOOPS.items():
        if type(config.fast) is loop:
            found["fast"]["protocol"] = name
    return found


def from_dict(kind: type[T], data: Mapping[str, Any], where: str = "config") -> T:
    """A dataclass from plain JSON types, the inverse of `to_dict`.

    Raises:
        InputError: for a field that is unknown or missing, or a value that is not of its kind,
            naming it.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where} is {shown(data)}: expected an object with named fields")
    data = dict(data)
    if kind is Fast and data.get("protocol") in LOOPS:
        kind = cast(type[T], LOOPS[data.pop("protocol")])
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in data:
        if name not in fields:
            raise unknown(f"field of {where}", name, fields)
    kinds = hints(kind)
    values = {name: _read(kinds[name], value, f"{where}.{name}") for name, value in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"{where}: {error}".replace("__init__() ", "")) from None
    except InputError as error:  # of values that do not go together
        raise InputError(f"{where}: {error}") from None


def _read(kind: Any, value: Any, where: str) -> Any:
    """The value of a field."""
    inner = _dataclass_of(kind)
    if inner is None:
        return taken(where, value, kind)
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{where} is {shown(value)}: expected a list")
        return tuple(from_dict(inner, one, f"{where}[{i}]") for i, one in enumerate(value))
    if value is None and type(None) in get_args(kind):
        return None
    return from_dict(inner, value, where)
