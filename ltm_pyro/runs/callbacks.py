"""What happens after every iteration of a run, one thing a class; `standard` lists them."""

import itertools
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ltm_pyro.config import Config
from ltm_pyro.guides import NoGuide
from ltm_pyro.inference import DualRateSVI, StepReport
from ltm_pyro.inference.optimizer_state import take_weights
from ltm_pyro.inference.world import ALONE, World
from ltm_pyro.models import TextModel
from ltm_pyro.names import kebab
from ltm_pyro.options import NotNegative, Whole, taken
from ltm_pyro.runs import folder
from ltm_pyro.runs.control import build_control, passes
from ltm_pyro.runs.growing import follow
from ltm_pyro.runs.looks import BOUND, held_out, in_words, look
from ltm_pyro.runs.record import check_parts

if TYPE_CHECKING:
    from ltm_pyro.runs.trainer import Trainer

Line = dict[str, Any]
"""The log's line of an iteration: `StepReport.record()` and what callbacks add to it."""


class Callback:
    """One thing that happens after every iteration; a subclass overrides what it needs.

    Callbacks are called in the order of `Trainer.callbacks`, those of the user after the looks at
    held-out text and before the log, so that the line they see has the looks in it, and what they
    add to it is logged. What a callback needs to go on is in its state, saved with every
    checkpoint: tensors and plain Python values.
    """

    @property
    def name(self) -> str:
        """The name its state is saved under; one for each callback of a run."""
        return kebab(type(self).__name__)

    def check(self, out: Path, resume: bool, overwrite: bool) -> None:
        """Called before anything is written into a run's folder, in the first process.

        May raise an InputError for what cannot be.
        """

    def begin(self, trainer: "Trainer") -> None:
        """Called once before the first iteration, with the state of a resumed run in place."""

    def after(self, trainer: "Trainer", report: StepReport, line: Line) -> None:
        """Called after each iteration; may add to the line."""

    def end(self, trainer: "Trainer") -> None:
        """Called once when training has ended, also where it was stopped or failed."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a `state_dict` over."""

    def modules(self) -> Mapping[str, nn.Module]:
        """Modules whose weights stand beside the model's, by the prefix of their names."""
        return {}


class Baseline(Callback):
    """Trains a control without latents on the same batches; see `Training.control`.

    While the model's decoder speaks alone, the same decoder is the control: it follows. A control
    of equal FLOPs sees as many more batches, from then on, as cost what the model's iterations do.

    Attributes:
        svi: its training.
        passes: batches that it sees for one of the model's, once that thinks.
        seconds: what its part of the last iteration took; the model's, while it follows that.
    """

    seconds = 0.0

    def __init__(
        self,
        config: Config,
        model: TextModel,
        world: World = ALONE,
        device: torch.device | None = None,
    ):
        seed, self.control = config.training.seed, config.training.control
        plain = build_control(config, model).to(device)
        self.svi = DualRateSVI(plain, NoGuide, slow=config.slow, seed=seed, world=world)
        self.passes = 0.0 if self.control == "flops" else 1.0

    def begin(self, trainer: "Trainer") -> None:
        """Go on from the decoder that thoughts were grown on; count FLOPs, if as many are due."""
        if trainer.start is not None and not trainer.svi.done:
            follow(self.svi, trainer.svi)
        if not self.passes:
            training = trainer.config.training
            rows = trainer.corpus.train.batch(0, training.batch, training.seed)
            self.passes = max(1.0, passes(trainer.svi, self.svi, rows.to(trainer.place)))

    def after(self, trainer: "Trainer", report: StepReport, line: Line) -> None:
        """One step, or several; adds `baseline_nats_per_token`, of the last."""
        training, svi = trainer.config.training, trainer.svi
        if svi.speaking and self.control != "parameters":
            follow(self.svi, svi)
            line["baseline_nats_per_token"] = report.nats_per_token
            self.seconds = report.seconds
            return
        due, total = (
            svi.spoken + int(self.passes * (steps - svi.spoken))
            for steps in (svi.done, training.steps)
        )
        self.seconds = 0.0
        while self.svi.done < due:
            rows = trainer.corpus.train.batch(self.svi.done, training.batch, training.seed)
            found = self.svi.step(rows, total)
            line["baseline_nats_per_token"] = found.nats_per_token
            self.seconds += found.seconds

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and step."""
        own = {"model": self.svi.model.state_dict(), "svi": self.svi.state_dict()}
        return {**own, "passes": self.passes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        take_weights(self.svi.model, state["model"])
        self.svi.load_state_dict(state["svi"])
        self.passes = taken("passes", state.get("passes", 1.0), NotNegative)

    def modules(self) -> Mapping[str, nn.Module]:
        """The decoder's weights."""
        return {folder.BASELINE: self.svi.model}


class Looks(Callback):
    """Looks at held-out text every `check_every` iterations and at the end.

    Attributes:
        best: `step` of the look with the lowest held-out bound, and that bound in nats per token.
    """

    def __init__(self, baseline: Baseline | None = None):
        self.baseline = baseline
        self.best: dict[str, Any] | None = None

    def after(self, trainer: "Trainer", report: StepReport, line: Line) -> None:
        """Adds the figures of a look if it is time for one."""
        training, step = trainer.config.training, trainer.svi.done
        if step % training.check_every and step != training.steps:
            return
        line |= look(
            trainer.svi,
            held_out(trainer.corpus, training.check_rows),
            None if self.baseline is None else self.baseline.svi.model,
            training.seed,
        )
        if BOUND not in line:
            return
        trainer.note(in_words(line))
        # The test split never chooses a checkpoint.
        if len(trainer.corpus.valid) and (self.best is None or line[BOUND] < self.best[BOUND]):
            self.best = {"step": step, BOUND: line[BOUND]}

    def state_dict(self) -> dict[str, Any]:
        """The best look."""
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The best look so far."""
        best = state["best"]
        if best is not None:
            check_parts(best, {"step": Whole, BOUND: float}, "best")
        self.best = best


class TimeLeft(Callback):
    """Says how long training will take, once its first iterations tell.

    While the decoder learns alone that is until thoughts begin, where it is said again: iterations
    are dearer then. Looks at held-out text are not counted.
    """

    ITERATIONS, SECONDS = 10, 10.0
    """Once so many were timed; or two, where they take longer than this."""

    def __init__(self) -> None:
        self._ends: list[float] = []
        self._speaking = False

    def after(self, trainer: "Trainer", report: StepReport, line: Line) -> None:
        """Note the time, if it is not said yet."""
        svi, steps = trainer.svi, trainer.config.training.steps
        if svi.speaking != self._speaking:
            self._ends, self._speaking = [], svi.speaking
        timed = len(self._ends)
        if timed > self.ITERATIONS:
            return
        self._ends.append(time.perf_counter())
        if timed < 2 or (timed < self.ITERATIONS and self._ends[-1] - self._ends[0] < self.SECONDS):
            return
        each = statistics.median(b - a for a, b in itertools.pairwise(self._ends))
        self._ends = [0.0] * (self.ITERATIONS + 1)
        left = (round(svi.speak * steps) if svi.speaking else steps) - svi.done
        if left > 0:
            what = "until thoughts begin" if svi.speaking else "to the end"
            trainer.note(
                f"about {duration(left * each)} {what}, looks aside: {left:,} iterations of "
                f"{duration(each)}"
            )


def duration(seconds: float) -> str:
    """A time in words, of two figures: "0.12 s", "45 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    minutes, seconds = divmod(round(seconds, -1), 60)
    if minutes < 60:
        return f"{minutes:.0f} min" + (f" {seconds:.0f} s" if seconds else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours:.0f} h" + (f" {minutes:.0f} min" if minutes else "")


class Log(Callback):
    """Adds the line to the run's log, with the `seconds` since the line before."""

    def begin(self, trainer: "Trainer") -> None:
        """Cut off what a resumed run will do again."""
        self._tick = time.perf_counter()
        if trainer.resumed and trainer.svi.world.first:
            lines = (o for o in folder.read_log(trainer.out) if o["step"] <= trainer.svi.done)
            whole = "".join(json.dumps(line) + "\n" for line in lines)
            trainer.manifest.replace([(folder.LOG, whole.encode())])

    def after(self, trainer: "Trainer", report: StepReport, line: Line) -> None:
        """Write the line."""
        now = time.perf_counter()
        line["seconds"], self._tick = now - self._tick, now
        if trainer.svi.world.first:
            trainer.manifest.log(json.dumps(line))


class Saving(Callback):
    """Saves every `save_every` iterations, at the best look, and where training ends."""

    def __init__(self, looks: Looks):
        self.looks = looks

    def after(self, trainer: "Trainer", report: StepReport, line: Line) -> None:
        """Save if it is time to."""
        step, training = trainer.svi.done, trainer.config.training
        trainer.stopping = trainer.svi.world.any(bool(trainer.asked))
        best = self.looks.best is not None and self.looks.best["step"] == step
        due = step % training.save_every == 0 or step == training.steps
        if best or due or trainer.stopping:
            trainer.save()


def standard(
    config: Config,
    model: TextModel,
    given: Sequence[Callback] = (),
    world: World = ALONE,
    device: torch.device | None = None,
) -> list[Callback]:
    """Everything that happens after an iteration of a run of this model, in order."""
    baseline = Baseline(config, model, world, device) if config.training.baseline else None
    looks = Looks(baseline)
    first: list[Callback] = [TimeLeft()] if baseline is None else [baseline, TimeLeft()]
    return [*first, looks, *given, Log(), Saving(looks)]
