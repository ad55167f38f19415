# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Thinking longer
#
# More fast steps give lower figures. Some of that is a better bound, some may be no bound at all.
# This notebook tells them apart: -log p(x) of a model does not depend on how long anybody thinks,
# so it encloses that number from both sides, at each number of steps, and draws the figures beside
# it. (`--smoke` runs it in seconds.)

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds import sandwich
from ltm_pyro.config import Architecture, Config, Thoughts
from ltm_pyro.data.synthetic import topics
from ltm_pyro.diagnostics import compute_curve, plot_compute_curve
from ltm_pyro.guides import Covariance
from ltm_pyro.models import LatentThoughtModel

SMOKE = "--smoke" in sys.argv
STEPS, DOCUMENTS, ROWS = (4, 200, 6) if SMOKE else (200, 4000, 32)
THINKING = (1, 4) if SMOKE else (1, 2, 4, 8, 16, 32)

# %% [markdown]
# ## A model whose thoughts matter
#
# Documents of sixteen hidden topics, and a decoder that sees two words at a time.

# %%
train, rows = topics(DOCUMENTS, 32, seed=1).rows, topics(ROWS, 32, seed=0).rows
config = Config(
    Architecture(32, 0, 32, window=2, layers=2, width=32, heads=2, feedforward=64),
    Thoughts(2, 1, 2),
)
torch.manual_seed(0)
model = LatentThoughtModel(config)
svi = ltm.DualRateSVI(
    model, Covariance, ltm.Fast.quick(), ltm.Slow(lr=8e-3), ltm.Objective(start=0.1, warmup=0.5)
)
svi.fit(train, STEPS, batch_size=32)

# %% [markdown]
# ## The figures
#
# `elbo` and `iwae` are scored with draws that the fit never saw. `same_noise` is the released
# protocol: one draw for the whole fit, scored with that draw. Both are fitted to more and more
# steps, and paired by document with what thoughts from the prior cost.

# %%
guide, fast = Covariance, ltm.Fast(lr=0.3)
curve = compute_curve(
    model, rows, THINKING, ["elbo:16", "iwae:64", "same_noise"],
    guide=guide, fast=fast, progress=False,
)  # fmt: skip
figure, ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
plot_compute_curve(curve, ax)

# %% [markdown]
# All fall or stand still. From this picture alone nobody can tell which of them went too far.
#
# ## What no amount of thinking moves
#
# On documents that the model wrote itself, -log p(x) is enclosed from both sides: annealing from
# the fitted guide bounds it from one side, and annealing back from the thoughts that a document was
# written from bounds it from the other (`how_tight_is_my_bound` says more). A guide that thought
# longer may make the interval narrower. It cannot move what is enclosed.

# %%
found = {
    steps: sandwich(
        model, torch.full((ROWS,), 32), ["elbo:16", "iwae:64", "same_noise"],
        guide=guide, fast=ltm.Fast(steps, lr=0.3), start="guide",
        temperatures=5 if SMOKE else 20, progress=False,
    )
    for steps in THINKING
}  # fmt: skip
best = found[THINKING[-1]]
print(best)

# %% [markdown]
# ## Side by side
#
# Each figure less the middle of the last interval, document by document, with two standard errors
# over documents. Grey: the enclosing interval after each number of steps, with its error. The
# bounds come down to the grey and stop there. The released figure goes through it: what it says is
# better than the truth is the noise that it learned by heart.

# %%
middle = -(best.lower + best.upper) / 2


def above(values):
    """How far nats of documents lie above the middle: the mean, and its standard error."""
    gap = values - middle
    return gap.mean(), gap.std(ddof=1) / len(gap) ** 0.5


figure, ax = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
like = {"elbo": ("#0072B2", "o", "ELBO, fresh draws"), "iwae": ("#56B4E9", "P", "iwae:64"),
        "same_noise": ("#D55E00", "s", "released: no bound")}  # fmt: skip
for name, (color, marker, label) in like.items():
    mean, error = np.array([above(one.report[name].nats) for one in found.values()]).T
    style = "--" if name == "same_noise" else "-"
    ax.errorbar(THINKING, mean, 2 * error, color=color, marker=marker, capsize=2,
                linestyle=style, label=label)  # fmt: skip
    print(f"{name:<11} after {THINKING[-1]} steps: {mean[-1]:+.2f} ± {error[-1]:.2f} "
          "nats/document above the middle of the interval")  # fmt: skip
for steps, one in found.items():
    least, most = above(-one.upper), above(-one.lower)
    ends = least[0] - 2 * least[1], most[0] + 2 * most[1]
    ax.plot([steps, steps], ends, color="0.55", linewidth=7, alpha=0.6, zorder=0)
ax.axhline(0, color="0.45", linewidth=0.8)
ax.set_xscale("log", base=2)
ax.set_xticks(THINKING, [str(steps) for steps in THINKING])
ax.minorticks_off()
ax.set(xlabel="fast steps", ylabel="above -log p(x), nats/document")
ax.set_title(f"{ROWS} documents; bars: ± 2 s.e.; grey: enclosed, ± 2 s.e.", loc="left", fontsize=9)
ax.spines[["top", "right"]].set_visible(False)
_ = ax.legend(frameon=False)
