"""A word for what figures follow from, to tell whether what was kept is of the same."""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, str, bytes, type(None))


def fingerprint(*of: Any) -> str:
    """16 letters that change with anything that numbers follow from, and with nothing else.

    Of a module its class, structure, settings and weights; of a guide class its name, of a function
    or a `functools.partial` what it holds too; of rows their tokens, documents and columns. Where
    in memory a thing lies is left out, so that it is the same in every process.
    """
    digest = hashlib.sha256()
    for one in of:
        _add(digest, one, [])
    return digest.hexdigest()[:16]


def _add(digest: Any, value: Any, above: list[int]) -> None:
    if id(value) in above:  # it holds itself
        return
    above = [*above, id(value)]
    digest.update(type(value).__qualname__.encode())
    if isinstance(value, PLAIN):
        digest.update(repr(value).encode())
    elif isinstance(value, Tensor):
        held = value.detach().cpu().contiguous()
        digest.update(f"{held.dtype} {tuple(held.shape)}".encode())
        digest.update(held.view(torch.uint8).numpy().tobytes() if held.numel() else b"")
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype} {value.shape}".encode())
        if value.dtype.hasobject:  # whose bytes are addresses
            _add(digest, value.tolist(), above)
        else:
            digest.update(value.tobytes())
    elif isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        digest.update(f"{value.__module__}:{value.__qualname__}".encode())
        if hasattr(value, "__self__"):  # a method: what it is of
            _add(digest, value.__self__, above)
        if hasattr(value, "__code__"):  # a function, a lambda: the numbers in it
            _add(digest, _held(value), above)
    elif isinstance(value, functools.partial):
        for part in (value.func, value.args, value.keywords):
            _add(digest, part, above)
    elif isinstance(value, nn.Module):
        for name, weights in sorted(value.state_dict().items()):
            digest.update(name.encode())
            _add(digest, weights, above)
        for name, module in value.named_modules():
            settings = {n: v for n, v in vars(module).items() if n[:1] != "_" and n != "training"}
            digest.update(f"{name} {type(module).__qualname__}".encode())
            _add(digest, {n: v for n, v in settings.items() if _is_setting(v)}, above)
    elif isinstance(value, Mapping):
        digest.update(str(len(value)).encode())  # so that [[1], 2] is not [[1, 2]]
        for name in sorted(value, key=str):
            digest.update(str(name).encode())
            _add(digest, value[name], above)
    elif isinstance(value, list | tuple | set | frozenset):
        digest.update(str(len(value)).encode())
        for one in value if isinstance(value, list | tuple) else sorted(value, key=repr):
            _add(digest, one, above)
    elif dataclasses.is_dataclass(value):
        _add(digest, {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, above)
    elif hasattr(value, "__dict__"):
        _add(digest, {n: v for n, v in vars(value).items() if n[:1] != "_"}, above)
    else:
        digest.update(re.sub(r" at 0x[0-9a-f]+", "", repr(value)).encode())


def _held(function: Any) -> list[Any]:
    """What a function has from where it was made, its defaults and the plain values in its code."""
    return [
        [cell.cell_contents for cell in function.__closure__ or ()],
        function.__defaults__, function.__kwdefaults__,
        [one for one in function.__code__.co_consts if isinstance(one, PLAIN)],
    ]  # fmt: skip


def _is_setting(value: Any) -> bool:
    """Whether it is no module, and holds none: those have weights of their own."""
    if isinstance(value, PLAIN):
        return True
    if isinstance(value, list | tuple):
        return all(map(_is_setting, value))
    if isinstance(value, Mapping):
        return all(map(_is_setting, value.values()))
    return dataclasses.is_dataclass(value) and not isinstance(value, type)
