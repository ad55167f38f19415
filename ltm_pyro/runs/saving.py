"""A run's folder made of a model that was trained from Python."""

import dataclasses
from pathlib import Path
from typing import Any

from ltm_pyro.config import Config
from ltm_pyro.data import Corpus
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.optimizer_state import take_weights
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.options import checked
from ltm_pyro.runs import checkpoint, folder
from ltm_pyro.runs.build import named_decoder, named_guide, named_prior
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.runs.finite import not_finite
from ltm_pyro.runs.lock import alone
from ltm_pyro.runs.trainer import Trainer
from ltm_pyro.runs.training import check_folder, for_corpus
from ltm_pyro.runs.trust import sources_of


@checked
def save(
    path: str | Path,
    model: LatentThoughtModel,
    *,
    corpus: Corpus,
    svi: DualRateSVI | None = None,
    overwrite: bool = False,
) -> Run:
    """Save a model as a run, which `ltm.load` and every command read, and return it as loaded.

    Prior, decoder and guide are kept by name; of classes of one's own the folder holds a copy of
    their source for its reader, and whoever loads it imports them, with `trust=True`. With `svi`
    the run can be resumed, from the optimizer's state on; without it a resume begins with fresh
    optimizers, from these weights.

    Args:
        path: the folder.
        model: what is saved; it is not changed.
        corpus: the text it was trained on: its tokenizer is kept, and which text it was.
        svi: what trained it; its guide, loops, seed and iterations become the run's.
        overwrite: replace a run that the folder holds.

    Raises:
        InputError: for a model, prior, decoder or guide that a configuration cannot name, a corpus
            of other sizes, or a folder that holds a run.
        NotFinite: for weights that are not; nothing is written then.
    """
    if type(model) is not LatentThoughtModel:
        raise InputError(
            f"model is a {type(model).__name__}, with a program of its own that no configuration "
            "names: keep its weights with torch.save(model.state_dict(), ...)"
        )
    if svi is not None and svi.model is not model:
        raise InputError("svi trains another model than the one that is to be saved")
    if svi is not None and svi.memory is not None:
        raise InputError(
            "svi has the memory of a warm start, which only ltm.train keeps in a folder: leave svi "
            "out to save the weights alone"
        )
    config = _config(model, svi)
    config = config.replace(data=for_corpus(config, corpus).data)
    out = Path(path)
    check_folder(out, resume=False, overwrite=overwrite)
    trainer = Trainer(corpus, config, out)
    _take_over(trainer, model, svi)
    with alone(out):
        if overwrite:
            folder.clear(out)
        trainer.manifest = folder.start(out, config, corpus, {}, sources_of(config))
        trainer.save()
    return checkpoint.load_own(out)


def _take_over(trainer: Trainer, model: LatentThoughtModel, svi: DualRateSVI | None) -> None:
    """Give a trainer that has just begun the state of what was trained without it."""
    own = trainer.svi
    take_weights(own.model, model.state_dict())
    if svi is not None:
        own.load_state_dict({"spoken": 0, **svi.state_dict()})
        if own.shared is not None and svi.shared is not None:
            take_weights(own.shared, svi.shared.state_dict())
    wrong = not_finite(own, trainer.callbacks)
    if wrong is not None:
        raise NotFinite(f"{wrong} is not finite, so the model is not saved")


def _config(model: LatentThoughtModel, svi: DualRateSVI | None) -> Config:
    """The configuration of a run of this model so far."""
    named: dict[str, Any] = {
        "prior": named_prior(model.prior), "decoder": named_decoder(model.decoder)
    }  # fmt: skip
    config = model.config.replace(**named, warm=None, callbacks=())
    training: dict[str, Any] = {"steps": 0, "speak": 0.0, "baseline": False}
    if svi is not None:
        config = config.replace(
            guide=named_guide(svi.guide), fast=svi.fast, slow=svi.slow, objective=svi.objective
        )
        training |= {"steps": svi.done, "seed": svi.seed, "speak": getattr(svi, "speak", 0.0)}
    return config.replace(training=dataclasses.replace(config.training, **training))
