"""The yardstick: Algorithm 1 of Kong et al. (2025) as one would first write it in plain torch.

No Pyro, attention with an N x N mask, all logits, and an ordinary backward pass through everything
in every step. Architecture, parameter names, mathematics and schedules are those of the library.
B rows, N tokens, D width, L layers, S slots, E size of a thought.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, scaled_dot_product_attention, silu

from ltm_pyro.config import Config, Fast, Slow
from ltm_pyro.inference.schedule import slow_rate


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary embedding of (B, heads, N, size) by angles (N, size / 2)."""
    cos, sin = angles.cos(), angles.sin()
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class TextAttention(nn.Module):
    """Self-attention with a mask."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, h: Tensor, mask: Tensor, angles: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = scaled_dot_product_attention(rotated(q, angles), rotated(k, angles), v, mask)
        return self.out(h.transpose(1, 2).flatten(2))


class ThoughtAttention(nn.Module):
    """Cross-attention to the thoughts of a layer."""

    def __init__(self, width: int, heads: int, dim: int):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(dim, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, h: Tensor, z: Tensor, angles: Tensor, spread: Tensor) -> Tensor:
        """(B, N, D) and (B, S, E) -> (B, N, D)."""
        q = self.q(h).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(z).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = scaled_dot_product_attention(rotated(q, angles), rotated(k, spread), v)
        return self.out(h.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.out = nn.Linear(hidden, width, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.out(silu(self.gate(h)) * self.up(h))


class Block(nn.Module):
    """A layer."""

    def __init__(self, width: int, heads: int, hidden: int, dim: int):
        super().__init__()
        self.text_norm = nn.RMSNorm(width)
        self.text = TextAttention(width, heads)
        self.thought_norm = nn.RMSNorm(width)
        self.thought = ThoughtAttention(width, heads, dim)
        self.feed_norm = nn.RMSNorm(width)
        self.feed = FeedForward(width, hidden)


class PlainDecoder(nn.Module):
    """The decoder; takes the state of `ltm_pyro.models.decoders.Transformer`."""

    mask: Tensor
    angles: Tensor
    spread: Tensor

    def __init__(self, config: Config):
        super().__init__()
        a, t = config.architecture, config.thoughts
        self.begin = a.begin
        self.embedding = nn.Embedding(a.vocabulary, a.width)
        self.layers = nn.ModuleList(
            Block(a.width, a.heads, a.feedforward, t.dim) for _ in range(a.layers)
        )
        self.norm = nn.RMSNorm(a.width)
        n, half = torch.arange(a.length), a.width // a.heads // 2
        rates = 10_000.0 ** (-torch.arange(half) / half)
        distance = n[:, None] - n
        slots = (torch.arange(t.slots) + 0.5) * (a.length / t.slots)
        self.register_buffer("mask", (distance >= 0) & (distance < a.window), persistent=False)
        self.register_buffer("angles", n[:, None] * rates, persistent=False)
        self.register_buffer("spread", slots[:, None] * rates, persistent=False)

    def forward(self, tokens: Tensor, z: Tensor) -> Tensor:
        """Tokens (B, N) and thoughts (B, L, S, E) -> logits (B, N, V)."""
        n = tokens.shape[1]
        mask, angles = self.mask[:n, :n], self.angles[:n]
        h = self.embedding(nn.functional.pad(tokens[:, :-1], (1, 0), value=self.begin))
        for i, b in enumerate(self.layers):
            h = h + b.text(b.text_norm(h), mask, angles)  # type: ignore[operator]
            h = h + b.thought(b.thought_norm(h), z[:, i], angles, self.spread)  # type: ignore[operator]
            h = h + b.feed(b.feed_norm(h))  # type: ignore[operator]
        return linear(self.norm(h), self.embedding.weight)


class PlainTraining:
    """Fast loop and slow step.

    Args:
        decoder: the decoder.
        fast: the fast loop; Adam, fresh noise.
        slow: the slow step; AdamW.
        shape: of one document's thoughts, (L, S, E).
    """

    def __init__(self, decoder: PlainDecoder, fast: Fast, slow: Slow, shape: tuple[int, ...]):
        self.decoder, self.fast, self.slow, self.shape = decoder, fast, slow, shape
        self.done = 0
        matrices = [p for p in decoder.parameters() if p.dim() >= 2]
        others = [p for p in decoder.parameters() if p.dim() < 2]
        groups = [
            {"params": matrices, "weight_decay": slow.decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=slow.lr, betas=(0.9, 0.95))

    def loss(
        self, tokens: Tensor, lengths: Tensor, mean: Tensor, log_variance: Tensor, noise: Tensor
    ) -> Tensor:
        """The negative ELBO, summed over documents, nats."""
        logits = self.decoder(tokens, mean + (0.5 * log_variance).exp() * noise)
        nats = cross_entropy(logits.flatten(0, 1).float(), tokens.flatten(), reduction="none")
        counted = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
        return nats[counted.flatten()].sum() + kl.sum()

    def step(
        self, tokens: Tensor, lengths: Tensor, noise: Callable[[int], Tensor] | None = None
    ) -> float:
        """One iteration; returns the loss in nats per token before the slow step.

        `noise` gives the standard normals (B, L, S, E) of a step, the slow one the last.
        """
        shape = (len(tokens), *self.shape)
        device = tokens.device
        mean = torch.zeros(shape, device=device, requires_grad=True)
        log_variance = torch.zeros(shape, device=device, requires_grad=True)
        local = torch.optim.Adam([mean, log_variance], lr=self.fast.lr)
        steps, final = self.fast.steps, self.fast.final
        for i in range(steps):
            for group in local.param_groups:
                phase = 0.5 * (1 + math.cos(math.pi * i / max(1, steps - 1)))
                group["lr"] = self.fast.lr * (final + (1 - final) * phase)
            draw = torch.randn(shape, device=device) if noise is None else noise(i)
            local.zero_grad()
            self.optimizer.zero_grad()
            self.loss(tokens, lengths, mean, log_variance, draw).backward()
            local.step()
        draw = torch.randn(shape, device=device) if noise is None else noise(steps)
        self.optimizer.zero_grad()
        loss = self.loss(tokens, lengths, mean.detach(), log_variance.detach(), draw)
        (loss / lengths.sum()).backward()
        nn.utils.clip_grad_norm_(self.decoder.parameters(), self.slow.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = slow_rate(self.slow, self.done, None)
        self.optimizer.step()
        self.done += 1
        return float(loss.detach() / lengths.sum())
