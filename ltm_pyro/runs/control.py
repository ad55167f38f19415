"""What the price of thoughts is measured against: the decoder without latents, and its kinds."""

import copy
import dataclasses

from ltm_pyro.config import Architecture, Config
from ltm_pyro.data import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.operations import count
from ltm_pyro.models import AutoregressiveModel, TextModel
from ltm_pyro.models.size import without_memory
from ltm_pyro.seeds import seeded


def build_control(config: Config, model: TextModel) -> AutoregressiveModel:
    """The control of a model, as `config.training.control` says; its weights are the seed's.

    With as many parameters as the model, it has a wider feed-forward layer.
    """
    if config.training.control == "parameters":
        config = config.replace(architecture=widened(config, model.parameter_count()))
    with seeded(config.training.seed):
        return AutoregressiveModel(config)


def widened(config: Config, parameters: int) -> Architecture:
    """The architecture whose decoder without latents has about so many parameters.

    Raises:
        InputError: for a decoder that a wider feed-forward layer gives no parameters.
    """

    def parameters_with(feedforward: int) -> int:
        wider = dataclasses.replace(config.architecture, feedforward=feedforward)
        return AutoregressiveModel(config.replace(architecture=wider)).parameter_count()

    own = config.architecture.feedforward
    with without_memory():
        here = parameters_with(own)
        each = parameters_with(own + 1) - here
    if each < 1:
        raise InputError(
            f"the decoder {config.decoder.name} has as many parameters whatever its feedforward: "
            "there is no control of as many parameters; take the control decoder, or flops"
        )
    return dataclasses.replace(
        config.architecture, feedforward=own + round((parameters - here) / each)
    )


def passes(svi: DualRateSVI, control: DualRateSVI, rows: Rows) -> float:
    """An iteration of a model's training over one of its control, in FLOPs, on these rows."""
    return iteration_flops(svi, rows) / iteration_flops(control, rows)


def iteration_flops(svi: DualRateSVI, rows: Rows) -> float:
    """FLOPs of an iteration of training on these rows, counted on copies.

    Two for each multiplication and addition, of matrix products and attention, forwards and
    backwards, of both rates. What the first iteration alone does, to read the model, is not in it.
    """
    model, guide = copy.deepcopy((svi.model, svi.guide))
    twin = DualRateSVI(model, guide, svi.fast, svi.slow, warm=svi.warm)
    twin.documents = len(rows)  # of sites that all share; how many there are costs nothing
    if svi.warm is not None:
        twin.remember(rows)
    twin.step(rows)
    return count(lambda: twin.step(rows))
