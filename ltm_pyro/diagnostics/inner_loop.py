"""The fast loop, step by step, over documents."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ltm_pyro.inference.local import InnerLoop

QUANTILES = (0.1, 0.5, 0.9)


def inner_loop_frame(inner: InnerLoop) -> pd.DataFrame:
    """A row for each fast step: `lr`, and the median and 10 % / 90 % quantiles over documents.

    Columns `elbo`, `kl` and `gradient_norm` with suffixes `_10`, `_50`, `_90`, in nats per
    document.
    """
    columns: dict[str, object] = {"lr": inner.lr.numpy()}
    for name in ("elbo", "kl", "gradient_norm"):
        values = getattr(inner, name).cpu().numpy()
        for quantile in QUANTILES:
            columns[f"{name}_{quantile * 100:.0f}"] = np.quantile(values, quantile, axis=1)
    return pd.DataFrame(columns).rename_axis("step")


def plot_inner_loop(inner: InnerLoop, ax: Axes) -> Axes:
    """What each fast step gained over the first, in nats per document (median, 10-90 %)."""
    gain = (inner.elbo - inner.elbo[:1]).cpu().numpy()
    kl = inner.kl.cpu().numpy()
    steps = np.arange(len(gain))
    for values, label, color in ((gain, "ELBO gained", "C0"), (kl, "KL", "C3")):
        low, middle, high = np.quantile(values, QUANTILES, axis=1)
        ax.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
        ax.plot(steps, middle, color=color, label=label)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel="fast step", ylabel="nats per document", title="The fast loop")
    ax.legend(frameon=False)
    return ax
