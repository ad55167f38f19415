"""The head of the decoder: log-probabilities of tokens, without the logits of a whole batch.

The logits of M tokens over V words are made block by block, and a block is used for everything
that needs it while it is in the cache. Softmax statistics are kept online (Milakov & Gimelshein
2018), so each block is made once: with the head frozen, as in the fast loop, log-probabilities and
their gradient cost two matrix products in all. Blocks were chosen by `benchmarks/head.py`.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

ROWS = {"cpu": 1024, "cuda": 8192}
"""Tokens in a block."""
LOGITS = {"cpu": 2**20, "cuda": 2**27}
"""Logits in a block: what a CPU core's share of the cache holds; on a GPU, what fills it."""


def head_log_prob(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of target tokens: hidden (M, D), head (V, D), targets (M,) -> (M,), nats.

    It is fp32 whatever the products are computed in (fp64 for fp64), and can be differentiated
    as often as one likes; beyond the first time, all M x V logits are made.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        return _HeadLogProb.apply(hidden, head, targets)


class _HeadLogProb(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        scores, normalizer, slope = _scan(hidden, head, targets, ctx.needs_input_grad[0])
        ctx.save_for_backward(hidden, head, targets, normalizer, slope)
        return scores

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        hidden, head, targets, normalizer, slope = ctx.saved_tensors
        to_hidden = to_head = None
        if torch.is_grad_enabled():  # the gradient itself is to be differentiated
            wanted = [x for x, needed in zip((hidden, head), ctx.needs_input_grad, strict=False)
                      if needed]  # fmt: skip
            scores = _plain(hidden, head, targets)
            found = iter(torch.autograd.grad(scores, wanted, upstream, create_graph=True))
            return *(next(found) if needed else None for needed in ctx.needs_input_grad[:2]), None
        if ctx.needs_input_grad[0]:
            to_hidden = (upstream[:, None] * slope).to(hidden.dtype)
        if ctx.needs_input_grad[1]:
            to_head = _head_gradient(hidden, head, targets, normalizer, upstream)
        return to_hidden, to_head, None


def _plain(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """The definition."""
    logits = hidden @ head.to(hidden.dtype).T
    return -cross_entropy(logits.to(_exact(hidden)), targets, reduction="none")


def _scan(
    hidden: Tensor, head: Tensor, targets: Tensor, with_slope: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Log-probabilities (M,), log normalisers (M,), and d log-probability / d hidden (M, D)."""
    kind = _exact(hidden)
    normalizer = hidden.new_empty(len(hidden), dtype=kind)
    slope = hidden.new_empty(hidden.shape, dtype=kind) if with_slope else None
    for rows, words, buffer in _tiles(hidden, head):
        h = hidden[rows]
        top = hidden.new_full((len(h), 1), -torch.inf, dtype=kind)
        total, mean = torch.zeros_like(top), torch.zeros_like(h, dtype=kind)
        for some in words:
            weights = head[some].to(h.dtype)
            logits = _product(h, weights.T, buffer)
            above = torch.maximum(top, logits.amax(1, keepdim=True))
            shrink, top = (top - above).exp_(), above
            share = logits.sub_(top).exp_()
            total = total.mul_(shrink).add_(share.sum(1, keepdim=True))
            if with_slope:
                mean = _add_product(mean.mul_(shrink), share, weights)
        normalizer[rows] = (top + total.log())[:, 0]
        if slope is not None:
            torch.div(mean, total.neg_(), out=slope[rows])
    chosen = head[targets].to(hidden.dtype)
    if slope is not None:
        slope += chosen
    scores = torch.linalg.vecdot(hidden.to(kind), chosen.to(kind)) - normalizer
    return scores, normalizer, slope


def _head_gradient(
    hidden: Tensor, head: Tensor, targets: Tensor, normalizer: Tensor, upstream: Tensor
) -> Tensor:
    """Gradient (V, D) of sum(upstream * log-probability), the blocks of logits made again."""
    gradient = torch.zeros_like(head)
    for rows, words, buffer in _tiles(hidden, head):
        h, weight = hidden[rows], upstream[rows, None].neg()
        for some in words:
            logits = _product(h, head[some].to(h.dtype).T, buffer)
            share = logits.sub_(normalizer[rows, None]).exp_().mul_(weight)
            _add_product(gradient[some], share.T, h)
    return gradient.index_add_(0, targets, (upstream[:, None] * hidden).to(head.dtype))


def _tiles(hidden: Tensor, head: Tensor) -> Iterator[tuple[slice, list[slice], Tensor]]:
    """Blocks of tokens, the blocks of words to pair each with, and room for their logits."""
    device, size, words = hidden.device.type, len(hidden), len(head)
    rows = -(-size // -(-size // ROWS.get(device, ROWS["cuda"]))) if size else 1
    width = min(words, max(1, LOGITS.get(device, LOGITS["cuda"]) // rows))
    buffer = hidden.new_empty(rows * width, dtype=_exact(hidden))
    columns = [slice(i, min(i + width, words)) for i in range(0, words, width)]
    for start in range(0, size, rows):
        yield slice(start, min(start + rows, size)), columns, buffer


def _product(a: Tensor, b: Tensor, buffer: Tensor) -> Tensor:
    """a @ b in the buffer, whose precision may be higher."""
    out = buffer[: len(a) * b.shape[1]].view(len(a), b.shape[1])
    return torch.mm(a, b, out=out) if a.dtype == out.dtype else out.copy_(a @ b)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Total + a @ b in place; the product is computed in b's precision."""
    return total.addmm_(a, b) if b.dtype == total.dtype else total.add_(a.to(b.dtype) @ b)


def _exact(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
