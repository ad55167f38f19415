"""What a run may do to whoever opens it: nothing that its reader has not asked for.

A run names classes and text. Code outside the library is imported, and text is read, only where
its user typed the name on that command line, said `--trust`, or is plainly the one whose it is: a
class that this process has imported already, a text that lies where the run left it.
"""

import inspect
import re
import shlex
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from ltm_pyro.config import Config, Data, Named
from ltm_pyro.errors import InputError, Notice
from ltm_pyro.files.storage import is_url
from ltm_pyro.guides import Guide
from ltm_pyro.models import TextModel
from ltm_pyro.models.decoders.base import Decoder
from ltm_pyro.models.priors import Prior
from ltm_pyro.names import imported, loaded
from ltm_pyro.runs.callbacks import Callback
from ltm_pyro.runs.record import place_of

KINDS = (TextModel, Prior, Guide, Decoder, Callback, Optimizer)
EMBEDDED = "python-docs"


def outside(config: Config) -> dict[str, str]:
    """The names of code outside the library in a configuration, and what each is there."""
    parts: dict[str, Any] = {
        "model": config.model,
        "decoder": config.decoder,
        "prior": config.prior,
        "guide": config.guide,
        "callback": config.callbacks,
        "fast optimizer": (config.fast.optimizer, config.fast.options),
        "slow optimizer": (config.slow.optimizer, config.slow.options),
    }
    found = {name: kind for kind, part in parts.items() for name in _texts(part) if ":" in name}
    return dict(sorted(found.items()))


def foreign(config: Config) -> dict[str, str]:
    """Those of `outside` that would have to be imported: no class that is here already."""
    return {name: kind for name, kind in outside(config).items() if not _is_here(name)}


def check_code(
    path: Path, config: Config, record: Mapping[str, Any], trust: bool, typed: Collection[str] = ()
) -> None:
    """Raises InputError if a run would import what is neither trusted nor `typed`.

    With `trust`, what will be imported is told first.
    """
    names = {name: kind for name, kind in foreign(config).items() if name not in typed}
    if not names:
        return
    sources = record.get("sources", {})
    told = ", ".join(f"{kind} {name}{_from(sources.get(name))}" for name, kind in names.items())
    origin = f"{path}, {_origin(record)}, names code outside ltm_pyro: {told}"
    if not trust:
        copies = [str(path / s["copy"]) for s in map(sources.get, names) if s and "copy" in s]
        read = f" (read {', '.join(copies)} first)" if copies else ""
        raise InputError(f"{origin}; it is imported, and so run, only with --trust{read}")
    warnings.warn(Notice(f"{origin}; it is imported now, as --trust says"), stacklevel=3)


def check_options(options: Iterable[str], path: str) -> None:
    """Raises InputError for a class in options that a file holds, which would have to be imported.

    Args:
        options: those of `ltm train`.
        path: the file.
    """
    for option in options:
        value = option.partition("=")[2] if option.startswith("--") else option
        if re.fullmatch(r"[^\W\d][\w.]*:[\w.]+", value) and not _is_here(value):
            raise InputError(
                f"{path} names code outside ltm_pyro: {value}; it is imported, and so run, only "
                "with --trust (read it first)"
            )


def explain(error: InputError, path: Path, record: Mapping[str, Any]) -> InputError:
    """An error of an import, with where the run had its code from and what to type."""
    for name, source in record.get("sources", {}).items():
        if repr(name) in str(error) and isinstance(source, Mapping) and "root" in source:
            return InputError(
                f"{error}; {path} had it from {source['file']}: go to {source['root']}, or type "
                f"PYTHONPATH={shlex.quote(str(source['root']))} before ltm"
                + (f" (a copy to read is {path / source['copy']})" if "copy" in source else "")
            )
    return error


def sources_of(config: Config) -> dict[str, tuple[dict[str, str], bytes]]:
    """Where each class outside the library comes from, and the text of its file, for a reader."""
    found = {}
    for name in outside(config):
        module = name.partition(":")[0]
        try:
            file = inspect.getsourcefile(imported(name)) or ""
            text = Path(file).read_bytes()
        except (InputError, TypeError, OSError):
            continue  # of a notebook, or compiled
        path = Path(file).resolve()
        root = path.parents[module.count(".") + (path.name == "__init__.py")]
        place = {"file": str(path), "root": str(root), "copy": f"source.{module}.py"}
        found[name] = (place, text)
    return found


def check_data(
    path: Path, data: Data, record: Mapping[str, Any], trust: bool, typed: Collection[str]
) -> None:
    """Raises InputError if a run would read, or ask the hub for, what its user did not name.

    Args:
        path: the run.
        data: what is to be read.
        record: the run's, with the place where its text lay.
        trust: whether its user trusts it.
        typed: options that stand on the command line: data, separator, tokenizer.
    """
    if trust or data.source == EMBEDDED or (is_own(data, record) and "data" not in typed):
        return
    if "data" not in typed:
        names = (data.source,) if isinstance(data.source, str) else data.source
        what = "which is no file here: a data set of the Hugging Face hub would be asked for it"
        if any(is_url(name) for name in names):
            what = "and that store would be asked for it"
        elif all(Path(name).exists() for name in names):
            what = "which is not the file that it was trained on here"
        raise InputError(
            f"{path}, {_origin(record)}, has its text from {', '.join(names)}, {what}: name the "
            f"text with --data, or say --trust to read that"
        )
    pattern = data.separator
    if pattern is not None and "separator" not in typed and set(pattern) & set("*+?{"):
        raise InputError(
            f"{path} splits text at the regular expression {pattern!r}, which may take for ever on "
            "other text: say --separator, or --trust to use that"
        )


def is_own(data: Data, record: Mapping[str, Any]) -> bool:
    """Whether a text is the file, or folder, that the run was trained on: there, and that one."""
    place = record.get("data", {}).get("place")
    return isinstance(place, Mapping) and place == place_of(data.source)


def _texts(part: Any) -> Iterator[str]:
    """Every text in a part of a configuration."""
    left = [part]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Named):
            left += [one.name, one.options]
        elif isinstance(one, Mapping):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one


def _is_here(name: str) -> bool:
    found = loaded(name)
    return inspect.isclass(found) and issubclass(found, KINDS)


def _from(source: Any) -> str:
    return f" (from {source['file']})" if isinstance(source, Mapping) and "file" in source else ""


def _origin(record: Mapping[str, Any]) -> str:
    command = record.get("command")
    by = shlex.join(map(str, command)) if isinstance(command, list) else "an unknown command"
    return f"begun {record.get('started', 'once')} by {by}"
