"""How text reads thoughts: cross-attention, the same in every decoder of layers."""

import torch
from torch import Tensor, nn

from ltm_pyro.config import Architecture, Thoughts
from ltm_pyro.models.decoders.attention import attend, rotate


class ThoughtAttention(nn.Module):
    """Cross-attention from text to the thoughts of one layer.

    Queries rotate by token position; keys by positions spread evenly over the row's full length,
    so that neither padding nor the length of a document changes what a thought means.
    """

    def __init__(self, architecture: Architecture, thoughts: Thoughts):
        super().__init__()
        width = architecture.width
        self.heads, self.length = architecture.heads, architecture.length
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(thoughts.dim, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def silence(self) -> None:
        """Begin where no thought is heard: nothing is written, of queries and keys at unit scale.

        The text's likelihood is then the same for every z, and its gradient in `out` is not zero.
        """
        nn.init.normal_(self.q.weight, std=self.q.in_features**-0.5)
        nn.init.normal_(self.kv.weight, std=self.kv.in_features**-0.5)
        nn.init.zeros_(self.out.weight)

    def forward(self, h: Tensor, k: Tensor, v: Tensor, here: Tensor | None = None) -> Tensor:
        """Text (B, N, D), keys and values of the thoughts (B, heads, S, size) -> (B, N, D).

        Text stands at positions `here` (B, N), else all in a row from the first on.
        """
        q = self.q(h).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if here is None:
            here = torch.arange(h.shape[1], device=h.device)
        mixed = attend(rotate(q, here), k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def keys_and_values(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Thoughts (B, S, E) -> both (B, heads, S, size)."""
        k, v = self.kv(z).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        slots = z.shape[-2]
        spread = (torch.arange(slots, device=z.device) + 0.5) * (self.length / slots)
        return rotate(k, spread), v
