"""Lower precision for the decoder's matrix products, where it is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ltm_pyro.decoder import Decoder
from ltm_pyro.errors import InputError


@contextmanager
def computing_in(precision: str, model: Any, fixed: bool = False) -> Iterator[None]:
    """A block in which a model's decoder multiplies in `precision`, "fp32" or "bf16".

    Sums, norms, residual stream and log-probabilities stay in fp32, and so does everything that is
    not the decoder. Where its weights are `fixed` for the block, they are cast once, at its start.

    Raises:
        InputError: for a model without a decoder.
    """
    if precision == "fp32":
        yield
        return
    decoder = getattr(model, "decoder", None)
    if not isinstance(decoder, Decoder):
        raise InputError(f"{type(model).__name__} has no decoder to run in {precision}: use fp32")
    exact = {p: p.data for p in decoder.parameters() if fixed and p.dim() == 2}
    for parameter, data in exact.items():
        parameter.data = data.to(torch.bfloat16)
    decoder.low = torch.bfloat16
    try:
        yield
    finally:
        decoder.low = None
        for parameter, data in exact.items():
            parameter.data = data
