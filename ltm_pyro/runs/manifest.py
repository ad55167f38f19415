"""What each file of a run is to hold: its size and SHA-256, in the run's `manifest.json`.

Files are written beside their places, named in the manifest, then moved there. So whatever a kill
leaves behind, each file holds what the manifest says it is to hold, or what it says it held before
(it lists both meanwhile); anything else is damage, or another run's file. A log that has
grown since is held to what it was. The manifest ends with its own SHA-256.
"""

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ltm_pyro import files
from ltm_pyro.errors import Damaged, InputError
from ltm_pyro.options import Whole, take_fields

MANIFEST, LOG = "manifest.json", "log.jsonl"
"""The log is the one file that grows."""
BLOCK = 1 << 20


def seal_command(path: Path) -> str:
    """What accepts the files of a run as they are."""
    return f"ltm info {shlex.quote(str(path))} --seal"


@dataclass(frozen=True)
class Seal:
    """Size and SHA-256 of a file; of its beginning, if the file `grows`."""

    size: Whole
    sha256: str
    grows: bool = False

    def __post_init__(self) -> None:
        take_fields(self)

    @classmethod
    def of(cls, data: bytes | memoryview) -> "Seal":
        """Of a file that holds this."""
        return cls(len(data), hashlib.sha256(data).hexdigest())

    def fits(self, place: Path) -> bool:
        """Whether a file is as sealed."""
        size = place.stat().st_size
        if size < self.size or (size > self.size and not self.grows):
            return False
        digest, left = hashlib.sha256(), self.size
        with open(place, "rb") as file:
            while left and (block := file.read(min(left, BLOCK))):
                digest.update(block)
                left -= len(block)
        return not left and digest.hexdigest() == self.sha256


def _is_name(name: str) -> bool:
    """Whether it names a file of a folder, and nothing elsewhere."""
    return name == Path(name).name and name != ".." and name.isprintable()


Contents = Iterable[tuple[str, bytes | memoryview]]
May = tuple[Seal | None, ...]
"""What a file may hold, what it is to hold first; None where it may not be there."""


class Manifest:
    """The files of a run, read and written under their seals.

    Attributes:
        path: the run's folder.
        run: the run's id.
        files: what each file may hold, by name.
    """

    def __init__(self, path: Path, run: str, files: Mapping[str, May] | None = None):
        self.path, self.run = path, run
        self.files: dict[str, May] = dict(files or {})
        self._written: bytes | None = None
        self._log: tuple[int, Any] | None = None  # its size, and its hash so far

    @classmethod
    def read(cls, path: Path) -> "Manifest | None":
        """That of a run's folder, or None where there is none.

        Raises:
            Damaged: if it is not as it was written, or the folder holds what can be read for ever.
        """
        files.check_plain(path)
        place = path / MANIFEST
        try:
            data = place.read_bytes()
        except FileNotFoundError:
            return None
        try:
            content = json.loads(data)
            found = {
                name: tuple(None if seal is None else Seal(**seal) for seal in may)
                for name, may in content["files"].items()
            }
            made = cls(path, str(content["run"]), found)
            whole = made._render(found) == data
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            whole = False
        if not whole or not all(_is_name(name) and may for name, may in found.items()):
            raise Damaged(
                f"{place} is damaged, so no file of {path} can be checked: put back a whole copy, "
                f"or seal the files as they are with {seal_command(path)}"
            )
        made._written = data
        return made

    @classmethod
    def seal(cls, path: Path, run: str, names: Iterable[str]) -> "Manifest":
        """Write a new one, of what the files of a folder hold now."""
        made = cls(path, run)
        for name in names:
            if (path / name).is_file():
                with open(path / name, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                    made.files[name] = (Seal(file.tell(), digest, name == LOG),)
        made._commit(made.files)
        return made

    def check(self, name: str) -> None:
        """Raises Damaged if a file is not as it was written; a missing one is not looked at."""
        if not (self.path / name).exists():
            return
        state = self.state(name)
        if state != "whole":
            raise Damaged(
                f"{self.path / name} is {state}: put back a whole copy, or, if it was changed on "
                f"purpose, accept it with {seal_command(self.path)}"
            )

    def state(self, name: str) -> str:
        """`whole`, `missing`, or what is wrong with a file, which may be in use by a writer."""
        known = self
        while True:
            may, place = known.files.get(name), self.path / name
            try:
                if may and any(seal is not None and seal.fits(place) for seal in may):
                    return "whole"
            except FileNotFoundError:
                return "absent" if not may or None in may else "missing"
            except OSError as error:
                return f"not to be read ({error.strerror or error})"
            now = Manifest.read(self.path)
            if now is None or now._written == known._written:
                break
            known = now
        if may is None:
            return f"not a file of this run ({MANIFEST} does not name it)"
        return f"damaged, or another run's (its SHA-256 is not that of {MANIFEST})"

    def replace(
        self,
        contents: Iterable[tuple[str, bytes | memoryview]],
        aside: Mapping[str, str] | None = None,
    ) -> None:
        """Replace files, all of them or, if one cannot be written, none.

        Args:
            contents: names and what they are to hold, in the order in which they are moved.
            aside: what the files that were there before are called from now on, if they are kept.

        Raises:
            CannotWrite: if the disk does not take them.
            InputError: if another process has written into this run.
        """
        beside: dict[str, Path] = {}
        coming: dict[str, Seal] = {}
        aside = {name: to for name, to in (aside or {}).items() if name in self.files}
        try:
            for name, data in contents:
                beside[name] = files.put(self.path / name, data)
                coming[name] = Seal.of(data)
                if name == LOG:
                    self._log = (len(data), hashlib.sha256(data))
                    coming[name] = replace(coming[name], grows=True)
            before, after = self.files, dict(self.files)
            for name, to in aside.items():
                after[to] = (before[name][0], *before.get(to, (None,)))
            for name, seal in coming.items():
                gap = (None,) if name in aside else ()
                after[name] = (seal, *before.get(name, (None,)), *gap)
            self._commit(after)
            for name, place in beside.items():
                if name in aside and (self.path / name).exists():
                    files.keep_as(self.path / name, self.path / aside[name])
                files.move(place, self.path / name)
        finally:
            for place in beside.values():
                place.unlink(missing_ok=True)
        files.sync(self.path)
        done = {*coming, *aside.values()}
        self._commit({n: may[:1] if n in done else may for n, may in self.files.items()})

    def log(self, line: str) -> None:
        """Add a line to the log; it is sealed by the next `replace`."""
        place = self.path / LOG
        if self._log is None:
            data = place.read_bytes()
            self._log = (len(data), hashlib.sha256(data))
        files.append(place, line)
        size, digest = self._log
        added = f"{line}\n".encode()
        digest.update(added)
        self._log = (size + len(added), digest)

    def settle(self) -> None:
        """Find out which of the things a file may hold after a kill it does hold."""
        for name, may in self.files.items():
            place = self.path / name
            if len(may) > 1 and place.exists():
                self.files[name] = tuple(s for s in may if s is not None and s.fits(place)) or may
            elif None in may:
                self.files[name] = (None,)
        self.files = {name: may for name, may in self.files.items() if may != (None,)}

    def _commit(self, named: dict[str, May]) -> None:
        """Write the manifest, with other names and seals than before."""
        place = self.path / MANIFEST
        if self._written is not None and (
            not place.exists() or place.read_bytes() != self._written
        ):
            raise InputError(
                f"another process writes into {self.path}: this one stops, and has changed nothing "
                "since; two cannot train into one folder"
            )
        if self._log is not None:
            size, digest = self._log
            named = {**named, LOG: (Seal(size, digest.hexdigest(), True), *named[LOG][1:])}
            if (self.path / LOG).exists():
                files.settle(self.path / LOG)
        data = self._render(named)
        files.write(place, data)
        files.sync(self.path)
        self._written, self.files = data, named

    def _render(self, named: Mapping[str, May]) -> bytes:
        content: dict[str, Any] = {
            "run": self.run,
            "files": {name: [seal and asdict(seal) for seal in may] for name, may in named.items()},
        }
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        return (json.dumps({**content, "sha256": digest}, indent=2) + "\n").encode()
