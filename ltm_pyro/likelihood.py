"""Token sequences as a Pyro distribution: p(x | z) of a whole document."""

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from ltm_pyro.decoder import Decoder
from ltm_pyro.decoding import decode

MOST_LOGITS = 2**25
"""Above this many (128 MB in fp32), logits are made piece by piece and made again for gradients."""


class TokenSequence(TorchDistribution):
    """The first n tokens of a document given its thoughts: p(x | z) = prod_i p(x_i | z, x_<i).

    A distribution over rows of `length` token ids of which the first `lengths` count; what stands
    behind them is padding and enters no likelihood. Log-probabilities are in nats and in fp32
    whatever the decoder computes in.

    Args:
        decoder: the Transformer.
        z: thoughts, shape (*batch, layers, slots, dim); None for a decoder without latents.
        lengths: number of tokens of each document, shape broadcastable to `batch`.
        length: tokens in a row (the event), at least the longest of `lengths`.
        prelude: `decoder.prelude` of the tokens that will be scored, if it is known already.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.independent(constraints.nonnegative_integer, 1)
    has_rsample = False

    def __init__(
        self,
        decoder: Decoder,
        z: Tensor | None,
        lengths: Tensor,
        length: int,
        prelude: Tensor | None = None,
    ):
        batch = lengths.shape if z is None else torch.broadcast_shapes(z.shape[:-3], lengths.shape)
        self.decoder, self.z, self.lengths, self.prelude = decoder, z, lengths, prelude
        super().__init__(torch.Size(batch), torch.Size([length]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "TokenSequence":
        """The same distribution with its batch broadcast."""
        z = None if self.z is None else self.z.expand(*batch_shape, *self.z.shape[-3:])
        lengths, length = self.lengths.expand(batch_shape), self.event_shape[0]
        return TokenSequence(self.decoder, z, lengths, length, self.prelude)

    def token_log_prob(self, tokens: Tensor) -> Tensor:
        """Log-probability of each token, 0 at padding: (*batch, length) -> same, nats."""
        shape = self.batch_shape + self.event_shape
        positions = torch.arange(shape[-1], device=tokens.device)
        counted = (positions < self.lengths[..., None]).expand(shape).reshape(-1, shape[-1])
        h = self.prelude  # it does not depend on z, so particles of one document share it
        if h is None:
            h = self.decoder.prelude(self.decoder.inputs(tokens.reshape(-1, shape[-1])))
        h = h.reshape(*tokens.shape, -1).expand(*shape, -1).reshape(-1, *h.shape[-2:])
        z = self.z
        if z is not None:
            z = z.expand(*self.batch_shape, *z.shape[-3:]).reshape(-1, *z.shape[-3:])
        hidden = self.decoder.body(h, z)
        targets = tokens.expand(shape).reshape(-1, shape[-1])
        scores = head_log_prob(hidden[counted], self.decoder.head, targets[counted])
        return (
            hidden.new_zeros(counted.shape, dtype=scores.dtype)
            .masked_scatter(counted, scores)
            .reshape(shape)
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each document in nats: (*batch, length) -> (*batch)."""
        return self.token_log_prob(value).sum(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Documents drawn token by token, padding zero: (*sample_shape, *batch, length)."""
        shape = torch.Size(sample_shape) + self.batch_shape
        z = self.z
        if z is not None:
            z = z.expand(*shape, *z.shape[-3:]).reshape(-1, *z.shape[-3:])
        length = self.event_shape[0]
        tokens = decode(self.decoder, z, shape.numel(), length).reshape(*shape, length)
        positions = torch.arange(length, device=tokens.device)
        return torch.where(positions < self.lengths[..., None], tokens, 0)


def head_log_prob(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of target tokens, fp32: hidden (M, D), head (V, D), targets (M,) -> (M,)."""
    rows = max(1, MOST_LOGITS // len(head))
    if len(hidden) <= rows:
        return _piece(hidden, head, targets)
    pieces = zip(hidden.split(rows), targets.split(rows), strict=True)
    return torch.cat([checkpoint(_piece, h, head, t, use_reentrant=False) for h, t in pieces])


def _piece(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    return -cross_entropy((hidden @ head.T).float(), targets, reduction="none")
