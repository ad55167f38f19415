"""What a decoder is: p(x | z) of a token sequence given its thoughts.

Shapes: B rows, N positions, D width, L layers, S slots, E size of a thought, V words.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ltm_pyro.config import Architecture, Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.models.decoders.state import State


class Decoder(nn.Module, ABC):
    """Hidden states of a token sequence given its thoughts, and the head that scores them.

    Position n reads the tokens before it, and hidden[n] @ head.T are the logits of token n. With
    `thoughts=None` it is the same decoder without latents. Constructor arguments beyond
    `architecture` and `thoughts` are its options, kept as attributes of the same name, so that a
    saved model can be built again.

    `layers` are what is compiled or run again in the backward pass, through `run`; `low` is the
    dtype of matrix products where it is not that of the weights, `run_layer` what runs a layer
    where that is not the layer itself; `ltm_pyro.models.decoders.computing` sets both.
    """

    layers: nn.ModuleList
    low: torch.dtype | None = None
    run_layer: Callable[..., Tensor] | None = None

    def __init__(self, architecture: Architecture, thoughts: Thoughts | None):
        super().__init__()
        self.architecture, self.thoughts = architecture, thoughts

    @property
    @abstractmethod
    def reach(self) -> int | None:
        """How many input tokens a hidden state sees, itself included; None for the whole row."""

    @property
    @abstractmethod
    def head(self) -> Tensor:
        """Output weights, shape (V, D)."""

    @abstractmethod
    def read(self, tokens: Tensor) -> Tensor:
        """All that does not depend on z, from token ids (B, N), `inputs` checked: (B, N, D)."""

    def own(self, z: Tensor, layer: int) -> Tensor:
        """What a layer attends to, (B, S, E): its own thoughts, or those that all layers share."""
        return z[:, layer if z.shape[1] > 1 else 0]

    @abstractmethod
    def hidden(self, h: Tensor, z: Tensor | None, wanted: Tensor | None = None) -> Tensor:
        """From what was read (B, N, D) and thoughts (B, L, S, E) to hidden states (B, N, D).

        Where only some positions are `wanted` (B, M), they are (B, M, D).
        """

    @abstractmethod
    def start(self, z: Tensor | None, rows: int, rewinds: int = 0) -> State:
        """Before the first token of `rows` texts, given thoughts (B, L, S, E).

        Up to `rewinds` tokens can be taken back at any time.
        """

    @abstractmethod
    def next(self, state: State, inputs: Tensor) -> Tensor:
        """Read n more input tokens (B, n); their hidden states (B, n, D). The state moves on."""

    def silence(self) -> None:
        """Draw what reads z anew, such that p(x | z) is the same for every z, and not its gradient.

        It is then what `hidden(h, None)` gives, so thoughts can be grown on a decoder that speaks.

        Raises:
            InputError: for a class that does not say how.
        """
        raise InputError(
            f"{type(self).__name__} cannot be grown thoughts on: it has no method silence(), which "
            "begins where hidden(h, z) is hidden(h, None) for every z"
        )

    def hearing(self) -> list[Tensor]:
        """The parameters that serve to read z alone, and may have a rate of their own.

        Raises:
            InputError: for a class that does not say which.
        """
        if self.thoughts is None:
            return []
        raise InputError(
            f"{type(self).__name__} does not say which of its weights read thoughts, so these have "
            "no rate of their own: give it a method hearing(), or leave out slow.thoughts_lr"
        )

    def forward(self, tokens: Tensor, z: Tensor | None = None) -> Tensor:
        """Token ids (B, N) and thoughts (B, L, S, E) -> hidden states (B, N, D)."""
        return self.hidden(self.read(tokens), z)

    def inputs(self, tokens: Tensor) -> Tensor:
        """What each position reads: begin-of-text, then the tokens but the last. (B, N) -> same.

        Raises:
            InputError: for a token id outside the vocabulary, or a row longer than the decoder's.
        """
        architecture = self.architecture
        if tokens.shape[-1] > architecture.length:
            raise InputError(
                f"a row of {tokens.shape[-1]} tokens: this decoder reads {architecture.length}"
            )
        words = architecture.vocabulary
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < words:
            bad = tokens[(tokens < 0) | (tokens >= words)][0]
            raise InputError(
                f"token id {int(bad)} lies outside the vocabulary of {words}: "
                "is this text from another tokenizer?"
            )
        begin = tokens.new_full((*tokens.shape[:-1], 1), architecture.begin)
        return torch.cat([begin, tokens[..., :-1]], dim=-1)

    def precision(self) -> torch.autocast:
        """A block that computes as `low` says."""
        device = self.head.device.type
        return torch.autocast(device, self.low or torch.bfloat16, enabled=self.low is not None)

    def run(self, layer: nn.Module, *arguments: Any) -> Tensor:
        """A layer, compiled or run again in the backward pass as `run_layer` says."""
        out: Tensor = (
            layer(*arguments) if self.run_layer is None else self.run_layer(layer, *arguments)
        )
        return out
