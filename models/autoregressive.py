"""The baseline: the same decoder without latents."""

from typing import Any

import pyro
from torch import Tensor

from ltm_pyro.config import Config
from ltm_pyro.data.rows import Rows
from ltm_pyro.models.base import TextModel
from ltm_pyro.models.decoders.build import build_decoder
from ltm_pyro.models.likelihood import TokenSequence
from ltm_pyro.options import checked


class AutoregressiveModel(TextModel):
    """p(x) = prod_n p(x_n | x_<n): layers, width, reach and head of the latent-thought model.

    Only the cross-attention is left out, so its likelihood is exact and any guide's KL is zero.

    Args:
        config: its `architecture` is used.
        decoder: as for `LatentThoughtModel`.
    """

    @checked
    def __init__(self, config: Config, decoder: Any = None):
        super().__init__()
        self.config = config
        chosen = config.decoder if decoder is None else decoder
        self.decoder = build_decoder(chosen, config.architecture)

    def forward(
        self, batch: Rows, prelude: Tensor | None = None, positions: Tensor | None = None
    ) -> None:
        """Observes the tokens; there is nothing latent to return."""
        with pyro.plate("documents", len(batch), dim=-1):
            length = batch.tokens.shape[-1]
            likelihood = TokenSequence(
                self.decoder, None, batch.lengths, length, prelude, positions
            )
            pyro.sample("tokens", likelihood, obs=batch.tokens)


class Speaking(AutoregressiveModel):
    """A latent-thought model's own decoder, without its thoughts.

    Args:
        model: whose decoder it is, weights and all.
    """

    def __init__(self, model: TextModel):
        TextModel.__init__(self)
        self.decoder = model.decoder
