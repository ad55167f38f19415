"""A run's folder: which files it has, and the record of where it came from.

::

    RUN/config.json          format, versions, command, data, configuration, resumes
        tokenizer.json       text to ids
        trainer.pt           everything a resumed run needs, in one file (tensors and plain types)
        model.safetensors    the weights; those of a baseline beside them, named `baseline.*`
        best.safetensors     the same, of the look with the lowest held-out bound
        log.jsonl            a line for each iteration, with what a look at held-out text saw
        memory.npy           local parameters of each document, where the warm start is on

Every file but the log is written beside its place and moved there, so a crash leaves the old one
or the new. `trainer.pt` is written first and holds the weights too: whatever a crash leaves behind
it, a resumed run writes anew.
"""

import json
import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyro
import tokenizers
import torch

from ltm_pyro import files
from ltm_pyro._version import __version__
from ltm_pyro.config import Config
from ltm_pyro.data import Corpus
from ltm_pyro.errors import InputError, first_line
from ltm_pyro.inference.memory import ARRAY, STAGED
from ltm_pyro.runs.config_json import check_record, from_dict, to_dict

FORMAT = 3
CONFIG, TOKENIZER, TRAINER, LOG = "config.json", "tokenizer.json", "trainer.pt", "log.jsonl"
MODEL, BEST = "model.safetensors", "best.safetensors"
MEMORY = (ARRAY, STAGED)
BASELINE, SHARED = "baseline.", "guide."
"""What the names of other weights than the model's begin with."""
FILES = (CONFIG, TOKENIZER, TRAINER, LOG, MODEL, BEST)


def holds_run(path: Path) -> bool:
    """Whether a folder holds a run, or what is left of one."""
    return any((path / name).exists() for name in (CONFIG, TRAINER, MODEL, BEST))


def resume_command(path: Path) -> str:
    """What goes on with a run."""
    return f"ltm train --resume --out {shlex.quote(str(path))}"


def start(path: Path, config: Config, corpus: Corpus) -> None:
    """Make a run's folder, with its configuration and tokenizer."""
    record = {
        "format": FORMAT,
        "versions": versions(),
        "command": sys.argv,
        "threads": torch.get_num_threads(),
        "seed": config.training.seed,
        "of": config.training.steps,
        "started": _now(),
        "data": {
            "source": corpus.name,
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
    files.make_folder(path)
    for name in MEMORY:  # another run's
        (path / name).unlink(missing_ok=True)
    files.clean(path, (*FILES, *MEMORY))
    files.write(path / TOKENIZER, corpus.tokenizer.inner.to_str(pretty=True).encode())
    files.write(path / LOG, b"")
    _write_record(path, record)  # last: a folder with a configuration has a tokenizer too


def note_resume(path: Path, config: Config, step: int) -> None:
    """Add to a run's record that it goes on from a step, under a configuration."""
    _, record = read_config(path)
    entry = {
        "step": step,
        "of": config.training.steps,
        "command": sys.argv,
        "at": _now(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
    }
    record["resumed"] = [*record["resumed"], entry]
    files.clean(path, (*FILES, *MEMORY))
    _write_record(path, {**record, "config": to_dict(config)})


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
    return _parse(_read_json(place), place)


def config_from(path: Path) -> tuple[Config, dict[str, Any] | None]:
    """The configuration in a file: a run's config.json, with its record, or a plain one."""
    path = path / CONFIG if path.is_dir() else path
    if not path.exists():
        raise InputError(f"no configuration at {path}: expected the {CONFIG} of a run")
    content = _read_json(path)
    if "format" in content:
        return _parse(content, path)
    return from_dict(Config, content, str(path)), None


def _parse(record: dict[str, Any], place: Path) -> tuple[Config, dict[str, Any]]:
    written, told = record.get("format"), record.get("versions")
    if written is None:
        raise InputError(f"{place} is damaged: it is not a run's configuration (no format)")
    if written != FORMAT:
        by = told.get("ltm_pyro") if isinstance(told, dict) else None
        later = isinstance(written, int) and written > FORMAT
        raise InputError(
            f"{place} was written in format {written}; this version of ltm_pyro ({__version__}) "
            f"reads format {FORMAT}: {'upgrade to' if later else 'load it with'} "
            f"{by or ('a later one' if later else 'an earlier one')}"
        )
    for part in ("config", "data", "versions", "resumed"):
        if part not in record:
            raise InputError(f"{place} is damaged: it has no {part!r}; put back a whole copy")
    check_record(record, str(place))
    return from_dict(Config, record.pop("config"), str(place)), record


def _read_json(place: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(place.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{place} is damaged: expected a JSON object ({first_line(error)}); put back a whole "
            "copy"
        ) from None


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    files.write(path / CONFIG, (json.dumps(record, indent=2) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
