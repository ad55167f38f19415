"""What a decoder remembers of the tokens it has read, while text is written.

A position stands in each row, so rows may go on from different places: some may end (`keep`), and
each may take back tokens of its own number (`rewind`), as speculative decoding does (Leviathan et
al. 2023). Shapes: B rows, n tokens, D width, S slots.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ltm_pyro.errors import InputError


class Memory:
    """What one layer remembers: tensors whose first dimensions are rows and time.

    The last column of each belongs to the last token read: keys, values or inputs of recent
    tokens, or the states a recurrence was in. Taking back k tokens moves columns to the right by
    k, and zeros come in from the left: what they stand for is older than what is looked at, or
    lies before the text.
    """

    def __init__(self, state: "State"):
        self.state = state
        self.held: tuple[Tensor, ...] = ()

    @property
    def rewinds(self) -> int:
        """The number of tokens that may be taken back."""
        return self.state.rewinds

    def positions(self, n: int, before: int = 0) -> Tensor:
        """Where the `n` tokens now read stand, and `before` columns in front of them: (B, n)."""
        steps = torch.arange(-before, n, device=self.state.position.device)
        return self.state.position[:, None] + steps

    def last(self) -> tuple[Tensor, ...]:
        """The last column of each tensor, (B, ...); none before the first token."""
        return tuple(x[:, -1] for x in self.held)

    def extend(self, last: int, *new: Tensor) -> tuple[Tensor, ...]:
        """What is held with new columns (B, n, ...) behind it: (B, held + n, ...) of each.

        Held from now on are as many columns as bring back the `last` ones after any rewind.
        """
        if self.held:
            new = tuple(torch.cat([x, y], dim=1) for x, y in zip(self.held, new, strict=True))
        most = last + self.rewinds
        self.held = tuple(x[:, max(0, x.shape[1] - most) :] for x in new)
        return new


class State:
    """A memory for each layer, and where each row stands.

    `position` (B,) counts the input tokens read, `spare` (B,) those that can be taken back now, at
    most `rewinds`. `thoughts` holds what each layer made of its thoughts, which stay the same.
    """

    def __init__(
        self,
        rows: int,
        layers: int,
        device: torch.device,
        rewinds: int = 0,
        thoughts: Sequence[tuple[Tensor, ...]] = (),
    ):
        self.position = torch.zeros(rows, dtype=torch.long, device=device)
        self.spare = torch.zeros_like(self.position)
        self.rewinds, self.thoughts = rewinds, list(thoughts)
        self.layers = [Memory(self) for _ in range(layers)]

    def advance(self, n: int) -> None:
        """Count `n` tokens more, once every layer has read them."""
        self.position = self.position + n
        self.spare = (self.spare + n).clamp(max=self.rewinds)

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows, given as a mask or by number."""
        self.position, self.spare = self.position[rows], self.spare[rows]
        self.thoughts = [tuple(x[rows] for x in known) for known in self.thoughts]
        for memory in self.layers:
            memory.held = tuple(x[rows] for x in memory.held)

    def rewind(self, k: int | Tensor) -> None:
        """Take back the last `k` tokens of all rows, or of each its own number (B,).

        Raises:
            InputError: for more tokens than can be taken back.
        """
        back = torch.as_tensor(k, device=self.position.device).expand_as(self.position)
        if bool(((back < 0) | (back > self.spare)).any()):
            raise InputError(
                f"rewind of {back.tolist()} tokens where {self.spare.tolist()} can be taken back: "
                "start with as many rewinds as will be needed"
            )
        self.position, self.spare = self.position - back, self.spare - back
        for memory in self.layers:
            memory.held = tuple(_later(x, back) for x in memory.held)


def _later(x: Tensor, back: Tensor) -> Tensor:
    """Columns of (B, n, ...) moved to the right by `back` (B,), zeros on the left."""
    source = torch.arange(x.shape[1], device=x.device) - back[:, None]
    shape = (*source.shape, *[1] * (x.dim() - 2))
    moved = x.gather(1, source.clamp(min=0).view(shape).expand_as(x))
    return torch.where((source >= 0).view(shape), moved, 0)
