"""Trackers of experiments as callbacks: `--callback tensor-board`, `--callback wandb`.

Each needs the package it writes for: `pip install 'ltm_pyro[trackers]'`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ltm_pyro.errors import InputError
from ltm_pyro.inference import StepReport
from ltm_pyro.runs.callbacks import Callback, Line
from ltm_pyro.runs.config_json import to_dict

if TYPE_CHECKING:
    from ltm_pyro.runs.trainer import Trainer


class TensorBoard(Callback):
    """Every number of the log's lines as a scalar, in the run's folder under `tensorboard/`."""

    def begin(self, trainer: "Trainer") -> None:
        """Open the writer; what a resumed run does again is purged."""
        self.writer: Any = None
        if not trainer.svi.world.first:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise _missing("tensorboard") from None
        place = str(trainer.out / "tensorboard")
        self.writer = SummaryWriter(place, purge_step=trainer.svi.done + 1)

    def after(self, trainer: "Trainer", report: StepReport, line: Line) -> None:
        """Write the line's numbers."""
        for name, value in line.items() if self.writer else ():
            self.writer.add_scalar(name, value, trainer.svi.done)

    def end(self, trainer: "Trainer") -> None:
        """Close the writer."""
        if self.writer:
            self.writer.close()


class Wandb(Callback):
    """The log's lines to Weights & Biases, offline, in the run's folder under `wandb/`.

    Nothing is sent: `wandb sync` does that when its user says so. A resumed run goes on under the
    same id.
    """

    def __init__(self) -> None:
        self.id: str | None = None

    def begin(self, trainer: "Trainer") -> None:
        """Begin an offline run, or go on with the one before."""
        self.run: Any = None
        if not trainer.svi.world.first:
            return
        try:
            import wandb
        except ImportError:
            raise _missing("wandb") from None
        self.run = wandb.init(
            dir=str(trainer.out), mode="offline", id=self.id, config=to_dict(trainer.config),
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )  # fmt: skip
        self.id = str(self.run.id)

    def after(self, trainer: "Trainer", report: StepReport, line: Line) -> None:
        """Keep the line."""
        if self.run:
            self.run.log(dict(line), step=trainer.svi.done)

    def end(self, trainer: "Trainer") -> None:
        """Close the run."""
        if self.run:
            self.run.finish()

    def state_dict(self) -> dict[str, Any]:
        """The run's id."""
        return {"id": self.id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on under that id."""
        self.id = state["id"]


def _missing(package: str) -> InputError:
    return InputError(f"{package} is not installed: pip install 'ltm_pyro[trackers]'")
