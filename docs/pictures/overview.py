"""The README's picture: `python docs/pictures/overview.py` writes overview.png beside it.

Left, the model and its two loops. Right, what they are for: on a model whose log p(x) is known,
valid bounds and the released protocol against the number of fast steps.
"""

from pathlib import Path

import matplotlib
import matplotlib.figure
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

import ltm_pyro as ltm
from ltm_pyro.config import Thoughts
from ltm_pyro.models import LinearGaussianModel
from ltm_pyro.programs.densities import simulate

matplotlib.use("Agg")
INK, BLUE, SKY, RED = "#222222", "#0072B2", "#56B4E9", "#D55E00"  # Okabe & Ito, colour-blind safe
STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
DOCUMENTS = 64
TICKS = (-8, -4, -2, 0, 2, 4, 10, 30)


def draw_model(ax: Axes) -> None:
    """A plate of documents with thoughts and tokens, the decoder outside, a guide for each."""

    def node(x: float, y: float, text: str, face: str = "white") -> None:
        ax.add_patch(Circle((x, y), 0.42, facecolor=face, edgecolor=INK, linewidth=1.4, zorder=2))
        ax.text(x, y, text, ha="center", va="center", fontsize=13, zorder=3)

    def arrow(start: tuple[float, float], end: tuple[float, float], **style: object) -> None:
        kind = {"arrowstyle": "-|>", "mutation_scale": 14, "color": INK, "linewidth": 1.4} | style
        ax.add_patch(FancyArrowPatch(start, end, **kind))

    box = FancyBboxPatch(
        (0.9, 0.55), 4.4, 3.5, boxstyle="round,pad=0.1", facecolor="none", edgecolor=INK
    )
    ax.add_patch(box)
    ax.text(5.25, 0.62, "documents $d$", ha="right", va="bottom", fontsize=9, color=INK)
    node(2.1, 3.2, "$z_d$")
    node(2.1, 1.4, "$x_d$", "#D9D9D9")
    arrow((2.1, 2.75), (2.1, 1.85))
    ax.text(1.15, 3.9, "thoughts", fontsize=9, va="top")
    ax.text(1.15, 0.68, "tokens", fontsize=9, va="bottom")
    node(4.2, 3.2, r"$\varphi_d$", "#DCEEF8")
    arrow((3.75, 3.2), (2.55, 3.2), color=BLUE, linestyle="--")
    ax.text(3.15, 3.34, r"$q(z_d)$", ha="center", va="bottom", fontsize=10, color=BLUE)
    ax.text(
        4.2,
        2.62,
        "fast: a few steps\nfor each document",
        ha="center",
        va="top",
        fontsize=9,
        color=BLUE,
    )
    node(-0.3, 1.4, r"$\theta$", "#FBE3D6")
    arrow((0.15, 1.4), (1.65, 1.4))
    ax.text(
        -0.3, 0.85, "slow: one step\nof the decoder", ha="center", va="top", fontsize=9, color=RED
    )
    ax.text(-0.3, 3.2, "$p(z)$", ha="center", va="center", fontsize=12)
    arrow((0.1, 3.2), (1.65, 3.2))
    ax.text(2.0, 4.62, r"$p(z)\; p_\theta(x \mid z)$, no encoder", ha="center", fontsize=12)
    ax.set(xlim=(-1.3, 5.6), ylim=(-0.1, 4.9), aspect="equal")
    ax.axis("off")


def draw_figures(ax: Axes) -> None:
    """How far above -log p(x) three figures lie, by fast steps; exact linear-Gaussian model."""
    weight = 0.7 * torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    model = LinearGaussianModel(Thoughts(2, 1, 3), weight, scale=0.8)
    rows, _ = simulate(model, torch.full((DOCUMENTS,), 8), seed=1)
    exact = -model.log_marginal(rows).detach().numpy()
    named = {
        "same_noise": ("released protocol", RED, "s--"),
        "elbo": ("ELBO, fresh draws", BLUE, "o-"),
        "iwae": ("importance-weighted, 64 draws", SKY, "^-"),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in named}
    for steps in STEPS:
        report = ltm.evaluate(
            model, rows, ["elbo", "iwae:64", "same_noise"], fast=ltm.Fast(steps), repeat=0,
            progress=False,
        )  # fmt: skip
        for name, figure in report.figures.items():
            gap = figure.nats - exact
            found[name].append((gap.mean(), 1.96 * gap.std(ddof=1) / DOCUMENTS**0.5))
    for name, (label, color, style) in named.items():
        mean, error = np.array(found[name]).T
        ax.errorbar(
            STEPS, mean, error, fmt=style, color=color, markersize=4, capsize=2, label=label
        )
        print(name, dict(zip(STEPS, mean.round(2).tolist(), strict=True)))
    ax.axhline(0, color=INK, linewidth=1)
    ax.text(1, -0.25, "nothing valid lies below 0", va="top", fontsize=9)
    ax.set_xscale("log", base=2)
    ax.set_xticks(STEPS, [str(s) for s in STEPS])
    ax.set_yscale("symlog", linthresh=4)
    ax.set_yticks(TICKS, [str(tick) for tick in TICKS])
    ax.minorticks_off()
    ax.set(xlabel="fast steps", ylabel=r"above $-\log p(x)$, nats a document")
    ax.legend(frameon=False, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw both and write the file."""
    figure = matplotlib.figure.Figure(figsize=(9.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    draw_model(left)
    draw_figures(right)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110, facecolor="white")


if __name__ == "__main__":
    main()
