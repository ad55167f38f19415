"""A run's folder: which files it has, and what makes, seals and clears them.

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

import os
import shlex
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltm_pyro import files
from ltm_pyro.config import Config
from ltm_pyro.data import Corpus
from ltm_pyro.errors import InputError
from ltm_pyro.files.lock import LOCK
from ltm_pyro.inference.memory import ARRAY, STAGED
from ltm_pyro.runs.manifest import LOG, MANIFEST, Manifest
from ltm_pyro.runs.record import CONFIG, begun, read_json, rendered, resumed
from ltm_pyro.runs.seen import SEEN, kept

TOKENIZER = "tokenizer.json"
TRAINER, PREVIOUS = "trainer.pt", "trainer.previous.pt"
MODEL, BEST = "model.safetensors", "best.safetensors"
MEMORY = (ARRAY, STAGED)
REPLACED = ".replaced"
"""A folder for the run that another takes the place of, until that has a checkpoint."""
BASELINE, SHARED = "baseline.", "guide."
"""What the names of other weights than the model's begin with."""
FILES = (MANIFEST, CONFIG, TOKENIZER, SEEN, TRAINER, PREVIOUS, LOG, MODEL, BEST, LOCK)


def holds_run(path: Path) -> bool:
    """Whether a folder holds a run, or what is left of one."""
    return any((path / name).exists() for name in (CONFIG, TRAINER, PREVIOUS, MODEL, BEST))


def clear(path: Path) -> None:
    """Remove the run in a folder: its configuration first, so that what is left is no run."""
    for name in names_in(path):
        (path / name).unlink(missing_ok=True)


def set_aside(path: Path) -> None:
    """Keep the run in a folder until another in its place has a checkpoint; see `forget`.

    What is kept already stays, where the run that took its place came to none.
    """
    aside = path / REPLACED
    if (path / CONFIG).exists():  # else this was broken off, and goes on
        if aside.is_dir() and not (path / TRAINER).exists():
            clear(path)
            return
        forget(path)
    files.make_folder(aside)
    for name in names_in(path):
        os.replace(path / name, aside / name)


def forget(path: Path) -> None:
    """Remove the run that was set aside in a folder, if there is one."""
    shutil.rmtree(path / REPLACED, ignore_errors=True)


def names_in(path: Path) -> list[str]:
    """The files of a run that a folder has, its configuration first, the lock left out."""
    copies = (place.name for place in path.glob("source.*.py"))
    names = dict.fromkeys((CONFIG, MANIFEST, *FILES, *MEMORY, *copies))
    return [name for name in names if name != LOCK and os.path.lexists(path / name)]


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
    record = begun(config, corpus, about or {})
    record["sources"] = {name: dict(place) for name, (place, _) in (sources or {}).items()}
    clear(path)  # what another run left
    files.clean(path, (*FILES, *MEMORY))
    manifest = Manifest(path, record["id"])
    tokenizer = corpus.tokenizer.inner.to_str(pretty=True).encode()
    copies = {place["copy"]: text for place, text in (sources or {}).values()}
    # The configuration last: a folder that has one has a tokenizer too.
    first = [(TOKENIZER, tokenizer), *kept(corpus.train), (LOG, b""), *copies.items()]
    manifest.replace([*first, (CONFIG, rendered(record))])
    return manifest


def note_resume(
    manifest: Manifest, record: dict[str, Any], config: Config, step: int, processes: int = 1
) -> None:
    """Add to a run's record that it goes on from a step, under a configuration."""
    files.clean(manifest.path, (*FILES, *MEMORY))
    told = resumed(record, config, step, manifest.run, processes)
    manifest.replace([(CONFIG, rendered(told))])


def manifest_of(path: Path) -> Manifest:
    """A run's manifest; of a run of the format before it is written now."""
    return Manifest.read(path) or seal(path)


def seal(path: Path) -> Manifest:
    """Write a run's manifest anew: its files are to hold what they hold now."""
    files.check_plain(path)
    record = read_json(path / CONFIG)
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
