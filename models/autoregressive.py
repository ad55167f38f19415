"""The baseline: the same decoder without latents."""

import pyro
from torch import Tensor

from ltm_pyro.config import Config
from ltm_pyro.data.rows import Rows
from ltm_pyro.models.base import TextModel
from ltm_pyro.models.decoders.transformer import Decoder
from ltm_pyro.models.likelihood import TokenSequence


class AutoregressiveModel(TextModel):
    """p(x) = prod_n p(x_n | x_<n): layers, width, window and head of the latent-thought model.

    Only the cross-attention is left out, so its likelihood is exact and any guide's KL is zero.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.decoder = Decoder(config.architecture, thoughts=None)

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
