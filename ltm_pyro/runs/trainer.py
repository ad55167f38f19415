"""The training of one run: its model, its callbacks, and its checkpoints."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ltm_pyro import files
from ltm_pyro.config import Config
from ltm_pyro.data import Corpus
from ltm_pyro.errors import InputError, NotFinite, first_line
from ltm_pyro.inference import DualRateSVI, StepReport, StopTraining
from ltm_pyro.inference.memory import Memory
from ltm_pyro.inference.world import ALONE, World
from ltm_pyro.runs import checkpoint, folder
from ltm_pyro.runs.build import build_callback, build_guide, build_model
from ltm_pyro.runs.callbacks import Callback, Looks, standard
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.runs.checks import check_corpus, check_density, check_fits, try_guide, warn_of_main
from ltm_pyro.runs.signals import stop_signals


class Trainer:
    """One run in its folder, from its configuration and a corpus.

    `run()` trains to `config.training.steps`. What it needs to go on is saved every `save_every`
    iterations, at each look at held-out text that is the best so far, and at the end.

    Args:
        corpus: what is trained on.
        config: the run's configuration.
        out: the run's folder.
        callbacks: what else is to happen after each iteration, beside the callbacks that the
            configuration names.
        world: the processes that train together; this one alone unless given.

    Attributes:
        callbacks: everything that happens after an iteration, in order: `runs.callbacks`.
        saved: the iteration of the last checkpoint, or None.
        resumed: whether it goes on from a checkpoint.
        asked: the signals that asked it to stop, so far.
        stopping: whether it stops after the iteration in hand.
    """

    def __init__(
        self,
        corpus: Corpus,
        config: Config,
        out: str | Path,
        callbacks: Sequence[Callback] = (),
        world: World = ALONE,
    ):
        check_corpus(corpus, config)
        warn_of_main(config)
        check_fits(config)
        self.corpus, self.config, self.out = corpus, config, Path(out)
        seed = config.training.seed
        model = build_model(config)
        guide = build_guide(config.guide, model, seed)
        check_density(config, guide)
        try_guide(config, model, guide, corpus.train[:1])
        self.svi = DualRateSVI(
            model, guide, config.fast, config.slow, config.objective, seed, config.warm, world
        )
        given = [*(build_callback(named) for named in config.callbacks), *callbacks]
        self.callbacks = standard(config, given, world)
        check_callbacks(self.callbacks)
        self.saved: int | None = None
        self.resumed = self.stopping = False
        self.asked: list[int] = []
        self._note: Callable[[str], Any] | None = None

    @property
    def best(self) -> dict[str, Any] | None:
        """Step and bound of the best look at held-out text."""
        return next(c.best for c in self.callbacks if isinstance(c, Looks))

    def note(self, text: str) -> None:
        """Say a line to whoever runs this."""
        if self._note is not None and self.svi.world.first:
            self._note(text)

    def resume(self) -> None:
        """Go on from the folder's last checkpoint; from the beginning if it was not that far yet.

        Raises:
            InputError: if it is damaged, or the text or the configuration are not those of the run.
        """
        _, record = folder.read_config(self.out)
        if record["data"]["fingerprint"] != self.corpus.fingerprint:
            raise InputError(
                f"{self.out} was trained on other text than {self.corpus.name}: resume with the "
                f"data it began with ({record['data']['source']}), or train into another folder"
            )
        state = checkpoint.load_trainer(self.out)
        if state is not None:
            self._load(state)
        self._remember()
        folder.note_resume(self.out, self.config, self.svi.done)
        if state is not None:
            self._save_weights()  # it may have been killed after trainer.pt, before the others
            self.saved = self.svi.done
        self.resumed = True

    def _load(self, state: dict[str, Any]) -> None:
        kept = state["callbacks"]
        for callback in self.callbacks:
            if callback.modules() and callback.name not in kept:
                raise InputError(
                    f"{self.out} was trained without a {callback.name}; it cannot gain one"
                )
        lost = {name for name, of_callback in kept.items() if of_callback}
        lost -= {callback.name for callback in self.callbacks}
        if lost:
            raise InputError(
                f"{self.out} was trained with callback {', '.join(sorted(lost))}, which has a "
                "state: give it again, so that the run goes on as it was"
            )
        try:
            self.svi.model.load_state_dict(state["model"])
            self.svi.load_state_dict(state["svi"])
            if self.svi.shared is not None:
                self.svi.shared.load_state_dict(state["shared"])
            for callback in self.callbacks:
                if callback.name in kept:
                    callback.load_state_dict(kept[callback.name])
        except (RuntimeError, ValueError, KeyError):
            raise InputError(
                f"{self.out} was trained with another configuration: resume with that of its "
                f"{folder.CONFIG}"
            ) from None
        if self.svi.done > self.config.training.steps:
            raise InputError(
                f"{self.out} has done {self.svi.done} iterations, more than the "
                f"{self.config.training.steps} asked for: give more --steps, or another --out"
            )

    def run(self, progress: bool = True, note: Callable[[str], Any] | None = None) -> Run:
        """Train to the end and return the run as loaded from its folder.

        SIGINT and SIGTERM end it early, after the iteration in hand is saved.

        Args:
            progress: whether to show a progress bar.
            note: called with a line of text for each look at held-out text.
        """
        training, world, self._note = self.config.training, self.svi.world, note
        if not self.resumed:
            if world.first:
                folder.start(self.out, self.config, self.corpus)
            self._remember()
        begun: list[Callback] = []

        def after(svi: DualRateSVI, report: StepReport) -> None:
            line = report.record()
            for callback in self.callbacks:
                callback.after(self, report, line)
            if self.stopping:
                raise StopTraining

        try:
            for callback in self.callbacks:
                callback.begin(self)
                begun.append(callback)
            if self.svi.done < training.steps:
                with stop_signals() as self.asked:
                    left = training.steps - self.svi.done
                    self.svi.fit(self.corpus.train, left, training.batch, [after], progress)
            elif self.saved is None:
                self.save()
        except NotFinite as error:
            raise NotFinite(f"{error}; {self._last_good()}") from None
        except files.CannotWrite as error:
            raise InputError(f"{error}; {self._last_good()}") from None
        finally:
            for callback in begun:
                callback.end(self)
        return checkpoint.load(self.out)

    def save(self) -> None:
        """Write what a resumed run needs, then the weights.

        Raises:
            NotFinite: if a weight is not finite; the checkpoint before is untouched.
        """
        for name, parameter in self.svi.model.named_parameters():
            if not torch.isfinite(parameter).all():
                raise NotFinite(f"parameter {name} is not finite after iteration {self.svi.done}")
        if self.svi.world.first:
            state = {
                "model": self.svi.model.state_dict(),
                "svi": self.svi.state_dict(),
                "callbacks": {c.name: c.state_dict() for c in self.callbacks},
            }
            if self.saved is None:
                check_states(state["callbacks"])
            if self.svi.shared is not None:
                state["shared"] = self.svi.shared.state_dict()
            memory = self.svi.memory
            if memory is not None:
                memory.stage(self.svi.done)
            checkpoint.save_trainer(self.out, state)
            if memory is not None:
                memory.settle(self.svi.done)
            self._save_weights()
        self.saved = self.svi.done

    def _save_weights(self) -> None:
        modules = {"": self.svi.model, folder.SHARED: self.svi.shared}
        for callback in self.callbacks:
            modules |= callback.modules()
        checkpoint.save_weights(self.out / folder.MODEL, modules, {"step": self.svi.done})
        if self.best is not None and self.best["step"] == self.svi.done:
            checkpoint.save_weights(self.out / folder.BEST, modules, self.best)

    def _remember(self) -> None:
        """Open the warm start's memory, as it was at the last checkpoint."""
        if self.config.warm is not None:
            self.svi.memory = Memory(self.corpus.train, self.out)
            self.svi.memory.settle(self.svi.done)

    def _last_good(self) -> str:
        if self.saved is None:
            return "no checkpoint was saved yet"
        return (
            f"the last good checkpoint, of iteration {self.saved}, is in {self.out}; "
            f"{folder.resume_command(self.out)} goes on from there"
        )


def check_states(states: Mapping[str, Any]) -> None:
    """Raises InputError for a callback's state that a resumed run could not read."""
    for name, state in states.items():
        try:
            checkpoint.read_back(state)
        except Exception as error:  # the pickler and the unpickler raise many kinds
            raise InputError(
                f"callback {name} has a state that cannot be saved ({first_line(error)}): expected "
                "tensors and plain Python values"
            ) from None


def check_callbacks(callbacks: Sequence[Callback]) -> None:
    """Raises InputError for what is no callback, or for two of one name."""
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise InputError(
                f"callback {callback!r}: expected an object of a class below "
                "ltm_pyro.runs.callbacks.Callback"
            )
    twice = [name for name, n in Counter(c.name for c in callbacks).items() if n > 1]
    if twice:
        raise InputError(
            f"two callbacks are named {twice[0]!r}, and a run saves their states by name: give "
            "one of them another `name`"
        )
