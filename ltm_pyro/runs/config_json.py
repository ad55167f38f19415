"""A configuration as JSON, and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, cast, get_args, get_origin

from ltm_pyro.config import Config, Fast
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.inference.released import Released

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
    if isinstance(config.fast, Released):
        found["fast"]["protocol"] = "released"
    return found


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
        if kind is Fast and (name, value) == ("protocol", "released"):
            kind = cast(type[T], Released)
            continue
        if name not in fields:
            raise unknown(f"field of {where}", name, fields)
        annotation = fields[name].type
        inner, several = _dataclass_of(annotation), get_origin(annotation) is tuple
        if several and inner is not None:
            values[name] = tuple(from_dict(inner, one, f"{where}.{name}") for one in value)
        elif inner is not None and value is not None:
            values[name] = from_dict(inner, value, f"{where}.{name}")
        else:
            values[name] = tuple(value) if several else value
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"{where}: {error}".replace("__init__() ", "")) from None
