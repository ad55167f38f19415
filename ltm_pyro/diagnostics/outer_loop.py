"""The slow loop: the bound over training."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

HELD_OUT = {
    "held_out_elbo": ("held-out bound", "C0"),
    "held_out_prior": ("held-out, z from the prior", "C1"),
    "held_out_baseline": ("held-out, without latents", "C2"),
}


def plot_training(log: pd.DataFrame | Iterable[Mapping[str, Any]], ax: Axes) -> Axes:
    """The bound on training batches, and on held-out text where a log has it, in nats/token.

    Takes a history (`svi.fit(...).history`) or the lines of a run's log (`run.log()`).
    """
    frame = log if isinstance(log, pd.DataFrame) else pd.DataFrame(list(log))
    ax.plot(
        frame["step"], frame["nats_per_token"], color="0.75", linewidth=0.8, label="training batch"
    )
    for column, (label, color) in HELD_OUT.items():
        if column in frame:
            seen = frame.dropna(subset=[column])
            ax.plot(seen["step"], seen[column], "o-", color=color, markersize=3, label=label)
    ax.set(xlabel="iteration", ylabel="nats/token", title="Training")
    ax.legend(frameon=False)
    return ax
