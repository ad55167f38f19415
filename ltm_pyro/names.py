"""Finding a prior, guide, decoder or optimizer by name, and naming one given as an object."""

import functools
import importlib
import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import torch

from ltm_pyro.config import Named
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.options import shown, take_arguments

GIVEN = (
    "thoughts", "architecture", "batch_size", "shared", "columns", "config", "prior", "decoder",
)  # fmt: skip
"""Arguments of what has a name that are no options: from the configuration, a batch, the data."""


def members(package: str, base: type) -> dict[str, type]:
    """The public classes below `base` in the files of a package, by their own names.

    A package shows them as its members, so that a new one is a new file and nothing else. Abstract
    ones are left out.
    """
    found: dict[str, type] = {}
    for file in pkgutil.iter_modules(sys.modules[package].__path__):
        module = importlib.import_module(f"{package}.{file.name}")
        for name, cls in vars(module).items():
            own = inspect.isclass(cls) and cls.__module__ == module.__name__
            if own and _is_member(cls, base) and not name.startswith("_"):
                found[name] = cls
    return found


def _is_member(cls: type, base: type) -> bool:
    return issubclass(cls, base) and cls is not base and not inspect.isabstract(cls)


def names(module: ModuleType, base: type) -> dict[str, type]:
    """The classes below `base` that a module shows, by name: StandardNormal is standard-normal."""
    return {
        kebab(cls.__name__): cls
        for cls in vars(module).values()
        if inspect.isclass(cls) and _is_member(cls, base)
    }


def find(kind: str, named: Named, module: ModuleType, base: type) -> "functools.partial[Any]":
    """The class a `Named` stands for, its options bound.

    Raises:
        InputError: for a name or option that is not known, a value that an option does not take by
            its annotation, or a path that cannot be imported.
    """
    if ":" in named.name:
        cls = imported(named.name)
        if not (inspect.isclass(cls) and issubclass(cls, base)):
            raise InputError(
                f"{kind} {named.name!r} is {shown(cls)}: expected a subclass of "
                f"{base.__module__}.{base.__name__}"
            )
    else:
        known = names(module, base)
        if named.name not in known:
            raise unknown(kind, named.name, known)
        cls = known[named.name]
    options = set(inspect.signature(cls.__init__).parameters) - {"self", *GIVEN}
    for option in named.options:
        if option not in options:
            raise unknown(f"option of {kind} {named.name}", option, options)
    given = take_arguments(cls.__init__, named.options, f"{kind}.")
    return functools.partial(cls, **given)


def name_of(cls: type, module: ModuleType, base: type) -> str:
    """The name `find` knows a class by."""
    known = names(module, base)
    name = kebab(cls.__name__)
    return name if known.get(name) is cls else f"{cls.__module__}:{cls.__qualname__}"


def describe(made: Any, module: ModuleType, base: type) -> Named:
    """A `Named` for an instance, a class, or a `functools.partial` of a class.

    An instance's options are read back from the attributes named like its constructor's
    arguments.
    """
    if isinstance(made, functools.partial):
        options = {k: v for k, v in made.keywords.items() if k not in GIVEN}
        return Named(name_of(made.func, module, base), options)  # type: ignore[arg-type]
    if inspect.isclass(made):
        return Named(name_of(made, module, base))
    cls = type(made)
    arguments = inspect.signature(cls.__init__).parameters
    options = {}
    for name in arguments:
        if name in ("self", *GIVEN):
            continue
        if not hasattr(made, name):
            raise InputError(
                f"{cls.__name__} takes {name!r} but does not keep it as an attribute of that "
                "name, so it cannot be saved"
            )
        options[name] = getattr(made, name)
    return Named(name_of(cls, module, base), options)


def imported(path: str) -> Any:
    """The object at `package.module:name`; on the command line also of the working folder."""
    module, _, name = path.partition(":")
    here = _from_here.get()
    if here:
        sys.path.append(here)
    try:
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"cannot import {path!r}: {error}") from None
    finally:
        if here:
            sys.path.remove(here)


def loaded(path: str) -> Any:
    """The object at `package.module:name` if this process has imported it already, else None."""
    module, _, name = path.partition(":")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found


_from_here: ContextVar[str | None] = ContextVar("from_here", default=None)


@contextmanager
def from_here() -> Iterator[None]:
    """A block in which names are looked for in the working folder too.

    The folder is on the path of modules only while a name is imported, so that nothing else is
    taken from there.
    """
    token = _from_here.set(os.getcwd())
    try:
        yield
    finally:
        _from_here.reset(token)


def new_optimizer(
    optimizer: Any,
    parameters: Any,
    lr: float,
    options: Mapping[str, Any],
    also: Mapping[str, Any] | None = None,
) -> torch.optim.Optimizer:
    """An optimizer from a torch.optim class name, a `module:callable`, or a callable itself.

    `also` are names that are known beside those of torch.optim.

    Raises:
        InputError: for a name that is not known, or options it does not take.
    """
    make = optimizer
    if isinstance(optimizer, str) and ":" in optimizer:
        make = imported(optimizer)
    elif isinstance(optimizer, str):
        known = _of_torch()
        if optimizer not in known:
            raise unknown("optimizer", optimizer, {**known, **(also or {})})
        make = known[optimizer]
    try:
        made: torch.optim.Optimizer = make(parameters, lr=lr, **options)
        if not isinstance(made, torch.optim.Optimizer):
            raise InputError(
                f"optimizer {_said(optimizer)} makes {shown(made)}: expected an optimizer of "
                "torch.optim"
            )
        closure = inspect.signature(made.step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:
            raise InputError(
                f"optimizer {_said(optimizer)} evaluates the loss itself, several times a step; "
                "with fresh noise that is another loss each time: choose one that takes one "
                "gradient"
            )
        return made
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError, LookupError, AssertionError) as error:
        told = f"optimizer {_said(optimizer)}: {error}".replace("__init__() ", "")
        raise InputError(told) from error


@functools.cache
def _of_torch() -> dict[str, type[torch.optim.Optimizer]]:
    """The optimizers of torch.optim, by name."""
    return {
        name: cls
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls)
        and issubclass(cls, torch.optim.Optimizer)
        and cls is not torch.optim.Optimizer
    }


def _said(optimizer: Any) -> str:
    return optimizer if isinstance(optimizer, str) else shown(optimizer)


def kebab(name: str) -> str:
    """The name of a class on the command line: StandardNormal is standard-normal."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
