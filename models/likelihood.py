"""Token sequences as a Pyro distribution: p(x | z) of a whole document."""

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ltm_pyro.models.decoders.base import Decoder
from ltm_pyro.models.decoders.decode import decode
from ltm_pyro.models.decoders.head import head_log_prob


class TokenSequence(TorchDistribution):
    """The first n tokens of a document given its thoughts: p(x | z) = prod_i p(x_i | z, x_<i).

    A distribution over rows of `length` token ids of which the first `lengths` count; what stands
    behind them is padding and enters no likelihood. Log-probabilities are in nats and in fp32
    whatever the decoder computes in.

    Args:
        decoder: any of `ltm_pyro.models.decoders`.
        z: thoughts, shape (*batch, layers, slots, dim); None for a decoder without latents.
        lengths: number of tokens of each document, shape broadcastable to `batch`.
        length: tokens in a row (the event), at least the longest of `lengths`.
        prelude: `decoder.read` of the tokens that will be scored, if it is known already.
        positions: the tokens to score where not all are, as `draw_positions` draws them, shape
            broadcastable to (*batch, m). A document's log-probability is then estimated from its
            share of them, n tokens over their number times their sum.
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
        positions: Tensor | None = None,
    ):
        batch = lengths.shape if z is None else torch.broadcast_shapes(z.shape[:-3], lengths.shape)
        self.decoder, self.z, self.lengths = decoder, z, lengths
        self.prelude, self.positions = prelude, positions
        super().__init__(torch.Size(batch), torch.Size([length]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "TokenSequence":
        """The same distribution with its batch broadcast."""
        z = None if self.z is None else self.z.expand(*batch_shape, *self.z.shape[-3:])
        lengths, length = self.lengths.expand(batch_shape), self.event_shape[0]
        return TokenSequence(self.decoder, z, lengths, length, self.prelude, self.positions)

    def token_log_prob(self, tokens: Tensor) -> Tensor:
        """Log-probability of each token that is scored, else 0: (*batch, length) -> same, nats."""
        shape = self.batch_shape + self.event_shape
        wanted, counted, targets = None, self._counted(tokens.device), tokens
        if self.positions is not None:
            counted = self.positions >= 0
            wanted = self.positions.clamp(min=0)
            some = (*torch.broadcast_shapes(tokens.shape[:-1], wanted.shape[:-1]), wanted.shape[-1])
            targets = tokens.expand(*some[:-1], shape[-1]).gather(-1, wanted.expand(some))
            wanted = wanted.expand(*self.batch_shape, -1).reshape(-1, wanted.shape[-1])
        h = self.prelude  # it does not depend on z, so particles of one document share it
        if h is None:
            h = self.decoder.read(tokens.reshape(-1, shape[-1]))
        h = h.reshape(*tokens.shape, -1).expand(*shape, -1).reshape(-1, *h.shape[-2:])
        z = self.z
        if z is not None:
            z = z.expand(*self.batch_shape, *z.shape[-3:]).reshape(-1, *z.shape[-3:])
        targets, counted = (x.expand(*self.batch_shape, -1) for x in (targets, counted))
        with self.decoder.precision():
            hidden = self.decoder.hidden(h, z, wanted)
            scores = self._scores(hidden.flatten(0, 1), targets.flatten(), counted.flatten())
        scores = scores.reshape(targets.shape)
        if wanted is None:
            return scores
        # Only tokens that count are put in place: for the others zero is added somewhere.
        return scores.new_zeros(shape).scatter_add(-1, wanted.reshape(scores.shape), scores)

    def _scores(self, hidden: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
        """Log-probabilities from hidden states (M, D), 0 for what does not count: (M,)."""
        head = self.decoder.head
        if _waits(hidden):  # to learn how many count
            return torch.where(counted, head_log_prob(hidden, head, targets), 0.0)
        those = counted.nonzero()[:, 0]
        scores = head_log_prob(hidden[those], head, targets[those])
        return scores.new_zeros(len(counted)).index_copy(0, those, scores)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each document in nats: (*batch, length) -> (*batch)."""
        total = self.token_log_prob(value).sum(-1)
        if self.positions is None:
            return total
        return total * self.lengths / (self.positions >= 0).sum(-1).clamp(min=1)

    def _counted(self, device: torch.device) -> Tensor:
        """The positions that are not padding, (*lengths, length)."""
        return torch.arange(self.event_shape[0], device=device) < self.lengths[..., None]

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


def _waits(x: Tensor) -> bool:
    """Whether to look at a tensor is to wait for the device it is on."""
    return x.device.type != "cpu"


def draw_positions(mask: Tensor, fraction: float) -> Tensor:
    """A random share of each document's tokens, all equally likely: positions (documents, m).

    Args:
        mask: which positions hold a token, (documents, length).
        fraction: of a document's n tokens, ceil(fraction * n) are drawn, without replacement,
            from torch's global generator. Rows of documents with fewer than the m of the longest
            possible one are filled up with -1.
    """
    order = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, 2.0)
    most = math.ceil(fraction * mask.shape[-1])
    drawn = (fraction * mask.sum(-1, keepdim=True).double()).ceil()
    first = order.argsort(-1)[..., :most]
    return first.masked_fill(torch.arange(most, device=mask.device) >= drawn, -1)
