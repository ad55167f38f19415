"""A decoder whose text is read by a recurrent network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ltm_pyro.config import Architecture, Thoughts
from ltm_pyro.models.decoders.stack import Mixer, Stack
from ltm_pyro.models.decoders.state import Memory


class Recurrence(Mixer):
    """An LSTM layer (Hochreiter & Schmidhuber 1997), its forget gates open at first.

    It computes in fp32 (fp64 for fp64), whatever the layers around it do; it remembers the states
    it was in.
    """

    recurrent = True

    def __init__(self, architecture: Architecture):
        super().__init__()
        width = architecture.width
        self.read = nn.Linear(width, 4 * width)
        self.recur = nn.Linear(width, 4 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        with torch.no_grad():
            self.read.bias.zero_()
            self.read.bias[width : 2 * width] = 1.0  # gates: input, forget, cell, output

    def mix(self, h: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        old = memory.last() if memory is not None else ()
        if not old:
            old = (h.new_zeros(len(h), h.shape[2]),) * 2
        if memory is None:
            return self.run(h, old)[0]
        # States that may be asked for again are reached one token at a time.
        first = max(1, h.shape[1] - memory.rewinds)
        outputs, cells, seen = [], [], []
        for part in (h[:, :first], *h[:, first:].split(1, dim=1)):
            if part.shape[1]:
                mixed, old = self.run(part, old)
                outputs.append(mixed)
                seen.append(old[0])
                cells.append(old[1])
        memory.extend(1, torch.stack(seen, 1), torch.stack(cells, 1))
        return torch.cat(outputs, dim=1)

    def run(self, h: Tensor, old: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, N, D) from states (B, D) -> outputs (B, N, D), and the last output and cell."""
        kind = torch.float64 if h.dtype == torch.float64 else torch.float32
        weights = [self.recur.weight, self.read.weight, self.read.bias]
        recur, read, bias = (w.to(kind) for w in weights)
        hx = tuple(x.to(kind)[None] for x in old)
        with torch.autocast(h.device.type, enabled=False), _twice_differentiable():
            # input, states, weights, biases, layers, dropout, training, two ways, rows first
            mixed, last, cell = torch.lstm(
                h.to(kind), hx, [read, recur, bias, torch.zeros_like(bias)],
                True, 1, 0.0, False, False, True,
            )  # fmt: skip
        return mixed, (last[0], cell[0])


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Without the fused kernels, whose gradient has no gradient, as a decoder's curvature asks."""
    kinds: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn)
    before = [kind.enabled for kind in kinds]
    try:
        for kind in kinds:
            kind.enabled = False
        yield
    finally:
        for kind, enabled in zip(kinds, before, strict=True):
            kind.enabled = enabled


class Lstm(Stack):
    """Layers of an LSTM, cross-attention to thoughts, and SwiGLU.

    Its work grows with the length, one position after the other, and a position sees the whole
    row before it.
    """

    def __init__(self, architecture: Architecture, thoughts: Thoughts | None):
        super().__init__(architecture, thoughts, Recurrence)

    @property
    def reach(self) -> None:
        """The whole row."""
        return None
