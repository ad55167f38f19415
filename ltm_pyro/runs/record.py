"""The record of a run, its `config.json`: its configuration, and where it came from."""

import contextlib
import dataclasses
import json
import platform
import sys
import uuid
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyro
import tokenizers
import torch

from ltm_pyro import __version__, files
from ltm_pyro.config import Config
from ltm_pyro.data import Corpus
from ltm_pyro.errors import Damaged, InputError, Notice, first_line
from ltm_pyro.options import Count, Whole, shown, taken
from ltm_pyro.runs.config_json import from_dict, to_dict
from ltm_pyro.runs.manifest import MANIFEST, Manifest, seal_command

FORMAT, UNSEALED = 4, 3
"""The format that is written, and the one before, which has no manifest and is still read."""
CONFIG = "config.json"
MOST_BYTES, MOST_DEEP = 1 << 28, 64
"""A configuration has fewer bytes, and is nested less deep."""

SPLIT = {"rows": Whole, "tokens": Whole, "bytes": Whole}
RECORD: dict[str, Any] = {
    "versions": Mapping[str, str],
    "data": {
        "source": str | tuple[str, ...],
        "fingerprint": str,
        "splits": {"train": {**SPLIT, "rows": Count}, "valid": SPLIT, "test": SPLIT},
    },
    "resumed": tuple[Mapping[str, Any], ...],
}
"""What a run's record holds beside its configuration, and of which kind."""
LESS: dict[str, Any] = {
    "command": tuple[str, ...], "started": str, "of": Whole, "threads": Whole, "processes": Count
}  # fmt: skip
"""What it may hold."""
SOURCE = {"file": str, "root": str, "copy": str}
"""Where a class outside the library came from."""
RESUMED: dict[str, Any] = {"step": Whole, "of": Whole, "at": str}


def begun(config: Config, corpus: Corpus, about: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run that begins, with facts `about` it."""
    return {
        **about,
        "format": FORMAT,
        "id": uuid.uuid4().hex,
        "versions": versions(),
        "command": sys.argv,
        "threads": torch.get_num_threads(),
        "seed": config.training.seed,
        "of": config.training.steps,
        "started": _now(),
        "data": {
            "source": corpus.source or corpus.name,
            "place": place_of(corpus.source or corpus.name),
            "fingerprint": corpus.fingerprint,
            "splits": {
                split: {
                    "rows": len(rows),
                    "tokens": rows.token_count,
                    "bytes": int(rows.bytes.sum()),
                }
                for split in ("train", "valid", "test")
                for rows in (corpus.rows(split),)
            },
        },
        "config": to_dict(config),
        "resumed": [],
    }


def resumed(
    record: Mapping[str, Any], config: Config, step: int, run: str, processes: int = 1
) -> dict[str, Any]:
    """The record of a run that goes on from a step, under a configuration."""
    entry = {
        "step": step,
        "of": config.training.steps,
        "command": sys.argv,
        "at": _now(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "processes": processes,
    }
    source = config.data.source
    return {
        **record,
        "format": FORMAT,
        "id": run,
        "data": {**record["data"], "source": source, "place": place_of(source)},
        "resumed": [*record["resumed"], entry],
        "config": to_dict(config),
    }


def rendered(record: Mapping[str, Any]) -> bytes:
    """A record as its file holds it."""
    return (json.dumps(record, indent=2) + "\n").encode()


def versions() -> dict[str, str]:
    """What a run's numbers may depend on, besides its configuration and its text."""
    return {
        "ltm_pyro": __version__,
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "tokenizers": tokenizers.__version__,
        "python": platform.python_version(),
    }


def read_config(path: Path) -> tuple[Config, dict[str, Any]]:
    """The configuration of a run's folder, and what else its config.json holds."""
    place = path / CONFIG
    if not place.exists():
        why = f"it has no {CONFIG}" if path.is_dir() else "there is no such folder"
        raise InputError(f"{path} is not a run: {why}; ltm train --out makes one")
    return _read(place)


def config_from(path: Path) -> tuple[Config, dict[str, Any] | None]:
    """The configuration in a file: a run's config.json, with its record, or a plain one."""
    if path.is_dir():
        files.check_plain(path)
        path = path / CONFIG
    if not path.exists():
        raise InputError(f"no configuration at {path}: expected the {CONFIG} of a run")
    content = read_json(path)
    if "format" not in content:
        return from_dict(Config, content, str(path)), None
    if (path.parent / MANIFEST).exists():
        return _read(path)
    return _parse(content, path)


def place_of(source: str | tuple[str, ...]) -> dict[str, Any] | None:
    """Where a file or folder of text lies, and which it is; None for what is neither.

    Of several, lists.
    """
    if not isinstance(source, str):
        places = [place_of(one) for one in source]
        found = [place for place in places if place is not None]
        together = {name: [place[name] for place in found] for name in ("path", "inode")}
        return together if found and len(found) == len(places) else None
    path = Path(source).expanduser()
    try:
        return {"path": str(path.resolve()), "inode": path.stat().st_ino}
    except (OSError, ValueError, RuntimeError):
        return None


def check_record(record: Mapping[str, Any], where: str) -> None:
    """Raises InputError for a part of a run's record that is missing or of another kind."""
    check_parts(record, RECORD, where)
    check_parts(record, {name: kind for name, kind in LESS.items() if name in record}, where)
    for name, one in record["data"]["splits"].items():
        check_parts(one, SPLIT, f"{where}.data.splits.{name}")
    taken(f"{where}.versions.ltm_pyro", record["versions"].get("ltm_pyro"), str)
    for name, one in taken(
        f"{where}.sources", record.get("sources", {}), Mapping[str, Any]
    ).items():
        check_parts(one, SOURCE, f"{where}.sources.{name}")
    for i, one in enumerate(record["resumed"]):
        check_parts(one, RESUMED, f"{where}.resumed[{i}]")


def check_parts(given: Any, kinds: Mapping[str, Any], where: str) -> None:
    """Raises InputError for a part that is missing, or of another kind than it is to be."""
    taken(where, given, Mapping[str, Any])
    for name, kind in kinds.items():
        if name not in given:
            raise InputError(f"{where} has no {name!r}: put back a whole copy")
        if isinstance(kind, dict):
            check_parts(given[name], kind, f"{where}.{name}")
        else:
            taken(f"{where}.{name}", given[name], kind)


def _read(place: Path) -> tuple[Config, dict[str, Any]]:
    """What a run's config.json holds, checked against the manifest beside it."""
    files.check_plain(place.parent)
    content: dict[str, Any] = {}
    try:
        manifest = Manifest.read(place.parent)
        if manifest is not None:
            manifest.check(place.name)
    except Damaged:
        with contextlib.suppress(InputError):
            content = read_json(place)
        if _later(content.get("format")):  # whose manifest may be another as well
            _parse(content, place)
        raise
    content = read_json(place)
    if manifest is None and content.get("format") == FORMAT:
        raise Damaged(
            f"{place.parent} has no {MANIFEST}, so its files cannot be checked: put it back, or "
            f"seal them as they are with {seal_command(place.parent)}"
        )
    if manifest is None and content.get("format") == UNSEALED:
        told = f"{place.parent} was written before runs had a {MANIFEST}: its files are not checked"
        warnings.warn(Notice(told), stacklevel=3)
    if manifest is not None and content.get("id", manifest.run) != manifest.run:
        raise Damaged(f"{place} and {MANIFEST} are of two runs: put back this run's own")
    return _parse(content, place)


def _later(written: Any) -> bool:
    return isinstance(written, int) and written > FORMAT


def _parse(record: dict[str, Any], place: Path) -> tuple[Config, dict[str, Any]]:
    written, told = record.get("format"), record.get("versions")
    if written is None:
        raise InputError(f"{place} is damaged: it is not a run's configuration (no format)")
    if written not in (FORMAT, UNSEALED):
        by = told.get("ltm_pyro") if isinstance(told, dict) else None
        later = _later(written)
        raise InputError(
            f"{place} was written in format {written}; this version of ltm_pyro ({__version__}) "
            f"reads formats {UNSEALED} and {FORMAT}: {'upgrade to' if later else 'load it with'} "
            f"{by or ('a later one' if later else 'an earlier one')}"
        )
    for part in ("config", "data", "versions", "resumed"):
        if part not in record:
            raise InputError(f"{place} is damaged: it has no {part!r}; put back a whole copy")
    check_record(record, str(place))
    return _located(from_dict(Config, record.pop("config"), str(place)), record), record


def _located(config: Config, record: Mapping[str, Any]) -> Config:
    """The configuration with the absolute path of its text, where the given one leads elsewhere."""
    data = record["data"] if isinstance(record["data"], Mapping) else {}
    place, source, before = data.get("place"), config.data.source, data.get("source")
    before = tuple(before) if isinstance(before, list) else before
    if not isinstance(place, Mapping) or before != source or place_of(source) == place:
        return config
    path = place.get("path")
    there = tuple(map(str, path)) if isinstance(path, list) else str(path)
    if place_of(there) != place:
        return config
    return config.replace(data=dataclasses.replace(config.data, source=there))


def read_json(place: Path) -> dict[str, Any]:
    """A JSON object in a file.

    Raises:
        InputError: if it is none, or too large or nested too deeply to be one of ours.
    """
    try:
        if place.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        content = json.loads(place.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"it holds {shown(content)}")
        if _depth(content) > MOST_DEEP:
            raise ValueError(f"it is nested more than {MOST_DEEP} deep")
        return content
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{place} is damaged: expected a JSON object ({first_line(error)}); put back a whole "
            "copy"
        ) from None


def _depth(content: Any) -> int:
    """How deep a JSON value is nested, as far as it matters."""
    level, depth = [content], 0
    while level and depth <= MOST_DEEP:
        parts = (list(one.values()) if isinstance(one, dict) else one for one in level)
        level = [part for one in parts if isinstance(one, list) for part in one]
        depth += 1
    return depth


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
