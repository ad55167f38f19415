"""A picture of what thoughts cost while a study trains."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ltm_pyro import files


def plot(found: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The tax of the ELBO at each look of training, a line for each cell."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    names = list(dict.fromkeys(cell["recipe"] for cell in found))
    for cell in found:
        looks = [look for look in cell["looks"] if "tax" in look]
        axis.plot(
            [look["step"] for look in looks], [look["tax"] for look in looks], lw=1,
            color=f"C{names.index(cell['recipe']) % 10}",
            label=cell["recipe"] if cell["seed"] == 0 else None,
        )  # fmt: skip
    axis.axhline(0, color="gray", lw=0.8)
    axis.set(xlabel="iteration", ylabel="bound less control, nats / token")
    axis.legend(fontsize=7, frameon=False)
    held = io.BytesIO()
    figure.savefig(held, dpi=120)
    files.write(path, held.getbuffer())
