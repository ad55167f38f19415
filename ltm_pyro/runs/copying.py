"""Copying a run to a store while it trains: `ltm train --copy-to URL`."""

from typing import TYPE_CHECKING

from ltm_pyro.errors import InputError, first_line
from ltm_pyro.files import storage
from ltm_pyro.runs.callbacks import Callback, Line
from ltm_pyro.runs.copies import COPY, read_copy, write_copy

if TYPE_CHECKING:
    from ltm_pyro.inference import StepReport
    from ltm_pyro.runs.trainer import Trainer


class CopyTo(Callback):
    """Keeps a copy of the run in a store, as it was saved last.

    A store that cannot be reached does not end training: the copy is made after the next save.

    Args:
        url: where, e.g. s3://bucket/runs/stories; or a folder.

    Raises:
        InputError: if there is a copy of another run.
    """

    def __init__(self, url: str):
        self.url, self.place = url, storage.place(url)
        self.copied: int | None = None

    def begin(self, trainer: "Trainer") -> None:
        """See whose copy is there."""
        if trainer.svi.world.first and (self.place / COPY).exists():
            run = read_copy(self.place)["run"]
            if run != trainer.manifest.run:
                raise InputError(
                    f"{self.url} holds a copy of another run ({run}): give another place, or "
                    "remove that"
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
