"""Values checked against their annotations: fields of configurations, options of parts, arguments.

`components: Count = 8` is all that is declared; what a user gives is then a whole number, 1 or
more, or an `InputError` says what it is and what was expected. A whole number will do where a real
one is wanted; True and False are no numbers, a text is neither, and no number is NaN or infinite.
"""

import dataclasses
import functools
import inspect
import math
import numbers
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from ltm_pyro.errors import InputError, unknown

Count = Annotated[int, Ge(1)]
Whole = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Gt(0), Le(1)]
Share = Annotated[float, Gt(0), Lt(1)]

LARGEST = 2**63
"""Whole numbers lie below: those of tensors do."""
RANGES: dict[type, tuple[Callable[[Any, Any], bool], str]] = {
    Ge: (lambda value, limit: value >= limit.ge, "{0.ge:,} or more"),
    Gt: (lambda value, limit: value > limit.gt, "more than {0.gt:,}"),
    Le: (lambda value, limit: value <= limit.le, "at most {0.le:,}"),
    Lt: (lambda value, limit: value < limit.lt, "less than {0.lt:,}"),
    MultipleOf: (lambda value, of: value % of.multiple_of == 0, "a multiple of {0.multiple_of}"),
}
"""What may stand in `Annotated`: whether a value keeps to it, and how it is said."""

F = TypeVar("F", bound=Callable[..., Any])


class _Unfit(Exception):
    """A value is not of its kind; the message, if any, says what was expected."""


def taken(name: str, value: Any, kind: Any) -> Any:
    """The value as its kind has it: lists are tuples, numbers of numpy are Python's.

    Args:
        name: what the user knows it by, such as "fast.steps".
        kind: an annotation. Of those that are not known here the class is checked, if it has one.

    Raises:
        InputError: if the value is of another kind, or out of its range.
    """
    try:
        return _fit(name, value, kind)
    except _Unfit as unfit:
        words = str(unfit) or expected(kind)
        raise InputError(f"{name} is {shown(value)}: expected {words}") from None


def take_fields(of: Any, prefix: str | None = None) -> None:
    """Check the fields of a dataclass; called in `__post_init__`.

    Raises:
        InputError: for a value of another kind, or out of its range; it is named `prefix` + field,
            with the class for a prefix unless one is given: `fast.steps`.
    """
    start = f"{type(of).__name__.lower()}." if prefix is None else prefix
    given = {field.name: getattr(of, field.name) for field in dataclasses.fields(of)}
    for name, value in take_arguments(type(of), given, start).items():
        object.__setattr__(of, name, value)


def take_arguments(
    function: Callable[..., Any], given: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """Arguments of a function or a class, checked by its annotations.

    Raises:
        InputError: for a value of another kind, or out of its range; it is named `prefix` + name.
    """
    kinds = hints(function)
    return {
        name: taken(prefix + name, value, kinds[name]) if name in kinds else value
        for name, value in given.items()
    }


def checked(function: F) -> F:
    """A function, or a constructor, whose arguments are checked against their annotations."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.arguments.update(take_arguments(function, bound.arguments))
        return function(*bound.args, **bound.kwargs)

    return typing.cast(F, call)


def hints(of: Any) -> dict[str, Any]:
    """Annotations of a dataclass's fields, or of a function's named arguments.

    Those that cannot be resolved, which a user's may be, are left out.
    """
    return _hints(of)


@functools.cache
def _hints(of: Any) -> dict[str, Any]:
    if inspect.isclass(of):
        return typing.get_type_hints(of, include_extras=True)
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = {}
    for name, parameter in inspect.signature(of).parameters.items():
        kind = parameter.annotation
        if kind is parameter.empty or parameter.kind in several:
            continue
        if isinstance(kind, str):
            try:
                kind = eval(kind, inspect.unwrap(of).__globals__)
            except (NameError, TypeError, AttributeError, SyntaxError):
                continue
        found[name] = kind
    return found


def shown(value: Any) -> str:
    """A value for a message: short, in one line."""
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    if not isinstance(value, str | bytes | int | float | complex | Collection | types.NoneType):
        return f"a {type(value).__name__}"
    if hasattr(value, "shape") or hasattr(value, "parameters"):
        return f"a {type(value).__name__}"
    try:
        text = repr(value)
    except Exception:  # a number of thousands of digits, a list within itself, a class of a user's
        return f"a {type(value).__name__}, too long to show"
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text):,} characters)"


BY_ELEMENT = ("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop",
              "Rprop", "SGD")  # fmt: skip
"""Optimizers of torch whose step of an element needs no other."""


def check_optimizer(name: str, given: Any, sharded: bool = False) -> None:
    """Raises InputError for what makes no torch optimizer, or none that can be shared out."""
    of_pyro = getattr(given, "__module__", type(given).__module__).partition(".")[0] == "pyro"
    of_torch = getattr(given, "__module__", "").startswith("torch.optim.")
    if sharded and (given.__name__ if of_torch else given) not in BY_ELEMENT:
        raise InputError(
            f"slow.sharded gives each process a part of every matrix, and {shown(given)} may need "
            f"whole ones: choose one of {', '.join(BY_ELEMENT)}, or leave slow.sharded out"
        )
    if isinstance(given, str) or (callable(given) and not of_pyro):
        return
    raise InputError(
        f"{name} is {shown(given)}{' of pyro.optim' if of_pyro else ''}: expected the name of a "
        "class of torch.optim, such as 'Adam', 'package.module:callable', or a callable from "
        "parameters and lr to a torch.optim optimizer"
    )


def expected(kind: Any) -> str:
    """What a value of this kind is, in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        ranges = [RANGES[type(m)][1].format(m) for m in inner[1:] if type(m) in RANGES]
        return ", ".join([expected(inner[0])] + [" and ".join(ranges)] * bool(ranges))
    if origin in (Union, types.UnionType):
        return ", or ".join(map(expected, inner))
    if origin is Literal:
        return "one of " + ", ".join(map(repr, inner))
    if isinstance(origin, type) and issubclass(origin, Sequence):  # tuples too
        return f"a list, each {expected(inner[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"values by their names, each {expected(inner[1])}"
    plain = {
        bool: "True or False", int: "a whole number", float: "a finite number",
        str: "text", Path: "a path", types.NoneType: "None", Any: "anything",
    }  # fmt: skip
    name = getattr(origin or kind, "__name__", str(kind))
    return str(plain.get(kind) or getattr(kind, "EXPECTED", name))


def _fit(name: str, value: Any, kind: Any) -> Any:
    """See `taken`; raises _Unfit where the value itself is wrong, InputError for a part of it."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = _fit(name, value, inner[0])
        for limit in inner[1:]:
            if type(limit) in RANGES and not RANGES[type(limit)][0](value, limit):
                raise _Unfit
        return value
    if origin in (Union, types.UnionType):
        if Path in inner and isinstance(value, str | Path) and "\0" in str(value):
            raise InputError(f"{name} is {shown(value)}: a path cannot hold a null character")
        return _one_of_kinds(name, value, inner)
    if origin is Literal:
        if not isinstance(value, str):
            raise _Unfit
        if value not in inner:
            raise unknown(name, value, inner)
        return inner[inner.index(value)]
    if origin is tuple:
        others = str | bytes | Mapping | Set  # a set has no order of its own
        if not isinstance(value, Collection) or isinstance(value, others):
            raise _Unfit
        return tuple(taken(f"{name}[{i}]", one, inner[0]) for i, one in enumerate(value))
    if origin is Sequence:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise _Unfit
        return [taken(f"{name}[{i}]", one, inner[0]) for i, one in enumerate(value)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _Unfit
        return {
            taken(f"a name in {name}", key, inner[0]): taken(f"{name}.{key}", one, inner[1])
            for key, one in value.items()
        }
    if kind in (bool, int, float, str):
        return _plain(value, kind)
    cls = origin or (types.NoneType if kind is None else kind)
    if inspect.isclass(cls) and not _is_a(value, cls):
        raise _Unfit
    return value


def _is_a(value: Any, cls: Any) -> bool:
    try:
        return isinstance(value, cls)
    except TypeError:  # Any, or a protocol
        return True


def _one_of_kinds(name: str, value: Any, kinds: tuple[Any, ...]) -> Any:
    """The value as the first of the kinds that it is."""
    told: InputError | None = None
    for kind in kinds:
        try:
            return _fit(name, value, kind)
        except _Unfit:
            continue
        except InputError as error:  # right but for a part
            told = error
    raise told or _Unfit


def _plain(value: Any, kind: type) -> Any:
    """A bool, int, float or str."""
    if kind in (bool, str):
        if type(value).__module__ == "numpy" and hasattr(value, "item"):
            value = value.item()
        if not isinstance(value, kind):
            raise _Unfit
        return value
    known = numbers.Integral if kind is int else numbers.Real
    if not isinstance(value, known) or isinstance(value, bool):
        raise _Unfit
    if isinstance(value, numbers.Integral):
        value = int(value)
        if kind is int and not -LARGEST <= value < LARGEST:
            raise _Unfit("a whole number of at most 64 bits, less than 2^63")
        if kind is float and abs(value) > sys.float_info.max:
            raise _Unfit
        if kind is float and not -LARGEST <= value < LARGEST:  # which torch cannot convert
            value = float(value)
    else:
        try:
            value = float(value)
        except OverflowError:  # a fraction
            raise _Unfit from None
        if not math.isfinite(value):
            raise _Unfit
    return value


def names_of(name: str, given: Any) -> tuple[str, ...]:
    """Names given as one, or as several."""
    found: tuple[str, ...] = taken(name, (given,) if isinstance(given, str) else given, Names)
    return found


Names = tuple[str, ...]
