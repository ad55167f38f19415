"""The head alone: `python -m benchmarks.head`, seconds of log-probabilities with their gradient.

Against logits and `cross_entropy`, and `torch.nn.functional.linear_cross_entropy` in its chunked
mode (torch 2.13 or later). The gradient is that of hidden states, the head frozen, as in the fast
loop. Measured on one core of an x86 CPU with AVX-512 (fp32, 512 wide, 50,258 words, GFLOP/s of the
two products): 512 tokens 95 against 59 of the plain one, 2048 tokens 96 against 61, where a large
product alone ran at about 95; the chunked mode took ten times the plain one's time at 128 tokens,
four times at 512. Blocks of 2**18 to 2**22 logits differ by a few percent. Two threads were not
measured.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.timing import compare
from ltm_pyro.models.decoders.head import head_log_prob

WIDTH, WORDS = 512, 50_258


def plain(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """The definition."""
    return -functional.cross_entropy(hidden @ head.T, targets, reduction="sum")


def ours(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """The library's."""
    return head_log_prob(hidden, head, targets).sum()


def chunked(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Torch's own."""
    options = torch.nn.LinearCrossEntropyOptions()
    return -functional.linear_cross_entropy(hidden, head, targets, reduction="sum", options=options)


def head_seconds(tokens: int, words: int = WORDS, repeats: int = 3) -> dict[str, Any]:
    """Plain over ours, and over torch's chunked mode where this torch has one."""
    hidden = torch.randn(tokens, WIDTH, requires_grad=True)
    head, targets = 0.02 * torch.randn(words, WIDTH), torch.randint(words, (tokens,))

    def run(score: Callable[..., Tensor]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(score(hidden, head, targets), hidden)

    others = {"ours": run(ours)}
    if hasattr(torch.nn, "LinearCrossEntropyOptions"):
        others["chunked"] = run(chunked)
    found = compare(run(plain), others, repeats, warm=1)
    return {name: ratio.report() for name, ratio in found.items()}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    for size in (128, 512, 2048, 4096):
        for kind, ratio in head_seconds(size).items():
            speed = 4e-9 * size * WIDTH * WORDS / ratio["seconds"]
            print(f"{size:6} tokens  {kind:8} {ratio['median']:.2f} x plain  {speed:.0f} GFLOP/s")
