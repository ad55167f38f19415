"""The training of one run: its model, its callbacks, and its checkpoints."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ltm_pyro.config import Config
from ltm_pyro.data import Corpus
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.files.lock import alone
from ltm_pyro.inference import DualRateSVI, StepReport, StopTraining
from ltm_pyro.inference.fitting import asks_to_stop
from ltm_pyro.inference.memory import STAGED, Memory
from ltm_pyro.inference.speaking import SpeakThenThink
from ltm_pyro.inference.world import ALONE, World
from ltm_pyro.models import TextModel
from ltm_pyro.runs import checkpoint, folder
from ltm_pyro.runs.build import build_callback, build_guide, build_model, covering_shared
from ltm_pyro.runs.callbacks import Baseline, Callback, Looks, standard
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.runs.checks import (
    check_callbacks,
    check_corpus,
    check_density,
    check_fits,
    check_states,
    try_guide,
    warn_of_main,
)
from ltm_pyro.runs.devices import device_named
from ltm_pyro.runs.failures import told
from ltm_pyro.runs.finite import not_finite
from ltm_pyro.runs.growing import grow
from ltm_pyro.runs.manifest import Manifest
from ltm_pyro.runs.record import read_config
from ltm_pyro.runs.restoring import restore
from ltm_pyro.runs.signals import stop_signals
from ltm_pyro.runs.state import load_trainer, packed
from ltm_pyro.runs.trust import sources_of
from ltm_pyro.seeds import repeatable


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
        device: where it is computed, e.g. "cuda"; weights are drawn on the CPU, whatever it is.
        world: the processes that train together; this one alone unless given.
        start: a model whose trained decoder thoughts are grown on; a control goes on from it too.

    Attributes:
        place: the device.
        callbacks: everything that happens after an iteration, in order: `runs.callbacks`.
        saved: the iteration of the last checkpoint, or None.
        resumed: whether it goes on from a checkpoint.
        asked: the signals that asked it to stop, so far.
        stopping: whether it stops after the iteration in hand.
        about: facts to keep in the run's record, beside its own.
        manifest: the files of its folder, once it has begun.
    """

    about: Mapping[str, Any] = MappingProxyType({})
    manifest: Manifest

    def __init__(
        self,
        corpus: Corpus,
        config: Config,
        out: str | Path,
        callbacks: Sequence[Callback] = (),
        world: World = ALONE,
        device: str = "cpu",
        start: TextModel | None = None,
    ):
        check_corpus(corpus, config)
        warn_of_main(config)
        check_fits(config)
        world.check_batch(config.training.batch)
        self.corpus, self.config, self.out = corpus, config, Path(out)
        seed = config.training.seed
        self.place = device_named(device)
        model = build_model(config).to(self.place)
        self.start = start
        if start is not None:
            grow(model, config, start)
        guide = build_guide(config.guide, model, seed)
        some = corpus.train[:2].to(self.place)
        guide = covering_shared(config.guide, guide, model, some)
        check_density(config, guide)
        try_guide(config, model, guide, corpus.train[:1].to(self.place))
        self.svi = SpeakThenThink(
            model, guide, config.fast, config.slow, config.objective, seed, config.warm, world,
            speak=config.training.speak,
        )  # fmt: skip
        given = [*(build_callback(named) for named in config.callbacks), *callbacks]
        self.callbacks = standard(config, model, given, world, self.place)
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
            with suppress(OSError):  # whoever listened has left; training goes on
                self._note(text)

    def resume(self) -> None:
        """Go on from the folder's last checkpoint; from the beginning if it was not that far yet.

        Raises:
            InputError: if it is damaged, or the text or the configuration are not those of the run.
        """
        world = self.svi.world
        with alone(self.out) if world.first else nullcontext():
            _, record = read_config(self.out)
            if record["data"]["fingerprint"] != self.corpus.fingerprint:
                raise InputError(
                    f"{self.out} was trained on other text than {self.corpus.name}: resume with "
                    f"the data it began with ({record['data']['source']}), or train into another "
                    "folder"
                )
            state = load_trainer(self.out, self._whole)
            if state is None:
                self._remember(None)
            else:
                restore(self.svi, self.callbacks, state, self.out, self.config.training.steps)
            world.wait()  # until all have read what is written anew now
            if world.first:
                self._go_on(record, state)
                self._begun()
        self.saved = None if state is None else self.svi.done
        self.resumed = True

    def _go_on(self, record: dict[str, Any], state: Mapping[str, Any] | None) -> None:
        """Note the resume, and write what a kill or damage has left to be written."""
        self.manifest = folder.manifest_of(self.out)
        self.manifest.settle()
        size = self.svi.world.size
        folder.note_resume(self.manifest, record, self.config, self.svi.done, size)
        if state is not None:
            self.manifest.replace([*self._instead(state), *self._weights()])

    def _begun(self) -> None:
        """Let the processes that are started after these know whose run the folder holds."""
        self.svi.world.keep(str(self.out.resolve()), self.manifest.run)

    def _instead(self, state: Mapping[str, Any]) -> Iterator[tuple[str, bytes | memoryview]]:
        """What takes the place of a damaged last checkpoint: the one before."""
        if self._from != folder.TRAINER:
            if self.svi.memory is not None:
                yield STAGED, self.svi.memory.stage(self.svi.done)
            yield folder.TRAINER, packed(state)

    def _whole(self, state: dict[str, Any], name: str) -> dict[str, Any]:
        """A trainer's state, if the memory that belongs to it is there."""
        if name == folder.TRAINER and self.config.warm is not None:
            folder.check(self.out, STAGED)
        self._remember(state)
        self._from = name
        return state

    def run(self, progress: bool = True, note: Callable[[str], Any] | None = None) -> Run:
        """Train to the end and return the run as loaded from its folder.

        SIGINT, SIGTERM and SIGHUP end it early, after the iteration in hand is saved; `Run.stopped`
        is then the signal's number.

        Args:
            progress: whether to show a progress bar.
            note: called with a line of text for each look at held-out text.
        """
        self._note = note
        with alone(self.out) if self.svi.world.first else nullcontext():
            return self._run(progress)

    def _run(self, progress: bool) -> Run:
        training = self.config.training
        if not self.resumed:
            if self.svi.world.first:
                about = {**self.about, "processes": self.svi.world.size}
                sources = sources_of(self.config)
                self.manifest = folder.start(self.out, self.config, self.corpus, about, sources)
                self._begun()
            self._remember(None)
        begun: list[Callback] = []

        def after(svi: DualRateSVI, report: StepReport) -> None:
            afters = [callback.after for callback in self.callbacks]
            asks = asks_to_stop(svi.world, afters, self, report, report.record())
            if asks or self.stopping:
                raise StopTraining

        many = self.svi.world.size > 1
        try:
            with told(self):
                for callback in self.callbacks:
                    callback.begin(self)
                    begun.append(callback)
                if self.start is not None and self.saved is None:
                    self.save()  # so that a resumed run needs no other
                if self.svi.done < training.steps:
                    with stop_signals(often=many) as self.asked, repeatable(self.place):
                        left = training.steps - self.svi.done
                        self.svi.fit(self.corpus.train, left, training.batch, [after], progress)
                elif self.saved is None:
                    self.save()
        finally:
            for callback in begun:
                callback.end(self)
        asked: list[int] = next(filter(None, self.svi.world.gather(list(self.asked))), [])
        run = checkpoint.load_own(self.out, device=str(self.place))
        early = asked and self.svi.done < training.steps
        return replace(run, stopped=int(asked[0])) if early else run

    def save(self) -> None:
        """Write what a resumed run needs, and the weights.

        Raises:
            NotFinite: if something of it is not finite; the checkpoint before is untouched.
        """
        if (wrong := not_finite(self.svi, self.callbacks)) is not None:
            raise NotFinite(f"{wrong} is not finite after iteration {self.svi.done}")
        world, memory = self.svi.world, self.svi.memory
        for svi in [self.svi, *(c.svi for c in self.callbacks if isinstance(c, Baseline))]:
            svi.slowly.gather()
        if memory is not None:
            others = world.collect({} if world.first else memory.handed())
            memory.take(others if world.first else [])
        if world.first:
            self.manifest.replace(self._contents(), {folder.TRAINER: folder.PREVIOUS})
            folder.forget(self.out)
        world.wait()
        self.saved = self.svi.done

    def _contents(self) -> Iterator[tuple[str, bytes | memoryview]]:
        """What the files of a checkpoint are to hold, in the order in which they take effect."""
        state: dict[str, Any] = {
            "run": self.manifest.run,
            "model": self.svi.model.state_dict(),
            "svi": self.svi.state_dict(),
            "callbacks": {c.name: c.state_dict() for c in self.callbacks},
        }
        if self.saved is None:
            check_states(state["callbacks"])
        if self.svi.shared is not None:
            state["shared"] = self.svi.shared.state_dict()
        if self.svi.memory is not None:
            yield STAGED, self.svi.memory.stage(self.svi.done)
            state["memory"] = self.svi.memory.record()
        yield folder.TRAINER, packed(state)
        yield from self._weights()

    def _weights(self) -> Iterator[tuple[str, bytes]]:
        modules = {"": self.svi.model, folder.SHARED: self.svi.shared}
        for callback in self.callbacks:
            modules |= callback.modules()
        yield folder.MODEL, checkpoint.weights(modules, {"step": self.svi.done})
        if self.best is not None and self.best["step"] == self.svi.done:
            yield folder.BEST, checkpoint.weights(modules, self.best)

    def _remember(self, state: Mapping[str, Any] | None) -> None:
        """Open the warm start's memory, as it was at a checkpoint."""
        if self.config.warm is not None:
            memory = Memory(self.corpus.train, self.out, self.svi.world.first)
            if state is not None:
                memory.open(state["svi"]["done"], state.get("memory"))
            self.svi.memory = memory

    def where(self) -> str:
        """The iteration in hand."""
        return f"(in iteration {self.svi.done + 1} of {self.out}; {self.last_good()})"

    def last_good(self) -> str:
        """Which checkpoint is left, and what goes on from it."""
        if self.saved is None:
            before = self.out / folder.REPLACED
            kept = f"; the run that it was to replace is in {before}" if before.is_dir() else ""
            return f"no checkpoint was saved yet{kept}"
        return (
            f"the last good checkpoint, of iteration {self.saved}, is in {self.out}; "
            f"{folder.resume_command(self.out)} goes on from there"
        )
