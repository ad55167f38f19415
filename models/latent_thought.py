"""The latent-thought language model p(z) p(x | z)."""

import functools
import inspect
from typing import Any

import pyro
from torch import Tensor

from ltm_pyro.config import Config, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.models.base import TextModel
from ltm_pyro.models.decoders.build import build_decoder
from ltm_pyro.models.likelihood import TokenSequence
from ltm_pyro.models.priors.base import Prior
from ltm_pyro.models.priors.build import build_prior
from ltm_pyro.models.priors.normal import StandardNormal
from ltm_pyro.options import checked, shown


class LatentThoughtModel(TextModel):
    """Thoughts from a prior guide a decoder through cross-attention in every layer.

    The generative process of Kong et al. (2025), for each document d of a batch::

        z_d ~ prior                      shape (layers, slots, dim)
        tokens_d ~ TokenSequence(z_d)    p(x | z) = prod_n p(x_n | z, x_<n)

    Args:
        config: its `architecture` and `thoughts` are used, and what stands below.
        prior: p(z): a prior for the same thoughts, a class, or a `functools.partial` of one; the
            configuration's unless given, or, of a class of one's own, standard normals.
        decoder: p(x | z): a name, a `Named`, a class, a `functools.partial` of one, or a decoder
            made for the same sizes; the configuration's unless given.

    Example:
        >>> import ltm_pyro as ltm
        >>> from ltm_pyro.models import LatentThoughtModel, priors
        >>> config = ltm.preset("tiny")
        >>> model = LatentThoughtModel(config, priors.Mixture(config.thoughts, components=4))
        >>> model.parameter_count()
        732548
    """

    samples_prior_alone = True

    @checked
    def __init__(self, config: Config, prior: Any = None, decoder: Any = None):
        super().__init__()
        self.config = config
        self.thoughts = config.thoughts
        if prior is None and type(self) is LatentThoughtModel:
            prior = build_prior(config.prior, config.thoughts, config.data.columns)
        self.prior = _prior(StandardNormal if prior is None else prior, config.thoughts)
        chosen = config.decoder if decoder is None else decoder
        self.decoder = build_decoder(chosen, config.architecture, config.thoughts)

    def forward(
        self, batch: Rows, prelude: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Returns z, shape (*plates, documents, layers, slots, dim)."""
        with pyro.plate("documents", len(batch), dim=-1):
            z: Tensor = self.prior(batch)
            if tuple(z.shape[-3:]) != self.thoughts.shape:
                raise InputError(
                    f"{type(self.prior).__name__} gives z of shape {tuple(z.shape)}: expected "
                    f"(..., documents, {', '.join(map(str, self.thoughts.shape))}), that is "
                    "(layers, slots, dim) of each document"
                )
            return self.observe(batch, z, prelude, positions)

    def observe(
        self, batch: Rows, z: Tensor, prelude: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Observe the tokens given z, in the plate of documents: for a `forward` of one's own.

        `prelude` and `positions` are those of `forward`. Returns z.
        """
        length = batch.tokens.shape[-1]
        likelihood = TokenSequence(self.decoder, z, batch.lengths, length, prelude, positions)
        pyro.sample("tokens", likelihood, obs=batch.tokens)
        return z


def _prior(chosen: Any, thoughts: Thoughts) -> Prior:
    """A prior over these thoughts.

    Raises:
        InputError: for what is none, or one over other thoughts.
    """
    makes = isinstance(chosen, functools.partial) or (
        inspect.isclass(chosen) and issubclass(chosen, Prior)
    )
    made = chosen(thoughts) if makes else chosen
    if not isinstance(made, Prior):
        raise InputError(
            f"prior is {shown(chosen)}: expected an object or a class below "
            "ltm_pyro.models.priors.Prior, such as priors.Mixture(config.thoughts, components=4); "
            "a prior by name is Config.prior"
        )
    if made.thoughts != thoughts:
        raise InputError(
            f"the prior is over {made.thoughts}, the configuration has {thoughts}: make it with "
            f"{type(made).__name__}(config.thoughts)"
        )
    return made
