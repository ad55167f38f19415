"""Attention of the decoder: rotary positions, a sliding window over text, and thoughts."""

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

DENSE = 128
"""Up to this many positions a mask costs no more than blocks would."""


def rotate(x: Tensor, positions: Tensor, base: float = 10_000.0) -> Tensor:
    """Rotary position embedding (Su et al. 2021) of `x`.

    Args:
        x: queries or keys, or both, shape (..., batch, heads, n, size) with an even size.
        positions: shape (n,), or (batch, n) where rows differ, in tokens; fractions are allowed.
    """
    half = x.shape[-1] // 2
    rates = base ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = positions.to(torch.float32)[..., None] * rates  # (n, half)
    if positions.dim() == 2:
        angles = angles[:, None]  # the same for all heads
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Scaled dot-product attention; on the CPU in fp32, which is faster there than bf16."""
    if q.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            q, k, v = q.float(), k.float(), v.float()
            return scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
    return scaled_dot_product_attention(q, k, v, mask, is_causal=causal)


def in_window(queries: Tensor, keys: Tensor, window: int) -> Tensor:
    """Which key positions each query position may see: itself and the `window - 1` before it.

    Shapes (..., q) and (..., k) give a boolean mask (..., q, k), True where attention is allowed.
    """
    distance = queries[..., :, None] - keys[..., None, :]
    return (distance >= 0) & (distance < window)


def dense_window_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """The reference: the full N x N score matrix with a mask. Shapes (batch, heads, N, size)."""
    positions = torch.arange(q.shape[-2], device=q.device)
    return attend(q, k, v, in_window(positions, positions, window))


def window_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Causal sliding-window attention in O(N w): each block of w sees itself and the one before.

    Shapes (batch, heads, N, size), any N; equal to `dense_window_attention`, which is faster, and
    taken, where N is small.
    """
    batch, heads, n, size = q.shape
    if n <= window:
        return attend(q, k, v, causal=True)
    if n <= max(2 * window, DENSE):
        return dense_window_attention(q, k, v, window)
    blocks = -(-n // window)
    tail = blocks * window - n
    q, k, v = (pad(x, (0, 0, 0, tail)).unflatten(2, (blocks, window)) for x in (q, k, v))
    k, v = (torch.cat([pad(x, (0, 0, 0, 0, 1, 0))[:, :, :-1], x], dim=3) for x in (k, v))
    here = torch.arange(window, device=q.device)
    both = torch.arange(-window, window, device=q.device)
    mask = in_window(here, both, window).expand(blocks, window, 2 * window).clone()
    mask[0, :, :window] = False  # before the first block there is nothing
    # Batch and heads share the mask, so they stand in the dimension it is broadcast over.
    out = attend(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), mask[None])
    return out.reshape(batch, heads, blocks * window, size)[:, :, :n]
