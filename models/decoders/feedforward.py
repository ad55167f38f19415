"""The feed-forward part of a layer."""

from torch import Tensor, nn
from torch.nn.functional import silu


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
