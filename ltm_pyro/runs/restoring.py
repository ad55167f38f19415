"""A training put back to where its last checkpoint was taken."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltm_pyro.errors import InputError, first_line
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.optimizer_state import take_weights
from ltm_pyro.runs.callbacks import Callback
from ltm_pyro.runs.record import CONFIG


def restore(
    svi: DualRateSVI,
    callbacks: Sequence[Callback],
    state: Mapping[str, Any],
    out: Path,
    steps: int,
) -> None:
    """Give a training and its callbacks the state of a checkpoint.

    Args:
        svi: the training; its model, its shared parameters and its optimizers are changed.
        callbacks: what happens after its iterations.
        state: what `Trainer.save` wrote.
        out: the run's folder, which errors name.
        steps: the iterations that are asked for, all together.

    Raises:
        InputError: if it was trained with other callbacks, with another configuration, or longer.
    """
    kept = state["callbacks"]
    for callback in callbacks:
        if callback.modules() and callback.name not in kept:
            raise InputError(f"{out} was trained without a {callback.name}; it cannot gain one")
    lost = {name for name, of_callback in kept.items() if of_callback}
    lost -= {callback.name for callback in callbacks}
    if lost:
        raise InputError(
            f"{out} was trained with callback {', '.join(sorted(lost))}, which has a state: give "
            "it again, so that the run goes on as it was"
        )
    try:
        take_weights(svi.model, state["model"])
        svi.load_state_dict(state["svi"])
        if svi.shared is not None:
            take_weights(svi.shared, state["shared"])
        for callback in callbacks:
            if callback.name in kept:
                callback.load_state_dict(kept[callback.name])
    except Exception as error:  # of torch, of an optimizer, of a callback: many kinds
        raise InputError(
            f"{out} was trained with another configuration ({first_line(error)}): resume with "
            f"that of its {CONFIG}"
        ) from None
    if svi.done > steps:
        raise InputError(
            f"{out} has done {svi.done} iterations, more than the {steps} asked for: give more "
            "--steps, or another --out"
        )
