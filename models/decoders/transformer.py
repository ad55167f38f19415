"""The Transformer decoder p(x | z): text reads its window, and thoughts in every layer.

Follows Kong et al., *Scalable Language Models with Posterior Inference of Latent Thought Vectors*
(2025). Shapes below: B rows, N positions, D width, L layers, S slots, E size of a thought.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from ltm_pyro.config import Architecture, Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.models.decoders.attention import attend, in_window, rotate, window_attention


@dataclass
class Cache:
    """Keys and values of the last `window - 1` tokens of each layer, for decoding a step at a time.

    `position` counts the input tokens read so far; `thoughts` has the keys and values of each
    layer's thoughts, which are the same for every token.
    """

    position: int = 0
    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    thoughts: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows, given as a mask or by number."""
        for held in (self.layers, self.thoughts):
            for layer, (k, v) in held.items():
                held[layer] = k[rows], v[rows]


class SelfAttention(nn.Module):
    """Rotary self-attention over a sliding window."""

    def __init__(self, config: Architecture, layer: int):
        super().__init__()
        self.heads, self.window, self.layer = config.heads, config.window, layer
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self, h: Tensor, cache: Cache | None = None, wanted: Tensor | None = None
    ) -> Tensor:
        """(B, N, D) -> (B, N, D), or (B, M, D) at the positions `wanted` (B, M)."""
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        start = cache.position if cache else 0
        here = torch.arange(start, start + h.shape[1], device=h.device)
        q, k = rotate(q, here), rotate(k, here)
        if cache is None or start == 0:
            mixed = window_attention(q, k, v, self.window)
        else:
            old_k, old_v = cache.layers[self.layer]
            k, v = torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)
            seen = torch.arange(start + h.shape[1] - k.shape[2], start + h.shape[1])
            mask = in_window(here, seen.to(h.device), self.window)
            mixed = attend(q, k, v, mask)
        if cache is not None:
            keep = self.window - 1
            cache.layers[self.layer] = (
                k[:, :, k.shape[2] - min(keep, k.shape[2]) :],
                v[:, :, v.shape[2] - min(keep, v.shape[2]) :],
            )
        mixed = mixed.transpose(1, 2).flatten(2)
        return self.out(mixed if wanted is None else at(mixed, wanted))


class ThoughtAttention(nn.Module):
    """Cross-attention from text to the thoughts of one layer.

    Queries rotate by token position; keys by positions spread evenly over the row's full length,
    so that neither padding nor the length of a document changes what a thought means.
    """

    def __init__(self, config: Architecture, thoughts: Thoughts, layer: int):
        super().__init__()
        self.heads, self.length, self.layer = config.heads, config.length, layer
        self.q = nn.Linear(config.width, config.width, bias=False)
        self.kv = nn.Linear(thoughts.dim, 2 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self, h: Tensor, z: Tensor, cache: Cache | None = None, here: Tensor | None = None
    ) -> Tensor:
        """Text (B, N, D) and thoughts (B, S, E) -> (B, N, D).

        Text stands at positions `here` (B, N), else all in a row from the cache's position on.
        """
        q = self.q(h).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if here is None:
            start = cache.position if cache else 0
            here = torch.arange(start, start + h.shape[1], device=h.device)
        if cache is None:
            k, v = self.keys_and_values(z)
        else:
            if self.layer not in cache.thoughts:
                cache.thoughts[self.layer] = self.keys_and_values(z)
            k, v = cache.thoughts[self.layer]
        mixed = attend(rotate(q, here), k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def keys_and_values(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Thoughts (B, S, E) -> both (B, heads, S, size)."""
        k, v = self.kv(z).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        slots = z.shape[-2]
        spread = (torch.arange(slots, device=z.device) + 0.5) * (self.length / slots)
        return rotate(k, spread), v


class SwiGLU(nn.Module):
    """Gated feed-forward layer (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.out = nn.Linear(hidden, width, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.out(silu(self.gate(h)) * self.up(h))


class Block(nn.Module):
    """One pre-norm layer: read the window, read the thoughts, think it over."""

    def __init__(self, config: Architecture, thoughts: Thoughts | None, layer: int):
        super().__init__()
        self.text_norm = nn.RMSNorm(config.width)
        self.text = SelfAttention(config, layer)
        if thoughts is not None:
            self.thought_norm = nn.RMSNorm(config.width)
            self.thought = ThoughtAttention(config, thoughts, layer)
        self.feed_norm = nn.RMSNorm(config.width)
        self.feed = SwiGLU(config.width, config.feedforward)

    def read_text(
        self, h: Tensor, cache: Cache | None = None, wanted: Tensor | None = None
    ) -> Tensor:
        """The part that does not look at z: (B, N, D) -> same, or (B, M, D) at `wanted` (B, M)."""
        read = self.text(self.text_norm(h), cache, wanted)
        return (h if wanted is None else at(h, wanted)) + read

    def forward(
        self,
        h: Tensor,
        z: Tensor | None,
        cache: Cache | None = None,
        wanted: Tensor | None = None,
        has_read: bool = False,
    ) -> Tensor:
        """Text (B, N, D) and this layer's thoughts (B, S, E) -> (B, N, D).

        Or (B, M, D), at the positions `wanted` (B, M). Where it `has_read` the text, `h` is what
        `read_text` gave.
        """
        if not has_read:
            h = self.read_text(h, cache, wanted)
        elif wanted is not None:
            h = at(h, wanted)
        if z is not None:
            h = h + self.thought(self.thought_norm(h), z, cache, wanted)
        return h + self.feed(self.feed_norm(h))


def at(h: Tensor, wanted: Tensor) -> Tensor:
    """(B, N, D) at the positions `wanted` (B, M) of each row -> (B, M, D)."""
    return h.gather(1, wanted[..., None].expand(*wanted.shape, h.shape[-1]))


class Decoder(nn.Module):
    """Hidden states of a token sequence given its thoughts; the head is tied to the embedding.

    `thoughts=None` leaves the cross-attention out: the same decoder without latents. `low` is the
    dtype of matrix products where it is not that of the weights, `run_layer` what runs a layer
    where that is not the layer itself; see `ltm_pyro.models.decoders.computing`.
    """

    low: torch.dtype | None = None
    run_layer: Callable[..., Tensor] | None = None

    def __init__(self, config: Architecture, thoughts: Thoughts | None):
        super().__init__()
        self.config, self.thoughts = config, thoughts
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config, thoughts, i) for i in range(config.layers))
        self.norm = nn.RMSNorm(config.width)
        residual = 0.02 / (2 * config.layers) ** 0.5
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=residual if name.endswith("out.weight") else 0.02)

    @property
    def head(self) -> Tensor:
        """Output weights, shape (vocabulary, D)."""
        return self.embedding.weight

    def precision(self) -> torch.autocast:
        """A block that computes as `low` says."""
        device = self.head.device.type
        return torch.autocast(device, self.low or torch.bfloat16, enabled=self.low is not None)

    def inputs(self, tokens: Tensor) -> Tensor:
        """What each position reads: begin-of-text, then the tokens but the last. (B, N) -> same.

        Raises:
            InputError: for a token id outside the vocabulary, or a row longer than the decoder's.
        """
        if tokens.shape[-1] > self.config.length:
            raise InputError(
                f"a row of {tokens.shape[-1]} tokens: this decoder reads {self.config.length}"
            )
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < len(self.head):
            bad = tokens[(tokens < 0) | (tokens >= len(self.head))][0]
            raise InputError(
                f"token id {int(bad)} lies outside the vocabulary of {len(self.head)}: "
                "is this text from another tokenizer?"
            )
        begin = tokens.new_full((*tokens.shape[:-1], 1), self.config.begin)
        return torch.cat([begin, tokens[..., :-1]], dim=-1)

    def prelude(self, inputs: Tensor, cache: Cache | None = None) -> Tensor:
        """Everything before the first look at z: (B, N) token ids -> (B, N, D)."""
        return self.blocks[0].read_text(self.embedding(inputs), cache)  # type: ignore[operator]

    def body(
        self,
        h: Tensor,
        z: Tensor | None,
        cache: Cache | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """From the prelude (B, N, D) and thoughts (B, L, S, E) to hidden states (B, N, D).

        Where only some positions are `wanted` (B, M), they are (B, M, D).
        """
        length, run = h.shape[1], self.run_layer
        for i, block in enumerate(self.blocks):
            last = i == len(self.blocks) - 1  # of what stands elsewhere, it needs the text alone
            arguments = None if z is None else z[:, i], cache, wanted if last else None, i == 0
            h = block(h, *arguments) if run is None else run(block, h, *arguments)
        if cache is not None:
            cache.position += length
        return self.norm(h)

    def forward(
        self, inputs: Tensor, z: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Token ids (B, N) and thoughts (B, L, S, E) -> hidden states (B, N, D).

        With a cache, `inputs` go on from where the last call ended, and the thoughts are those
        of the first call.
        """
        return self.body(self.prelude(inputs, cache), z, cache)
