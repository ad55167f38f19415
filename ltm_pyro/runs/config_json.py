"""A configuration as JSON, and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from ltm_pyro.config import Config
from ltm_pyro.errors import InputError, unknown

T = TypeVar("T")


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
    return dataclasses.asdict(config)


def from_dict(kind: type[T], data: Mapping[str, Any], where: str = "config") -> T:
    """A dataclass from plain JSON types, the inverse of `to_dict`.

    Raises:
        InputError: for a field that is unknown or missing, naming it.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where} is {data!r}: expected an object with named fields")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in data.items():
        if name not in fields:
            raise unknown(f"field of {where}", name, fields)
        inner = fields[name].type
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            values[name] = from_dict(inner, value, f"{where}.{name}")
        else:
            values[name] = tuple(value) if name == "fields" else value
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"{where}: {error}".replace("__init__() ", "")) from None
