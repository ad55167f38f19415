"""Decoders of layers, which differ in their mixer alone: how a position reads the text before it.

Each layer reads the text, then its own thoughts, then thinks it over, as in Kong et al., *Scalable
Language Models with Posterior Inference of Latent Thought Vectors* (2025). Shapes below: B rows, N
positions, D width, L layers, S slots, E size of a thought.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from ltm_pyro.config import Architecture, Thoughts
from ltm_pyro.models.decoders.base import Decoder
from ltm_pyro.models.decoders.feedforward import SwiGLU
from ltm_pyro.models.decoders.state import Memory, State
from ltm_pyro.models.decoders.thoughts import ThoughtAttention


class Mixer(nn.Module, ABC):
    """How text is read in one layer: the only part in which positions of a row meet.

    A subclass defines `mix`, and `out`, the linear layer back to the residual stream.
    """

    recurrent: ClassVar[bool] = False
    """Whether it goes from position to position, so that a compiler would unroll all of them: it is
    left out of what is compiled."""

    out: nn.Module

    @abstractmethod
    def mix(self, h: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, N, D) -> (B, N, anything that `out` takes); a position sees itself and those before.

        With a memory, `h` goes on from the last token it has seen.
        """

    def forward(
        self, h: Tensor, memory: Memory | None = None, wanted: Tensor | None = None
    ) -> Tensor:
        """(B, N, D) -> (B, N, D), or (B, M, D) at the positions `wanted` (B, M)."""
        mixed = self.mix(h, memory)
        read: Tensor = self.out(mixed if wanted is None else at(mixed, wanted))
        return read


class Layer(nn.Module):
    """One pre-norm layer: read the text, read the thoughts, think it over."""

    def __init__(self, architecture: Architecture, thoughts: Thoughts | None, mixer: Mixer):
        super().__init__()
        width = architecture.width
        self.text_norm = nn.RMSNorm(width)
        self.text = mixer
        if thoughts is not None:
            self.thought_norm = nn.RMSNorm(width)
            self.thought = ThoughtAttention(architecture, thoughts)
        self.feed_norm = nn.RMSNorm(width)
        self.feed = SwiGLU(width, architecture.feedforward)

    def read_text(
        self, h: Tensor, memory: Memory | None = None, wanted: Tensor | None = None
    ) -> Tensor:
        """The part that does not look at z: (B, N, D) -> same, or (B, M, D) at `wanted` (B, M)."""
        read = self.text(self.text_norm(h), memory, wanted)
        return (h if wanted is None else at(h, wanted)) + read

    def think(
        self, h: Tensor, known: tuple[Tensor, ...] | None, here: Tensor | None = None
    ) -> Tensor:
        """The rest, given keys and values of thoughts: (B, N, D) at positions `here` -> same."""
        if known is not None:
            h = h + self.thought(self.thought_norm(h), *known, here)
        return h + self.feed(self.feed_norm(h))

    def forward(
        self,
        h: Tensor,
        z: Tensor | None,
        wanted: Tensor | None = None,
        has_read: bool = False,
    ) -> Tensor:
        """Text (B, N, D) and this layer's thoughts (B, S, E) -> (B, N, D).

        Or (B, M, D), at the positions `wanted` (B, M). Where it `has_read` the text, `h` is what
        `read_text` gave.
        """
        return self.after_reading(self.reading(h, wanted, has_read), z, wanted)

    def reading(self, h: Tensor, wanted: Tensor | None = None, has_read: bool = False) -> Tensor:
        """The first half of `forward`: the text read, at the positions that are wanted."""
        if not has_read:
            return self.read_text(h, wanted=wanted)
        return h if wanted is None else at(h, wanted)

    def after_reading(self, h: Tensor, z: Tensor | None, wanted: Tensor | None = None) -> Tensor:
        """The second half of `forward`."""
        return self.think(h, None if z is None else self.thought.keys_and_values(z), wanted)


class Stack(Decoder):
    """Embedding, layers, a norm, and a head tied to the embedding.

    A decoder is a subclass that names its mixer and says its `reach`. Matrices start as
    N(0, 0.02^2), and those that write to the residual stream (named `out`) smaller by the root of
    the 2L that do (Radford et al. 2019); vectors start as their modules say.

    Args:
        architecture: sizes.
        thoughts: the shape of z; None leaves the cross-attention out.
        mixer: from the architecture to the mixer of a layer; one is made for each.
    """

    def __init__(
        self,
        architecture: Architecture,
        thoughts: Thoughts | None,
        mixer: Callable[[Architecture], Mixer],
    ):
        super().__init__(architecture, thoughts)
        layers = architecture.layers
        self.embedding = nn.Embedding(architecture.vocabulary, architecture.width)
        self.layers = nn.ModuleList(
            Layer(architecture, thoughts, mixer(architecture)) for _ in range(layers)
        )
        self.norm = nn.RMSNorm(architecture.width)
        residual = 0.02 / (2 * layers) ** 0.5
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=residual if name.endswith("out.weight") else 0.02)

    @property
    def head(self) -> Tensor:
        """Output weights, shape (vocabulary, D)."""
        return self.embedding.weight

    def read(self, tokens: Tensor) -> Tensor:
        """Everything before the first look at z: (B, N) token ids -> (B, N, D)."""
        return self._layer(0).read_text(self.embedding(self.inputs(tokens)))

    def hidden(self, h: Tensor, z: Tensor | None, wanted: Tensor | None = None) -> Tensor:
        """From what was read (B, N, D) and thoughts (B, L, S, E) to hidden states (B, N, D).

        Where only some positions are `wanted` (B, M), they are (B, M, D).
        """
        for i, layer in enumerate(self.layers):
            last = i == len(self.layers) - 1  # of what stands elsewhere, it needs the text alone
            own = None if z is None else self.own(z, i)
            h = self.run(layer, h, own, wanted if last else None, i == 0)
        return self.norm(h)

    def silence(self) -> None:
        """Begin where no thought is heard, in any layer."""
        for i in range(len(self.layers)):
            self._layer(i).thought.silence()

    def hearing(self) -> list[Tensor]:
        """The weights of the attention to thoughts and of its norm, in every layer."""
        if self.thoughts is None:
            return []
        layers = [self._layer(i) for i in range(len(self.layers))]
        parts = [part for layer in layers for part in (layer.thought, layer.thought_norm)]
        return [p for part in parts for p in part.parameters()]

    def start(self, z: Tensor | None, rows: int, rewinds: int = 0) -> State:
        """Before the first token; keys and values of the thoughts are made once."""
        known: list[tuple[Tensor, ...]] = []
        if z is not None:
            with self.precision():
                for i in range(len(self.layers)):
                    own = self.own(z, i)
                    known.append(self._layer(i).thought.keys_and_values(own))
        return State(rows, len(self.layers), self.head.device, rewinds, known)

    def next(self, state: State, inputs: Tensor) -> Tensor:
        """Read n more input tokens (B, n): hidden states (B, n, D). Layers run as they are."""
        with self.precision():
            h, n = self.embedding(inputs), inputs.shape[1]
            for i, memory in enumerate(state.layers):
                layer = self._layer(i)
                h = layer.read_text(h, memory)
                known = state.thoughts[i] if state.thoughts else None
                h = layer.think(h, known, memory.positions(n))
            state.advance(n)
            return self.norm(h)

    def _layer(self, i: int) -> Layer:
        layer: Layer = self.layers[i]  # type: ignore[assignment]
        return layer


def at(h: Tensor, wanted: Tensor) -> Tensor:
    """(B, N, D) at the positions `wanted` (B, M) of each row -> (B, M, D)."""
    return h.gather(1, wanted[..., None].expand(*wanted.shape, h.shape[-1]))
