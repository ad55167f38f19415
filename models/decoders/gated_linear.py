"""A decoder whose text is read by a linear recurrence with gates, all positions at once."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from ltm_pyro.config import Architecture, Thoughts
from ltm_pyro.models.decoders.stack import Mixer, Stack
from ltm_pyro.models.decoders.state import Memory


class LinearRecurrence(Mixer):
    """s_t = a_t s_{t-1} + (1 - a_t) v_t, where a_t and v_t depend on the input at t alone.

    The gate a_t = sigmoid(W x_t + c) and the mean that runs with it are those of minGRU (Feng et
    al. 2024, "Were RNNs all we needed?"); as in the LRU (Orvieto et al. 2023) and RG-LRU (De et al.
    2024), c spreads memories over all scales, here from 1 to `length` tokens, and another gate
    scales what is read. That such a recurrence is a scan is from Martin & Cundy (2018).

    The recurrence is in fp32 (fp64 for fp64); it remembers the states it was in.
    """

    recurrent = True

    def __init__(self, architecture: Architecture):
        super().__init__()
        width, length = architecture.width, architecture.length
        self.gates = nn.Linear(width, 3 * width, bias=False)
        # sigmoid(log t) = t / (t + 1) forgets over some t tokens.
        self.scale = nn.Parameter(torch.linspace(0.0, 1.0, width) * torch.tensor(length).log())
        self.out = nn.Linear(width, width, bias=False)

    def mix(self, h: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        gate, value, shown = self.gates(h).chunk(3, dim=-1)
        if h.dtype != torch.float64:
            gate, value = gate.float(), value.float()
        gate = gate + self.scale
        a, b = gate.sigmoid(), (-gate).sigmoid() * value
        if memory is not None and memory.held:
            b = torch.cat([b[:, :1] + a[:, :1] * memory.last()[0][:, None], b[:, 1:]], dim=1)
        states = scan(a, b)
        if memory is not None:
            memory.extend(1, states)
        return states * silu(shown)


def scan(a: Tensor, b: Tensor) -> Tensor:
    """s_t = a_t s_{t-1} + b_t from s_0 = 0, of shape (B, N, ...) -> same, in O(N) work.

    Two steps are one step of the same kind, so every second state comes from a recurrence half as
    long, and the others from their neighbours (Blelloch 1990): log2 N rounds, each of all positions
    at once. Nothing is divided, so gates near 0 and 1 lose no digits.
    """
    n = b.shape[1]
    if n == 1:
        return b
    even_a, even_b, odd_a, odd_b = a[:, 0::2], b[:, 0::2], a[:, 1::2], b[:, 1::2]
    pairs = odd_a.shape[1]
    odd = scan(odd_a * even_a[:, :pairs], odd_a * even_b[:, :pairs] + odd_b)
    later = even_b[:, 1:] + even_a[:, 1:] * odd[:, : even_b.shape[1] - 1]
    even = torch.cat([even_b[:, :1], later], dim=1)
    both = torch.stack([even[:, :pairs], odd], dim=2).flatten(1, 2)
    return both if n == 2 * pairs else torch.cat([both, even[:, pairs:]], dim=1)


class GatedLinear(Stack):
    """Layers of a gated linear recurrence, cross-attention to thoughts, and SwiGLU.

    Its work is linear in the length, and its depth logarithmic; writing takes the same memory
    however long the text, and a position sees the whole row before it.
    """

    def __init__(self, architecture: Architecture, thoughts: Thoughts | None):
        super().__init__(architecture, thoughts, LinearRecurrence)

    @property
    def reach(self) -> None:
        """The whole row."""
        return None
