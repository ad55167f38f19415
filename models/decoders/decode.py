"""Drawing token sequences from any decoder, one position at a time, with its memory."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ltm_pyro.models.decoders.base import Decoder

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""Picks tokens: logits (B, V), which rows they are of (B,), and the position -> ids (B,)."""
Ended = Callable[[Tensor, Tensor, int], Sequence[bool]]
"""Which rows end: ids (B,), which rows got them (B,), and the position -> one answer each."""


def sample_logits(logits: Tensor, rows: Tensor, position: int) -> Tensor:
    """Draw from the model's own distribution and torch's generator: logits (B, V) -> ids (B,)."""
    return torch.multinomial(logits.softmax(-1), 1)[:, 0]


@torch.no_grad()
def decode(
    decoder: Decoder,
    z: Tensor | None,
    rows: int,
    length: int,
    choose: Choose = sample_logits,
    prompt: Tensor | None = None,
    prompt_lengths: Tensor | None = None,
    ended: Ended | None = None,
    cached: bool = True,
) -> Tensor:
    """Token ids of shape (rows, length), drawn left to right given thoughts (rows, L, S, E).

    Where a row's prompt (rows, P), of `prompt_lengths` (rows,) real tokens, still runs, its token
    is kept instead of drawn; what all prompts have is read in one pass. `ended`, asked after each
    position, says which rows end there: they are computed no further, and hold zeros from there
    on. Once all have ended, the result is cut to the tokens there are.

    With `cached=False` every position computes its whole row again: the reference.

    Raises:
        InputError: for a token id outside the vocabulary, or more tokens than a row of the decoder.
    """
    device = decoder.head.device
    tokens = torch.zeros(rows, length, dtype=torch.long, device=device)
    given = torch.zeros(rows, dtype=torch.long, device=device)
    if prompt is not None:
        known = prompt[:, :length].to(device)
        given += known.shape[1] if prompt_lengths is None else prompt_lengths.to(device)
        real = torch.arange(known.shape[1], device=device) < given[:, None]
        tokens[:, : known.shape[1]] = torch.where(real, known, 0)
    start = min(given.tolist(), default=0)
    inputs = decoder.inputs(tokens)[:, : start + 1]
    state, live = decoder.start(z, rows) if cached else None, torch.arange(rows, device=device)
    for n in range(start, length):
        with decoder.precision():
            if state is None:
                hidden = decoder(tokens[live, : n + 1], z)
            else:
                hidden = decoder.next(state, inputs)
            logits = (hidden[:, -1] @ decoder.head.T).float()
        drawn = choose(logits, live, n)
        drawn = torch.where(n < given[live], tokens[live, n], drawn)
        tokens[live, n], inputs = drawn, drawn[:, None]
        over = [] if ended is None else ended(drawn, live, n)
        if over and all(over):
            return tokens[:, : n + 1]
        if any(over):
            stay = torch.tensor([not o for o in over], device=device)
            live, inputs, z = live[stay], inputs[stay], None if z is None else z[stay]
            if state is not None:
                state.keep(stay)
    return tokens
