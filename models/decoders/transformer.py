"""The Transformer decoder of Kong et al. (2025): text is read by attention over a window.

*Scalable Language Models with Posterior Inference of Latent Thought Vectors*, arXiv:2502.01567.
"""

import torch
from torch import Tensor, nn

from ltm_pyro.config import Architecture, Thoughts
from ltm_pyro.models.decoders.attention import attend, in_window, rotate, window_attention
from ltm_pyro.models.decoders.stack import Mixer, Stack
from ltm_pyro.models.decoders.state import Memory


class SelfAttention(Mixer):
    """Rotary self-attention over a sliding window; it remembers the window's keys and values."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        width = architecture.width
        self.heads, self.window = architecture.heads, architecture.window
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def mix(self, h: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        qkv = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        n = h.shape[1]
        here = torch.arange(n, device=h.device) if memory is None else memory.positions(n)
        (q, k), v = rotate(qkv[:2], here), qkv[2]
        if memory is None:
            return window_attention(q, k, v, self.window).transpose(1, 2).flatten(2)
        first = not memory.held
        k, v = (
            x.transpose(1, 2)
            for x in memory.extend(self.window - 1, k.transpose(1, 2), v.transpose(1, 2))
        )
        if first:
            mixed = window_attention(q, k, v, self.window)
        else:
            seen = memory.positions(n, before=k.shape[2] - n)
            mask = in_window(here, seen, self.window) & (seen >= 0)[:, None]
            mixed = attend(q, k, v, mask[:, None])
        return mixed.transpose(1, 2).flatten(2)


class Transformer(Stack):
    """Layers of windowed self-attention, cross-attention to thoughts, and SwiGLU."""

    def __init__(self, architecture: Architecture, thoughts: Thoughts | None):
        super().__init__(architecture, thoughts, SelfAttention)

    @property
    def reach(self) -> int:
        """Each layer brings in what lies `window - 1` tokens further back."""
        return self.architecture.layers * (self.architecture.window - 1) + 1
