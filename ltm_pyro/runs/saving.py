"""A run's folder made of a model that was trained from Python."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from ltm_pyro import files
from ltm_pyro.config import Config
from ltm_pyro.data import Corpus
from ltm_pyro.errors import InputError, first_line
from ltm_pyro.files.lock import alone, is_held
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.optimizer_state import take_weights
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.options import checked
from ltm_pyro.runs import checkpoint, folder
from ltm_pyro.runs.build import named_decoder, named_guide, named_model, named_prior
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.runs.config_json import to_dict
from ltm_pyro.runs.record import CONFIG
from ltm_pyro.runs.trainer import Trainer
from ltm_pyro.runs.training import as_read, check_holds_none
from ltm_pyro.runs.trust import sources_of

WITHOUT = "leave svi out to save the weights alone"
BESIDE, ASIDE, BEFORE = ".saving", ".replacing", ".replaced"
"""Folders in that of a run: where a new one is written, where the old one is moved, and waits."""


@checked
def save(
    path: str | Path,
    model: LatentThoughtModel,
    *,
    corpus: Corpus,
    svi: DualRateSVI | None = None,
    overwrite: bool = False,
) -> Run:
    """Save a model as a run, which `ltm.load` and the commands read, and return it as loaded.

    Prior, decoder and guide are kept by name; of classes of one's own the folder holds a copy of
    their source for its reader, and whoever loads it imports them, with `trust=True`. With `svi`
    `ltm train --resume --steps N` goes on from the optimizer's state, in batches as large as those
    of `svi.fit`; without it, from these weights with fresh optimizers. Of a corpus that a program
    held, the commands need `--data`.

    Args:
        path: the folder.
        model: what is saved; it is not changed.
        corpus: the text it was trained on: its tokenizer is kept, and which text it was.
        svi: what trained it; its guide, loops, seed and iterations become the run's.
        overwrite: replace a run that the folder holds, once the new one is written.

    Raises:
        InputError: for what a configuration cannot name or JSON cannot hold, an svi with a warm
            start, a corpus of other sizes or columns, or a folder that holds a run. The folder
            then holds what it held.
        NotFinite: for weights that are not.
    """
    if svi is not None and svi.model is not model:
        raise InputError("svi trains another model than the one that is to be saved")
    if svi is not None and (svi.warm is not None or svi.memory is not None):
        raise InputError(f"svi has a warm start, which only ltm.train keeps in a folder: {WITHOUT}")
    _check_columns(model, corpus)
    if svi is not None and svi.documents not in (None, len(corpus.train)):
        raise InputError(
            f"svi was fitted to {svi.documents} rows, and {corpus.name} trains on "
            f"{len(corpus.train)}: a run's other rows are held out; give the corpus whose train "
            f"rows it was fitted to, or {WITHOUT}"
        )
    config = _config(model, svi)
    config = config.replace(data=as_read(config, corpus))
    try:
        json.dumps(to_dict(config))
    except TypeError as error:
        raise InputError(
            f"an option of the run cannot be kept as JSON ({first_line(error)}): give plain numbers"
        ) from None
    out = Path(path).resolve()
    if is_held(out):
        raise InputError(f"this process trains into {path}: save into another folder")
    files.check_is_folder(out)
    with alone(out):
        _settle(out)
        check_holds_none(out, resume=False, overwrite=overwrite)
        beside = out / BESIDE
        shutil.rmtree(beside, ignore_errors=True)
        try:
            files.make_folder(beside)
            run = _write(Trainer(corpus, config, beside), model, svi)
            _exchange(out, beside)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return dataclasses.replace(run, path=Path(path))


def _exchange(out: Path, beside: Path) -> None:
    """Put a whole run in the place of what a folder holds, which is there again if that fails."""
    aside = out / ASIDE
    try:
        files.make_folder(aside)
        for name in folder.names_in(out):
            os.replace(out / name, aside / name)
        os.replace(aside, out / BEFORE)
        names = [one.name for one in beside.iterdir() if one.name != CONFIG]
        for name in (*names, CONFIG):  # which makes a run of it
            os.replace(beside / name, out / name)
    except OSError as error:
        raise files.cannot(out, error, "what was there before is untouched") from None
    finally:
        _settle(out)


def _settle(out: Path) -> None:
    """End an exchange, or undo one that an error or the death of its process broke off."""
    aside, before = out / ASIDE, out / BEFORE
    if before.is_dir() and not (out / CONFIG).exists():
        folder.clear(out)  # a part of the new run; all of the old one waits
        aside = before
    if aside.is_dir():
        for one in aside.iterdir():
            os.replace(one, out / one.name)
        aside.rmdir()
    shutil.rmtree(before, ignore_errors=True)


def _config(model: LatentThoughtModel, svi: DualRateSVI | None) -> Config:
    """The configuration of a run of this model so far."""
    named: dict[str, Any] = {
        "model": named_model(model),
        "prior": named_prior(model.prior),
        "decoder": named_decoder(model.decoder),
    }
    config = model.config.replace(**named, warm=None, callbacks=())
    training: dict[str, Any] = {"steps": 0, "speak": 0.0, "baseline": False}
    if svi is not None:
        config = config.replace(
            guide=named_guide(svi.guide), fast=svi.fast, slow=svi.slow, objective=svi.objective
        )
        training |= {"steps": svi.done, "seed": svi.seed, "speak": getattr(svi, "speak", 0.0)}
        if svi.batch_size is not None:
            training["batch"] = svi.batch_size
    return config.replace(training=dataclasses.replace(config.training, **training))


def _write(trainer: Trainer, model: LatentThoughtModel, svi: DualRateSVI | None) -> Run:
    """Fill a trainer's folder with what was trained without it, and see that it can be loaded."""
    _take_over(trainer, model, svi)
    out, config = trainer.out, trainer.config
    trainer.manifest = folder.start(out, config, trainer.corpus, {}, sources_of(config))
    trainer.save()
    return checkpoint.load_own(out)


def _take_over(trainer: Trainer, model: LatentThoughtModel, svi: DualRateSVI | None) -> None:
    """Give a trainer that has just begun the state of what was trained without it."""
    own = trainer.svi
    if any(p.dtype != torch.float32 for p in model.parameters()):
        raise InputError(
            "the model has weights that are not fp32, and runs have such: model.float()"
        )
    try:
        take_weights(own.model, model.state_dict())
    except InputError as error:
        raise InputError(
            f"the model is not the one that its configuration, prior and decoder make ({error})"
        ) from None
    if svi is not None:
        try:
            if (own.shared is None) != (svi.shared is None):
                raise InputError("its guide shares a module that its name does not make")
            if own.shared is not None and svi.shared is not None:
                take_weights(own.shared, svi.shared.state_dict())
            own.load_state_dict({"spoken": 0, **svi.state_dict()})
        except InputError as error:
            raise InputError(
                f"svi cannot be made again from its names ({error}): {WITHOUT}"
            ) from None


def _check_columns(model: LatentThoughtModel, corpus: Corpus) -> None:
    """Raises InputError if the model counts along other values of a column than the corpus."""
    for known in (model.config.data.columns, getattr(model.prior, "columns", {})):
        for name, values in dict(known).items():
            if values and tuple(corpus.columns.get(name, ())) != tuple(values):
                raise InputError(
                    f"the model was made for other values of column {name!r}, or in another order, "
                    f"than {corpus.name} has: give the corpus it was trained on"
                )
