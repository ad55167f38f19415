"""Which token comes next: the likeliest, or one picked by a uniform number drawn beforehand.

Shapes below: B rows, V tokens of the vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ltm_pyro.options import Count, Fraction, NotNegative, take_fields


@dataclass(frozen=True)
class Sampling:
    """How the decoder's logits become the probabilities a token is drawn with.

    Logits are divided by `temperature` (0 leaves the likeliest token alone). Of the `top_k`
    likeliest tokens (Fan et al. 2018), renormalised, those stay that stand in the nucleus: the
    fewest that together hold `top_p` (Holtzman et al. 2020).

    Raises:
        InputError: for a setting out of its range.
    """

    temperature: NotNegative = 1.0
    top_k: Count | None = None
    top_p: Fraction = 1.0

    def __post_init__(self) -> None:
        take_fields(self)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (B, V), at a temperature above 0, to probabilities (B, V) in fp64."""
        if logits.device.type == "mps":  # which has no fp64
            logits = logits.cpu()
        # The largest is subtracted first, so that no temperature is too small.
        scaled = (logits.double() - logits.amax(-1, keepdim=True)) / self.temperature
        if self.top_k is None and self.top_p == 1:
            return scaled.softmax(-1)
        ranked, order = scaled.sort(dim=-1, descending=True, stable=True)  # of equals, the lower id
        kept = ranked[:, : self.top_k].softmax(-1)
        kept = kept.masked_fill(kept.cumsum(-1) - kept >= self.top_p, 0.0)
        found = torch.zeros_like(scaled).scatter(-1, order[:, : kept.shape[-1]], kept)
        return found / found.sum(-1, keepdim=True)

    def choose(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Logits (B, V) and a number in [0, 1) for each row, (B,), to token ids (B,)."""
        if self.temperature == 0:
            return logits.argmax(-1)
        probabilities = self.probabilities(logits)
        return pick(probabilities, uniform.to(probabilities.device)).to(logits.device)


def pick(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """The inverse of the cumulative distribution: (B, V) and (B,), both in fp64, to ids (B,).

    Ids keep the vocabulary's order, not that of their probabilities: two that are almost equally
    likely may change places by rounding, which then moves no other token's share of [0, 1).
    """
    cumulative = probabilities.cumsum(-1)
    target = uniform[:, None] * cumulative[:, -1:]
    ids = torch.searchsorted(cumulative, target, right=True)[:, 0]
    places = torch.arange(probabilities.shape[-1], device=probabilities.device)
    last = torch.where(probabilities > 0, places, 0).amax(-1)
    return torch.minimum(ids, last)  # rounding may carry a uniform next to 1 over the end
