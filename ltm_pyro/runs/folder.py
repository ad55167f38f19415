"""A run's folder: which files it has, and the record of where it came from.

::

    RUN/manifest.json        the run's id, and size and SHA-256 of each of the files
        config.json          format, versions, command, data, configuration, resumes
        tokenizer.json       text to ids
        seen.npy             a number for each document that is trained on, from its text
        trainer.pt           everything a resumed run needs, in one file (tensors and plain types)
        trainer.previous.pt  the same, of the checkpoint before
        model.safetensors    the weights; those of a baseline beside them, named `baseline.*`
        best.safetensors     the same, of the look with the lowest held-out bound
        log.jsonl            a line for each iteration, with what a look at held-out text saw
        memory.npy           local parameters of each document, where the warm start is on, as they
                             were at the checkpoint before
        memory.staged.npz    those that the last checkpoint changed
        .lock                held by the process that trains

Every file but the log is written beside its place and moved there, so a crash leaves the old one
or the new; see `manifest`. `trainer.pt` is moved first and holds the weights too: whatever a crash
leaves behind it, a resumed run writes anew.
"""

import contextlib
import dataclasses
import json
import platform
import shlex
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
from ltm_pyro.inference.memory import ARRAY, STAGED
from ltm_pyro.runs.config_json import check_record, from_dict, to_dict
from ltm_pyro.runs.lock import LOCK
from ltm_pyro.runs.manifest import LOG, MANIFEST, Manifest, seal_command
from ltm_pyro.runs.seen import SEEN, kept

FORMAT, UNSEALED = 4, 3
"""The format that is written, and the one before, which has no manifest and is still read."""
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
TRAINER, PREVIOUS = "trainer.pt", "trainer.previous.pt"
MODEL, BEST = "model.safetensors", "best.safetensors"
MEMORY = (ARRAY, STAGED)
MOST_BYTES, MOST_DEEP = 1 << 28, 64
"""A configuration has fewer bytes, and is nested less deep."""
BASELINE, SHARED = "baseline.", "guide."
"""What the names of other weights than the model's begin with."""
FILES = (MANIFEST, CONFIG, TOKENIZER, SEEN, TRAINER, PREVIOUS, LOG, MODEL, BEST, LOCK)


def holds_run(path: Path) -> bool:
    """Whether a folder holds a run, or what is left of one."""
    return any((path / name).exists() for name in (CONFIG, TRAINER, PREVIOUS, MODEL, BEST))


def clear(path: Path) -> None:
    """Remove the run in a folder: its configuration first, so that what is left is no run."""
    copies = (place.name for place in path.glob("source.*.py"))
    for name in (CONFIG, MANIFEST, *FILES, *MEMORY, *copies):
        if name != LOCK:
            (path / name).unlink(missing_ok=True)


def resume_command(path: Path) -> str:
    """What goes on with a run."""
    return f"ltm train --resume --out {shlex.quote(str(path))}"


def start(
    path: Path,
    config: Config,
    corpus: Corpus,
    about: Mapping[str, Any] | None = None,
    sources: Mapping[str, tuple[Mapping[str, str], bytes]] | None = None,
) -> Manifest:
    """Fill a run's folder with its configuration, tokenizer and record, with facts `about` it.

    Of classes outside the library, `sources` has where they come from and the text of the file.
    """
    if holds_run(path):
        raise InputError(f"{path} already holds a run: give another --out")
    record: dict[str, Any] = {
        **(about or {}),
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
        "sources": {name: dict(place) for name, (place, _) in (sources or {}).items()},
        "config": to_dict(config),
        "resumed": [],
    }
    clear(path)  # what another run left
    files.clean(path, (*FILES, *MEMORY))
    manifest = Manifest(path, record["id"])
    tokenizer = corpus.tokenizer.inner.to_str(pretty=True).encode()
    copies = {place["copy"]: text for place, text in (sources or {}).values()}
    # The configuration last: a folder that has one has a tokenizer too.
    first = [(TOKENIZER, tokenizer), *kept(corpus.train), (LOG, b""), *copies.items()]
    manifest.replace([*first, (CONFIG, _rendered(record))])
    return manifest


def note_resume(manifest: Manifest, record: dict[str, Any], config: Config, step: int) -> None:
    """Add to a run's record that it goes on from a step, under a configuration."""
    entry = {
        "step": step,
        "of": config.training.steps,
        "command": sys.argv,
        "at": _now(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
    }
    resumed, source = [*record["resumed"], entry], config.data.source
    record["data"] = {**record["data"], "source": source, "place": place_of(source)}
    files.clean(manifest.path, (*FILES, *MEMORY))
    record = {**record, "format": FORMAT, "id": manifest.run, "resumed": resumed}
    manifest.replace([(CONFIG, _rendered({**record, "config": to_dict(config)}))])


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


def manifest_of(path: Path) -> Manifest:
    """A run's manifest; of a run of the format before it is written now."""
    return Manifest.read(path) or seal(path)


def seal(path: Path) -> Manifest:
    """Write a run's manifest anew: its files are to hold what they hold now."""
    record = _read_json(path / CONFIG)
    names = [name for name in FILES if name not in (MANIFEST, LOCK)]
    names += [STAGED, *(place.name for place in path.glob("source.*.py"))]
    return Manifest.seal(path, str(record.get("id", uuid.uuid4().hex)), names)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; none where it is missing."""
    lines = files.json_lines(path / LOG)
    check(path, LOG)
    return lines


def check(path: Path, name: str) -> None:
    """Raises Damaged if a file of a run is not as the run wrote it.

    A missing file is not looked at, nor are those of a run that has no manifest.
    """
    manifest = Manifest.read(path)
    if manifest is not None:
        manifest.check(name)


def config_from(path: Path) -> tuple[Config, dict[str, Any] | None]:
    """The configuration in a file: a run's config.json, with its record, or a plain one."""
    path = path / CONFIG if path.is_dir() else path
    if not path.exists():
        raise InputError(f"no configuration at {path}: expected the {CONFIG} of a run")
    content = _read_json(path)
    if "format" not in content:
        return from_dict(Config, content, str(path)), None
    if (path.parent / MANIFEST).exists():
        return _read(path)
    return _parse(content, path)


def _read(place: Path) -> tuple[Config, dict[str, Any]]:
    """What a run's config.json holds, checked against the manifest beside it."""
    content: dict[str, Any] = {}
    try:
        manifest = Manifest.read(place.parent)
        if manifest is not None:
            manifest.check(place.name)
    except Damaged:
        with contextlib.suppress(InputError):
            content = _read_json(place)
        if _later(content.get("format")):  # whose manifest may be another as well
            _parse(content, place)
        raise
    content = _read_json(place)
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


def _read_json(place: Path) -> dict[str, Any]:
    try:
        if place.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        content = dict(json.loads(place.read_bytes()))
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


def _rendered(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=2) + "\n").encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
