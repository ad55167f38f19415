"""Copying a run to a store while it trains: `ltm train --copy-to URL`."""

from pathlib import Path
from typing import TYPE_CHECKING

from ltm_pyro.errors import InputError, first_line
from ltm_pyro.files import storage
from ltm_pyro.runs.callbacks import Callback, Line
from ltm_pyro.runs.checkpoint import read_weights
from ltm_pyro.runs.copies import COPY, read_copy, write_copy
from ltm_pyro.runs.record import CONFIG, read_json

if TYPE_CHECKING:
    from ltm_pyro.inference import StepReport
    from ltm_pyro.runs.trainer import Trainer


class CopyTo(Callback):
    """Keeps a copy of the run in a store, as it was saved last.

    A store that cannot be reached does not end training: the copy is made after the next save.

    Args:
        url: where, e.g. s3://bucket/runs/stories; or a folder.

    Raises:
        InputError: for a place that cannot be reached.
    """

    def __init__(self, url: str):
        self.url, self.place = url, storage.place(url)
        self.copied: int | None = None

    def check(self, out: Path, resume: bool, overwrite: bool) -> None:
        """See that no other run's copy is lost, nor a newer one of this.

        Raises:
            InputError: if it would be.
        """
        if self.place == out or (storage.is_local(self.place) and _same(self.place, out)):
            raise InputError(f"{self.url} is the run's own folder: copy it to another place")
        if overwrite or not (self.place / COPY).exists():
            return
        there = read_copy(self.place)
        held = read_json(out / CONFIG).get("id") if (out / CONFIG).exists() else None
        if not resume or there["run"] != held:
            raise InputError(
                f"{self.url} holds a copy of another run ({there['run']}): give another place, go "
                "on with that by --resume, or replace it by --overwrite"
            )
        step = _saved(out)
        if there["step"] is not None and (step is None or there["step"] > step):
            raise InputError(
                f"{self.url} holds this run as of iteration {there['step']}, and {out} is at "
                f"{step or 0}: remove {out} to go on from the copy, or give another place"
            )

    def after(self, trainer: "Trainer", report: "StepReport", line: Line) -> None:
        """Copy what the iteration before has saved."""
        self._copy(trainer)

    def end(self, trainer: "Trainer") -> None:
        """Copy what was saved last."""
        self._copy(trainer)

    def _copy(self, trainer: "Trainer") -> None:
        if trainer.saved == self.copied or not trainer.svi.world.first:
            return
        try:
            write_copy(trainer.out, self.place, trainer.manifest.run, trainer.saved)
            self.copied = trainer.saved
        except Exception as error:  # of the library of each kind of store
            trainer.note(
                f"no copy was written to {self.url} ({first_line(error)}): it is tried again after "
                "the next iteration"
            )


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _saved(out: Path) -> int | None:
    """The iteration of the last weights of a run."""
    try:
        return int(read_weights(out, facts_only=True)[0]["step"])
    except InputError:
        return None
