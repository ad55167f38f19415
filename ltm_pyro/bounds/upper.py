"""The end from above, as a figure beside the bounds from below."""

import dataclasses

import torch

from ltm_pyro.bounds.certify import CHAINS, certify
from ltm_pyro.bounds.estimate import Estimate, Task, figure

SIMULATED = 16


@figure
def upper(task: Task, temperatures: int = 16) -> Estimate:
    """The other side: log p(x) <= log c + E[w] / c - 1, for any c that w's draws do not decide.

    In expectation at most -log p(x), so no bound in the sense of `elbo`; with it, that is enclosed.
    A document whose weights do not allow it stands at 0 nats, below which no text's -log p(x) can
    lie (`certify` tells which, and why); -inf where tokens are real numbers.
    """
    rows = dataclasses.replace(task.rows, document=torch.arange(len(task.rows)))
    found = certify(
        task.model, rows, guide=task.guide, fast=task.fast, temperatures=temperatures,
        simulated=SIMULATED, seed=task.seed, chunk=len(rows), progress=task.progress,
    )  # fmt: skip
    nothing = -torch.inf if rows.tokens.is_floating_point() else 0.0
    allowed = torch.from_numpy(found.certified)
    nats = torch.where(allowed, torch.from_numpy(-found.upper), nothing)
    protocol = (
        f"the other side, at most -log p(x): {found.protocol}; where they do not allow it, "
        f"{nothing:g} nats"
    )
    variance = torch.where(allowed, torch.from_numpy(found.error**2), 0.0)
    return Estimate(nats, protocol, 3 * CHAINS, variance, is_bound=False)
