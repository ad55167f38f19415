"""Training a run: its folder, its corpus, and the trainer that fills the one from the other."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ltm_pyro import files
from ltm_pyro.config import Config, Data
from ltm_pyro.data import Corpus, Tokenizer, load_corpus
from ltm_pyro.errors import InputError
from ltm_pyro.files.lock import alone, check_alone
from ltm_pyro.inference.processes import here
from ltm_pyro.inference.world import World
from ltm_pyro.options import checked
from ltm_pyro.runs import folder
from ltm_pyro.runs.callbacks import Callback
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.runs.record import CONFIG, read_config, read_json
from ltm_pyro.runs.trainer import Trainer


@checked
def train(
    config: Config,
    out: str | Path,
    corpus: Corpus | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    note: Callable[[str], Any] | None = None,
    callbacks: Sequence[Callback] = (),
    device: str = "cpu",
    about: Mapping[str, Any] | None = None,
    grow_on: Run | None = None,
) -> Run:
    """Train the configuration's model in a folder, and return the run.

    Started by torchrun, each process takes its part of every batch, and the first one writes.

    Args:
        config: what to train, on what, for how long.
        out: the run's folder.
        corpus: the corpus of `config.data`, if it is loaded already.
        resume: go on from the folder's last checkpoint; the run ends as if it had never stopped.
        overwrite: replace a run that the folder holds, once the new one has a checkpoint; until
            then it lies in the folder's `.replaced`.
        progress, note: see `Trainer.run`.
        callbacks: what else is to happen after each iteration; see `ltm_pyro.runs.callbacks`.
        device: where it is computed, e.g. "cuda"; the run that is returned is there too.
        about: facts to keep in the run's record, beside its own; plain JSON types.
        grow_on: a run whose trained decoder new thoughts are grown on: its control's if it has
            one, else its model's own. A control of this run goes on from it too.

    Raises:
        InputError: if the folder holds a run and neither `resume` nor `overwrite` is given.
    """
    out, world = Path(out), here()
    resume = resume or is_restarted(out, world)
    if world.first:
        check_folder(out, resume, overwrite)
        for callback in callbacks:
            callback.check(out, resume, overwrite)
    if corpus is None:
        with world.in_turn():
            corpus = load_data(config)
    before = read_config(out)[0].data if resume else None
    if before and (before.columns, before.numbers) != (corpus.columns, corpus.numbers):
        raise InputError(
            f"{out} was trained with other columns, or other values of them, than {corpus.name} "
            "has here: resume with ltm.load_data(config) of the run's own configuration"
        )
    trainer = Trainer(
        corpus, config.replace(data=as_read(config, corpus)), out, callbacks, world,
        world.device(device),
        start=None if grow_on is None else grow_on.baseline or grow_on.model,
    )  # fmt: skip
    trainer.about = {**grown_on(grow_on), **(about or {})}
    with alone(out) if world.first else nullcontext():
        if resume:
            trainer.resume()
            if note is not None and trainer.saved is None and world.first:
                note(f"{out} has no checkpoint yet: it begins anew, with its own configuration")
        elif overwrite and world.first:
            folder.set_aside(out)
        return trainer.run(progress, note)


def is_restarted(out: Path, world: World) -> bool:
    """Whether torchrun started this again after a failure, and a folder holds the run it began."""
    return world.restarted and world.gather(world.first and _began(out, world))[0]


def _began(out: Path, world: World) -> bool:
    """Whether a folder's run is that which processes of this torchrun began or resumed there."""
    run = world.kept(str(out.resolve()))
    return bool(run) and (out / CONFIG).exists() and read_json(out / CONFIG).get("id") == run


def grown_on(run: Run | None) -> dict[str, Any]:
    """What a record says of the run that thoughts were grown on."""
    if run is None:
        return {}
    of = "its model" if run.baseline is None else "its control"
    place = str(run.path.resolve())
    return {"grown_on": {"run": place, "id": run.record.get("id"), "step": run.step, "of": of}}


def check_folder(out: Path, resume: bool, overwrite: bool) -> None:
    """Raises InputError if a run cannot go into this folder."""
    files.check_is_folder(out)
    if folder.holds_run(out) and not (out / CONFIG).exists() and not overwrite:
        raise InputError(
            f"{out} holds what is left of a run, without its {CONFIG}: put that back, from a copy "
            "of the run, or begin another with --overwrite, which loses what is there"
        )
    if resume and not (out / CONFIG).exists():
        raise InputError(f"{out} holds no run to resume: leave --resume out to begin one")
    check_holds_none(out, resume, overwrite)
    check_alone(out)


def check_holds_none(out: Path, resume: bool, overwrite: bool) -> None:
    """Raises InputError if a folder holds a run that is neither to be resumed nor replaced."""
    if folder.holds_run(out) and not (resume or overwrite):
        raise InputError(
            f"{out} already holds a run: add --resume to go on, or --overwrite, or give another "
            "--out"
        )


def for_corpus(config: Config, corpus: Corpus) -> Config:
    """The configuration with the corpus's vocabulary, and the values of its columns."""
    architecture = dataclasses.replace(
        config.architecture, vocabulary=corpus.vocabulary, begin=corpus.begin
    )
    return config.replace(architecture=architecture, data=as_read(config, corpus))


def as_read(config: Config, corpus: Corpus) -> Data:
    """The configuration's data, as they were read."""
    data = corpus.read_as or config.data
    return dataclasses.replace(
        data,
        source=corpus.source or corpus.name,
        layout=corpus.layout,
        columns=corpus.columns,
        numbers=corpus.numbers,
        tokenizer=data.tokenizer or config.data.tokenizer,
    )


def load_data(config: Config, tokenizer: Tokenizer | None = None) -> Corpus:
    """The corpus a configuration names, in rows of its decoder's length.

    A `tokenizer` given here stands in for the configuration's.
    """
    return load_corpus(config.data, length=config.architecture.length, tokenizer=tokenizer)
