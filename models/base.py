"""What every model of text has: a decoder, and a Pyro program over a plate of documents."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from ltm_pyro.data.rows import Rows
from ltm_pyro.models.decoders.base import Decoder


class TextModel(nn.Module, ABC):
    """A Pyro model of rows of tokens.

    It observes `tokens`, and whatever else it likes, and samples what it likes, in the plate
    `documents` (dim -1), so that every quantity of a trace comes per document: latent sites of any
    event shape and support, discrete ones of few values, which are summed out, and, outside the
    plate, sites that all documents share. `ltm_pyro.programs.reading.Sites.of(model, rows)` lists
    them, and refuses by name what cannot be handled.
    """

    EXPECTED: ClassVar[str] = "a TextModel (of a wrapped one give what it wraps: model.module)"

    samples_prior_alone: ClassVar[bool] = False
    """Whether the `forward` that this class itself defines samples nothing but its prior."""

    decoder: Decoder

    @abstractmethod
    def forward(self, batch: Rows, prelude: Tensor | None = None) -> Tensor | None:
        """Sample the latent sites, observe the tokens; returns z or None for no latents.

        `prelude` is what `read` returned for this batch, if it has been computed already. A model
        that also takes `positions`, indices of shape (documents, m) as from `draw_positions`,
        observes those tokens alone, its log-likelihood scaled up, so that fast steps can do with
        a part of the tokens.
        """

    def read(self, batch: Rows) -> Tensor | None:
        """The part of the decoder that does not depend on z, (documents, tokens, width), if any.

        It is the same for every draw of z, so whoever evaluates a batch many times with the model
        fixed computes it once.
        """
        return self.decoder.read(batch.tokens)

    def having_read(self, batch: Rows) -> Callable[..., Any]:
        """This model for many evaluations of one batch: what does not depend on z is computed once.

        It holds as long as the weights do not change.
        """
        return functools.partial(self, prelude=self.read(batch))

    def parameter_count(self) -> int:
        """Number of global parameters (the tied embedding counted once)."""
        return sum(p.numel() for p in self.parameters())
