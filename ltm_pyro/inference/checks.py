"""What is asked of a model and a guide before anything is fitted, so that mistakes are named."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn

from ltm_pyro.config import Objective, Slow, Warm
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Guide
from ltm_pyro.guides.auto import Auto
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import shown
from ltm_pyro.programs.thoughts import check_registered

F = TypeVar("F", bound=Callable[..., Any])


def check_model(model: nn.Module) -> None:
    """Raises InputError for a model that cannot be fitted or trained as it is."""
    check_registered(model)
    parameters = list(model.parameters())
    if any(parameter.is_inference() for parameter in parameters):
        raise InputError(
            f"the {type(model).__name__} was made inside torch.inference_mode, so its parameters "
            "never take part in a gradient: make it outside"
        )
    for name, parameter in model.named_parameters():
        if parameter.dtype in (torch.float16, torch.bfloat16):
            raise InputError(
                f"parameter {name} is {parameter.dtype}: log-probabilities need fp32 weights; "
                "leave the model as it is, and ask for Fast(precision='bf16') and the like"
            )


def check_importance(slow: Slow, objective: Objective, warm: Warm | None) -> None:
    """Raises InputError for an importance-weighted slow step beside what it has no meaning for."""
    if slow.importance == 1:
        return
    beside = "objective.free_bits" if objective.free_bits else "warm.lr" if warm and warm.lr else ""
    if beside:
        raise InputError(
            f"slow.importance is {slow.importance}, and {beside} is set: an importance-weighted "
            "bound has no KL that could be free, and its draws move the weights alone; leave one "
            "of the two out"
        )


def guide_of(make: Any, model: Any, documents: int) -> Guide:
    """A guide of some documents, from what the user gave as `guide`.

    An AutoGuide class of Pyro stands for `Auto`, which makes one for each document.

    Raises:
        InputError: for what does not make one.
    """
    factory: Any = functools.partial(Auto, guide=_path(make)) if _is_auto(make) else make
    if isinstance(make, AutoGuide):
        name = type(make).__name__
        raise InputError(
            f"guide is an {name} object, one for all that its model samples: give the class, "
            f"guide={name}, and each document of a batch has one (ltm_pyro.guides.Auto)"
        )
    if isinstance(make, Guide):
        name = type(make).__name__
        raise InputError(
            f"guide is a {name} object, made for {make.batch_size} documents: give the class, "
            f"guide={name}, or functools.partial({name}, ...) with its options; each batch has one"
        )
    other = inspect.isclass(factory) and not issubclass(factory, Guide)
    if not callable(factory) or other or not _takes_two(factory):
        raise InputError(
            f"guide is {shown(make)}: expected a class below ltm_pyro.guides.Guide, or a callable "
            "from (thoughts, batch_size) to such a guide; docs/how_to/writing_a_guide.md shows how "
            "one stands for a guide function"
        )
    made = factory(getattr(model, "thoughts", None), documents)
    if not isinstance(made, Guide):
        raise InputError(
            f"guide {shown(make)} makes {shown(made)}: expected an object of a class below "
            "ltm_pyro.guides.Guide"
        )
    check_registered(made)
    if made.shared is not None:
        check_model(made.shared)
    return made


def _is_auto(make: Any) -> bool:
    return inspect.isclass(make) and issubclass(make, AutoGuide)


def _path(cls: type) -> str:
    """The name that `Auto` knows a class by."""
    own = cls.__module__.startswith("pyro.infer.autoguide")
    return cls.__name__ if own else f"{cls.__module__}:{cls.__qualname__}"


def _takes_two(make: Any) -> bool:
    try:
        inspect.signature(make).bind(None, 0)
    except TypeError:
        return False
    except ValueError:  # of a builtin
        return True
    return True


def with_gradients(function: F) -> F:
    """A function that may fit something, though it be called inside torch.inference_mode.

    What was made there never takes part in a gradient, so rows are copied.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            args = tuple(map(_ordinary, args))
            return function(*args, **{name: _ordinary(value) for name, value in kwargs.items()})

    return call  # type: ignore[return-value]


def _ordinary(value: Any) -> Any:
    """Rows or a tensor that autograd may keep."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if isinstance(value, Mapping):
        return {name: _ordinary(one) for name, one in value.items()}
    if isinstance(value, Rows):
        names = [field.name for field in dataclasses.fields(value)]
        return type(value)(**{name: _ordinary(getattr(value, name)) for name in names})
    return value


def check_step(model: TextModel, trained: Iterable[nn.Parameter], batch: Rows) -> None:
    """Raises InputError where an iteration would train nothing."""
    if not len(batch):
        raise InputError("the batch has no rows: a step needs one at least")
    if not any(parameter.requires_grad for parameter in trained):
        raise InputError(
            f"every parameter of the {type(model).__name__} is frozen, so there is nothing to "
            "train: call requires_grad_(True) on what is to learn, or fit thoughts alone with "
            "svi.infer(rows)"
        )
