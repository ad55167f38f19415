# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Groups of documents: partial pooling in thought space
#
# Documents of one module of Python's library have something in common. A prior with a mean for each
# module lets them share it: groups of many documents speak for themselves, groups of few are drawn
# to the whole. This notebook writes that model, fits it, asks held-out text whether groups help,
# and draws the shrinkage. (`--smoke` runs it in seconds.)

# %%
import dataclasses
import sys

import matplotlib.pyplot as plt
import numpy as np
import pyro
import pyro.distributions as dist
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds import paired_difference
from ltm_pyro.guides import MeanField
from ltm_pyro.inference import Hierarchical
from ltm_pyro.models import LatentThoughtModel

SMOKE = "--smoke" in sys.argv
STEPS, ROWS = (3, 12) if SMOKE else (220, 256)

# %% [markdown]
# ## Documents and their groups
#
# Each document of the embedded corpus knows its module. Rows are short, and the decoder sees few
# words at a time, so that thoughts have something to tell.

# %%
corpus = ltm.load_corpus(
    "python-docs", length=32, vocabulary=600, columns=["module"], limit=400 if SMOKE else None
)
config = ltm.preset("tiny", corpus)
small = dataclasses.replace(config.architecture, window=4, layers=2, width=64, heads=2,
                            feedforward=128)  # fmt: skip
config = config.replace(architecture=small, thoughts=ltm.Thoughts(2, 1, 4))
counts = np.bincount(
    corpus.train.columns["module"].numpy(), minlength=len(corpus.columns["module"])
)
print(f"{len(counts)} modules; rows of the largest {counts.max()}, of the middle one "
      f"{np.median(counts):.0f}")  # fmt: skip
corpus

# %% [markdown]
# ## The model
#
# Two kinds of sites stand outside of the plate of documents, shared by all: how far modules lie
# apart, and a mean for each. Inside, thoughts are drawn around the mean of the document's module.
# A module that training never saw is as if its mean were zero.


# %%
class Grouped(LatentThoughtModel):
    """z ~ N(mu[module], I), mu[module] ~ N(0, spread^2)."""

    def __init__(self, config, columns):
        super().__init__(config)
        self.groups = len(columns["module"])

    def forward(self, batch, prelude=None, positions=None):
        shape = config.thoughts.shape
        spread = pyro.sample("spread", dist.HalfNormal(self.decoder.head.new_ones(())))
        with pyro.plate("groups", self.groups, dim=-1):
            law = dist.Normal(torch.zeros(shape), spread[..., None, None, None])
            mu = pyro.sample("mu", law.to_event(3))
        code = batch.columns["module"]
        known = (code >= 0)[:, None, None, None]
        with pyro.plate("documents", len(batch), dim=-1):
            mean = torch.where(known, mu[..., code, :, :, :], 0.0)
            z = pyro.sample("z", dist.Normal(mean, 1.0).to_event(3))
            return self.observe(batch, z, prelude, positions)


# %% [markdown]
# ## Fit it, and the same model without groups
#
# `Hierarchical.of` makes the guide of what documents share; the slow step trains it, at a rate of
# its own.

# %%
fast, slow = ltm.Fast.quick(), ltm.Slow(lr=5e-3, shared_lr=0.05)
objective = ltm.Objective(start=0.1, warmup=0.4)
torch.manual_seed(0)
model = Grouped(config, corpus.columns)
svi = ltm.DualRateSVI(model, Hierarchical.of(model, rows=corpus.train[:64]), fast, slow, objective)
svi.fit(corpus.train, STEPS, batch_size=32)
torch.manual_seed(0)
plain = LatentThoughtModel(config)
ltm.DualRateSVI(plain, MeanField, fast, slow, objective).fit(
    corpus.train, STEPS, batch_size=32, progress=False
)

# %% [markdown]
# ## Do groups help text that nobody trained on?
#
# The figure of the grouped model averages over what is not known of the means.

# %%
rows = corpus.test[:ROWS]
longer = ltm.Fast.quick(4 if SMOKE else 16)
options = {"fast": longer, "repeat": 0, "progress": False}
grouped = ltm.evaluate(model, rows, ["elbo:8"], guide=svi.guide, **options)
alone = ltm.evaluate(plain, rows, ["elbo:8"], **options)
gain, error = paired_difference(alone["elbo"], grouped["elbo"])
print(f"with groups the bound is lower by {gain:+.4f} ± {error:.4f} nats/token")
grouped

# %% [markdown]
# At this size they do not: with groups the bound is higher. It averages over what is not yet known
# of hundreds of means, and a document that is read tells its thoughts itself. Whether a hierarchy
# helps is a question to held-out text, and this is the answer of this one.
#
# ## Shrinkage
#
# Posterior means of the modules' means, and their standard deviations. Where there are many rows,
# the posterior is narrow and may lie far from zero; where there are few it is wide, and near.

# %%
mean, deviation = (one.flatten(1).numpy() for one in svi.shared.summary()["mu"])
low, middle, high = (float(q) for q in svi.shared.quantiles(0.025, 0.5, 0.975)["spread"])
print(f"spread of modules: {middle:.2f}, 95 % from {low:.2f} to {high:.2f}")
names = list(corpus.columns["module"])
seen = counts > 0
figure, axes = plt.subplots(1, 2, figsize=(11, 3.9), layout="constrained")
for ax, values, what in (
    (axes[0], np.sqrt((mean**2).mean(1)), "posterior mean, root mean square"),
    (axes[1], deviation.mean(1), "posterior standard deviation"),
):
    ax.plot(counts[seen], values[seen], "o", color="#0072B2", markersize=3.5, alpha=0.5)
    for place in np.argsort(-counts)[:4]:
        ax.annotate(names[place], (counts[place], values[place]), (-5, 4), fontsize=8,
                    textcoords="offset points", ha="right", color="0.25")  # fmt: skip
    ax.set_xscale("log")
    ax.set(xlabel="rows of the module in training", ylabel=what)
    ax.spines[["top", "right"]].set_visible(False)
axes[1].axhline(middle, color="0.45", linewidth=0.9, linestyle="--")
axes[1].set_title("dashed: the spread, which a module without rows has", loc="left", fontsize=9)
_ = axes[0].set_title("a point is a module", loc="left", fontsize=9)
