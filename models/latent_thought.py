"""The latent-thought language model p(z) p(x | z)."""

from typing import Any

import pyro
from torch import Tensor

from ltm_pyro.config import Config
from ltm_pyro.data.rows import Rows
from ltm_pyro.models.base import TextModel
from ltm_pyro.models.decoders.build import build_decoder
from ltm_pyro.models.likelihood import TokenSequence
from ltm_pyro.models.priors.base import Prior
from ltm_pyro.models.priors.normal import StandardNormal


class LatentThoughtModel(TextModel):
    """Thoughts from a prior guide a decoder through cross-attention in every layer.

    The generative process of Kong et al. (2025), for each document d of a batch::

        z_d ~ prior                      shape (layers, slots, dim)
        tokens_d ~ TokenSequence(z_d)    p(x | z) = prod_n p(x_n | z, x_<n)

    Args:
        config: its `architecture` and `thoughts` are used.
        prior: p(z); independent standard normals unless given.
        decoder: p(x | z): a name, a `Named`, a class, a `functools.partial` of one, or a decoder
            made for the same sizes; the configuration's unless given.
    """

    def __init__(self, config: Config, prior: Prior | None = None, decoder: Any = None):
        super().__init__()
        self.config = config
        self.thoughts = config.thoughts
        self.prior = prior if prior is not None else StandardNormal(config.thoughts)
        chosen = config.decoder if decoder is None else decoder
        self.decoder = build_decoder(chosen, config.architecture, config.thoughts)

    def forward(
        self, batch: Rows, prelude: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Returns z, shape (*plates, documents, layers, slots, dim)."""
        with pyro.plate("documents", len(batch), dim=-1):
            z: Tensor = self.prior(batch)
            length = batch.tokens.shape[-1]
            likelihood = TokenSequence(self.decoder, z, batch.lengths, length, prelude, positions)
            pyro.sample("tokens", likelihood, obs=batch.tokens)
        return z
