"""Drawing token sequences from the decoder, one position at a time, with a cache."""

from collections.abc import Callable

import torch
from torch import Tensor

from ltm_pyro.decoder import Cache, Decoder

Choose = Callable[[Tensor], Tensor]
"""Picks a token for each row: logits (B, V) -> ids (B,)."""


def sample_logits(logits: Tensor) -> Tensor:
    """Draw from the model's own distribution: logits (B, V) -> ids (B,)."""
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
    stop: Callable[[Tensor, int], bool] | None = None,
) -> Tensor:
    """Token ids of shape (rows, length), drawn left to right given thoughts (rows, L, S, E).

    Where a row's prompt (rows, P), of `prompt_lengths` (rows,) real tokens, still runs, its token
    is kept instead of drawn. `stop(tokens, n)`, asked after each of the n tokens, ends early; the
    result is then (rows, n).
    """
    cache, device = Cache(), decoder.head.device
    tokens = torch.zeros(rows, length, dtype=torch.long, device=device)
    inputs = torch.full((rows, 1), decoder.config.begin, device=device)
    for n in range(length):
        hidden = decoder(inputs, z, cache)[:, -1]
        drawn = choose((hidden @ decoder.head.T).float())
        if prompt is not None and prompt_lengths is not None and n < prompt.shape[1]:
            drawn = torch.where(n < prompt_lengths, prompt[:, n], drawn)
        tokens[:, n] = drawn
        inputs = drawn[:, None]
        if stop is not None and stop(tokens, n + 1):
            return tokens[:, : n + 1]
    return tokens
