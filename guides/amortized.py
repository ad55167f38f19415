"""Guides with an encoder that all documents share: the VAE, and the VAE refined."""

from typing import Annotated, Any

import pyro
import pyro.distributions as dist
import torch
from annotated_types import Ge, MultipleOf
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ltm_pyro.config import Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.guides.base import Guide
from ltm_pyro.guides.mean_field import to_natural
from ltm_pyro.options import checked

Width = Annotated[int, Ge(2), MultipleOf(2)]
"""Half for each direction."""
Moments = tuple[Tensor, Tensor]
"""Location and log variance, each (documents, layers, slots, dim)."""


class TokenEncoder(nn.Module):
    """Tokens to moments: a two-way GRU over an embedding, averaged over the tokens that count.

    Args:
        thoughts: what to encode into.
        vocabulary: number of token ids.
        width: size of the embedding and of the GRU's two directions together.
    """

    def __init__(self, thoughts: Thoughts, vocabulary: int, width: int):
        super().__init__()
        self.thoughts = thoughts
        self.embedding = nn.Embedding(vocabulary, width)
        self.gru = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.head = _head(width, thoughts)

    def forward(self, batch: Rows) -> Moments:
        """The moments of each row."""
        # Packed, so that no state reads padding and a row's code does not depend on its batch.
        lengths = batch.lengths.clamp(min=1).cpu()
        packed = pack_padded_sequence(
            self.embedding(batch.tokens), lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(
            self.gru(packed)[0], batch_first=True, total_length=batch.tokens.shape[1]
        )
        weight = batch.mask.to(states.dtype)[..., None]
        pooled = (states * weight).sum(1) / weight.sum(1).clamp(min=1)
        return _moments(self.head(pooled), self.thoughts)


class ValueEncoder(nn.Module):
    """Rows of real numbers to moments, linearly: from the values and from which of them count.

    Args:
        thoughts: what to encode into.
        length: most values in a row.
    """

    def __init__(self, thoughts: Thoughts, length: int):
        super().__init__()
        self.thoughts, self.length = thoughts, length
        self.head = _head(2 * length, thoughts)

    def forward(self, batch: Rows) -> Moments:
        """The moments of each row."""
        mask = batch.mask.to(self.head.weight.dtype)
        values = torch.where(batch.mask, batch.tokens, 0).to(mask.dtype)
        missing = (0, self.length - mask.shape[1])
        both = [nn.functional.pad(x, missing) for x in (values, mask)]
        return _moments(self.head(torch.cat(both, -1)), self.thoughts)


def _head(inputs: int, thoughts: Thoughts) -> nn.Linear:
    """The last layer: small at first, so that an encoder starts near N(0, I)."""
    head = nn.Linear(inputs, 2 * thoughts.count * thoughts.dim)
    nn.init.normal_(head.weight, std=0.1 * inputs**-0.5)
    nn.init.zeros_(head.bias)
    return head


def _moments(out: Tensor, thoughts: Thoughts) -> Moments:
    loc, log_variance = out.unflatten(-1, (2, *thoughts.shape)).unbind(1)
    return loc, log_variance


def _normal(moments: Moments) -> TorchDistribution:
    loc, log_variance = moments
    return dist.Normal(loc, (0.5 * log_variance).exp(), validate_args=False).to_event(3)


class _Encoded(Guide):
    """What guides with an encoder have in common.

    Args:
        thoughts: layers, slots and size of the thoughts.
        batch_size: number of documents.
        shared: the encoder: a module from `Rows` to location and log variance, each
            (documents, layers, slots, dim). `of(model)` makes it.
        width: of the encoder that `of` makes.
    """

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        batch_size: int,
        shared: nn.Module | None = None,
        width: Width = 128,
    ):
        super().__init__(thoughts, batch_size, shared)
        if shared is None:
            name = type(self).__name__
            raise InputError(f"{name} needs an encoder: {name}.of(model) makes one and binds it")
        self.width = width

    @classmethod
    @checked
    def make_shared(cls, model: Any, width: Width = 128, **options: Any) -> nn.Module:
        """A new encoder for a model, on the model's device.

        Raises:
            InputError: for a model without thoughts, or an odd width.
        """
        thoughts, parameter = getattr(model, "thoughts", None), next(model.parameters())
        if thoughts is None:
            raise InputError(f"{type(model).__name__} has no thoughts to encode into")
        if hasattr(model, "config"):
            encoder: nn.Module = TokenEncoder(thoughts, model.config.architecture.vocabulary, width)
        elif hasattr(model, "weight"):
            encoder = ValueEncoder(thoughts, len(model.weight))
        else:
            raise InputError(
                f"no encoder is known for {type(model).__name__}: give {cls.__name__} one as "
                "`shared`, a module from Rows to location and log variance"
            )
        return encoder.to(parameter.device, parameter.dtype)


class Amortized(_Encoded):
    """The variational autoencoder's guide: q(z_d) = N(loc(x_d), diag exp(log_variance(x_d))).

    Nothing is fitted to a document, so there are no fast steps; the encoder learns in the slow
    step, with the decoder (Kingma & Welling 2014). The baseline that latent-thought models are
    compared with. Fitted guides keep what the encoder said when they were made.
    """

    loc: Tensor
    log_variance: Tensor

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        batch_size: int,
        shared: nn.Module | None = None,
        width: Width = 128,
    ):
        super().__init__(thoughts, batch_size, shared, width)
        shape = (batch_size, *thoughts.shape)
        self.register_buffer("loc", torch.zeros(shape))
        self.register_buffer("log_variance", torch.zeros(shape))
        self.started = False

    @torch.no_grad()
    def start(self, model: Any, batch: Rows) -> None:
        """Encode the rows."""
        self.loc, self.log_variance = self.shared(batch)
        self.started = True

    def distribution(self) -> TorchDistribution:
        """What the encoder said at the start; batch shape (documents,)."""
        return _normal((self.loc, self.log_variance))

    def forward(self, batch: Rows) -> Tensor:
        """Sample `z`. Where gradients are wanted the encoder is asked anew, as it is now."""
        if self.started and not torch.is_grad_enabled():
            return super().forward(batch)
        with pyro.plate("documents", self.batch_size, dim=-1):
            return pyro.sample("z", _normal(self.shared(batch)))


class SemiAmortized(_Encoded):
    """A mean-field guide whose fast steps start from what an encoder proposes.

    The encoder learns in the slow step to propose what the steps end with: it descends
    KL(fitted q || proposal), with the fitted q fixed (cf. Kim et al. 2018, arXiv:1802.02550, who
    differentiate through the steps instead).
    """

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        batch_size: int,
        shared: nn.Module | None = None,
        width: Width = 128,
    ):
        super().__init__(thoughts, batch_size, shared, width)
        shape = (batch_size, *thoughts.shape)
        self.loc = nn.Parameter(torch.zeros(shape))
        self.log_variance = nn.Parameter(torch.zeros(shape))
        self._batch: Rows | None = None

    @torch.no_grad()
    def start(self, model: Any, batch: Rows) -> None:
        """Set the location and log variance to the encoder's."""
        loc, log_variance = self.shared(batch)
        self.loc.copy_(loc)
        self.log_variance.copy_(log_variance)
        self._batch = batch

    def distribution(self) -> TorchDistribution:
        """Batch shape (documents,), event shape (layers, slots, dim)."""
        return _normal((self.loc, self.log_variance))

    def natural_gradient(self) -> None:
        """Multiply the gradients by the inverse Fisher matrix of q, in place."""
        to_natural(self.loc, self.log_variance)

    def slow_loss(self) -> Tensor | None:
        """KL(fitted q || the encoder's proposal), (documents,), nats."""
        if self._batch is None:
            return None
        fitted = _normal((self.loc.detach(), self.log_variance.detach()))
        loss: Tensor = kl_divergence(fitted, _normal(self.shared(self._batch)))
        return loss
