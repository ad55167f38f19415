"""What an iteration of training costs a token, in operations counted on a row of the text."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import NoGuide
from ltm_pyro.inference.local import MakeGuide, fit_guide, new_guide
from ltm_pyro.models.base import TextModel
from ltm_pyro.programs.elbo import elbo_terms
from ltm_pyro.seeds import Noise


def training_flops(
    model: TextModel, row: Rows, guide: MakeGuide = NoGuide, fast: Fast | None = None
) -> float:
    """FLOPs a token of the fast loop and one slow step, both passes, on one row.

    Two for each multiplication and addition, of matrix products and attention.

    Args:
        model: what is trained; its gradients are left as they were.
        row: the text.
        guide, fast: what the fast loop fits, and how; none for a model without latents.
    """
    if getattr(model, "thoughts", None) is None:
        guide, fast = NoGuide, None
    fast = dataclasses.replace(fast or Fast(steps=0), compile=False)
    made = new_guide(model, guide, row)
    trained = [p for p in (*model.parameters(), *made.parameters()) if p.requires_grad]

    def fit(steps: int) -> Callable[[], Any]:
        short = dataclasses.replace(fast, steps=steps)
        ready = new_guide(model, guide, row)  # what it is traced for is no part of the loop
        return lambda: fit_guide(model, ready, row, short, Noise(0, row.key))

    def slow() -> None:
        with torch.enable_grad(), Noise(0, row.key).draw():
            loss = -elbo_terms(model, made, row).elbo.sum()
            torch.autograd.grad(loss, trained, allow_unused=True)

    loop = 0.0
    if fast.steps:  # what is done once a loop is counted once
        one, two = count(fit(1)), count(fit(2))
        loop = one + (fast.steps - 1) * (two - one)
    return (loop + count(slow)) / row.token_count


def count(run: Callable[[], Any]) -> float:
    """Floating-point operations of what is run.

    Attention is computed as matrix products meanwhile: what fuses them is counted on some devices,
    and on others not.
    """
    counter: Any = FlopCounterMode(display=False, custom_mapping=IN_PLACE)
    counter.mod_tracker = _Untold()  # whose hooks cannot stand gradients inside a forward pass
    with counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return float(counter.get_total_flops())


def _added(total: Any, a: Any, b: Any, *_: Any, **__: Any) -> int:
    return 2 * int(a[0] * a[1] * b[1])


IN_PLACE = {torch.ops.aten.addmm_: _added}
"""Products that torch's counter leaves out: those that are added to what is there."""


class _Untold:
    """Stands for what tells modules apart, where one count of all is wanted."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass
