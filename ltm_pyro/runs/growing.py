"""Thoughts grown on a decoder that was trained before: the control's, or another model's."""

import copy

import torch
from torch import nn

from ltm_pyro.config import Config
from ltm_pyro.errors import InputError
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.speaking import silence
from ltm_pyro.models.base import TextModel
from ltm_pyro.models.decoders.build import build_decoder
from ltm_pyro.models.size import without_memory


def grow(model: TextModel, config: Config, trained: TextModel) -> None:
    """Give a model the weights of a trained decoder, and thoughts that are not heard yet.

    The likelihood of every text is then what that decoder gives without thoughts, for every z.

    Args:
        model: of the configuration.
        config: its decoder has the sizes of the trained one.
        trained: a model with or without latents of its own; what reads them is left behind.

    Raises:
        InputError: for a decoder of other sizes, or one that thoughts cannot be grown on.
    """
    if config.training.baseline and config.training.control == "parameters":
        raise InputError(
            "a control with as many parameters as the model cannot go on from a decoder that has "
            "fewer: take the control decoder, or flops"
        )
    with without_memory():
        speaks = build_decoder(config.decoder, config.architecture).state_dict()
    known = trained.decoder.state_dict()
    other = [n for n, value in speaks.items() if n not in known or known[n].shape != value.shape]
    if other:
        raise InputError(
            f"the trained decoder has no {other[0]} of shape {tuple(speaks[other[0]].shape)}: "
            "thoughts are grown on a decoder of the same kind and sizes"
        )
    silence(model, config.training.seed)
    _take(model.decoder, known, speaks)


def follow(control: DualRateSVI, svi: DualRateSVI) -> None:
    """Let a control be where a model's decoder is: its weights, its optimizer's state, its step."""
    _take(control.model.decoder, svi.model.decoder.state_dict(), control.model.decoder.state_dict())
    theirs = dict(svi.model.named_parameters())
    for name, parameter in control.model.named_parameters():
        held = svi.optimizer.state.get(svi.slowly.held(theirs[name]))
        if held:  # nothing before the first step
            control.optimizer.state[control.slowly.held(parameter)] = copy.deepcopy(held)
    control.done = svi.done


def _take(decoder: nn.Module, state: dict[str, torch.Tensor], names: dict[str, object]) -> None:
    decoder.load_state_dict({name: state[name] for name in names}, strict=False)
