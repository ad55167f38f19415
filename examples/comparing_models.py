# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # ArviZ: comparing models by held-out evidence
#
# ArviZ reads the draws of a fitted guide, and summarises and stores them. What it would do next is
# compare models by leave-one-out (loo). Here that is no evidence, and this notebook shows it where
# the truth is known; then it compares models by documents that none of them was trained on.
# (`--smoke` runs it in seconds.)

# %%
import dataclasses
import sys
import warnings

import arviz_stats
import matplotlib.pyplot as plt
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds import compare
from ltm_pyro.config import Architecture, Config, Thoughts
from ltm_pyro.data.synthetic import topics
from ltm_pyro.guides import Covariance
from ltm_pyro.models import LatentThoughtModel

SMOKE = "--smoke" in sys.argv
STEPS, DOCUMENTS, ROWS = (4, 200, 12) if SMOKE else (150, 4000, 192)

# %% [markdown]
# ## Three models of one text
#
# Documents of sixteen hidden topics, whose exact entropy is known: a decoder that sees three words
# at a time, the same with thoughts of a single dimension a layer, and one that sees fifteen words.

# %%
train, known = topics(DOCUMENTS, 32, seed=1).rows, topics(ROWS, 32, seed=0)
config = Config(
    Architecture(32, 0, 32, window=2, layers=2, width=32, heads=2, feedforward=64),
    Thoughts(2, 1, 4),
)
longer = dataclasses.replace(config.architecture, window=8)
configs = {
    "three words": config,
    "three words, one dimension": config.replace(
        thoughts=dataclasses.replace(config.thoughts, dim=1)
    ),
    "fifteen words": config.replace(architecture=longer),
}
models = {}
for name, its in configs.items():
    torch.manual_seed(0)
    models[name] = ltm.DualRateSVI(
        LatentThoughtModel(its), Covariance, ltm.Fast.quick(), ltm.Slow(lr=8e-3),
        ltm.Objective(start=0.1, warmup=0.5),
    )  # fmt: skip
    models[name].fit(train, STEPS, batch_size=32, progress=False)

# %% [markdown]
# ## Draws for ArviZ
#
# Named dimensions, chains and draws: summaries, files and pictures are ArviZ's and xarray's own.

# %%
fast = ltm.Fast.quick(4 if SMOKE else 16)
posterior = models["three words"].infer(known.rows, steps=fast.steps)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that log likelihoods are given: this notebook says why not
    tree = ltm.to_datatree(posterior, draws=200, posterior_predictive=False, log_likelihood=True)
print(tree["posterior"]["z"].sizes)
arviz_stats.summary(tree, var_names=["z"], kind="stats").head()

# %% [markdown]
# ## What loo says, and what is true
#
# Leave-one-out asks how well the other documents predict one. Thoughts of a document are fitted to
# that document; without it they are the prior's, so what loo looks for is the evidence p(x) itself.
# It looks for it by weighing draws of z by 1 / p(x | z), a harmonic mean (Newton & Raftery 1994):
# draws that have read the document, and hardly ever lie where the prior has its mass. With draws of
# the exact posterior its log claims too much on average (Jensen), and its k-hat says that the
# weights are not to be trusted.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own k-hat, which is printed below
    loo = arviz_stats.loo(tree, pointwise=True)
claimed = -float(loo.elpd) / known.rows.token_count
bad = float((loo.pareto_k > loo.good_k).mean())
print(f"exact entropy of these documents {known.nats_per_token:.3f} nats/token")
print(f"loo says {claimed:.3f}; its k-hat is bad for {bad:.0%} of documents")

# %% [markdown]
# ## Held-out evidence
#
# Each model scores the same new documents. `iwae` with many draws is tight enough that no model
# loses for its guide's sake, and says where its own weights are doubtful. `compare` ranks, pairs by
# document, and gives intervals that hold at once.

# %%
reports = {
    name: ltm.evaluate(
        svi.model, known.rows, ["elbo:8", "iwae:128", "prior:8"], guide=Covariance, fast=fast,
        repeat=0, progress=False,
    )
    for name, svi in models.items()
}  # fmt: skip
table = compare(reports, by="iwae")
table.drop(columns="protocol").round(4)

# %% [markdown]
# ## What was learned
#
# All models lie above the exact entropy, as they must on average. The red square is the number that
# loo would have had us publish: lower than the tight bound of the same model, by draws that its own
# k-hat calls bad.

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 3.4), layout="constrained")
evidence = reports["three words"]["iwae"].nats_per_token
print(f"loo claims {evidence - claimed:.3f} nats/token more than the bound of the same model")
places = range(len(table))
axes[0].errorbar(table["nats_per_token"], places, xerr=2 * table["standard_error"], fmt="o",
                 color="#0072B2", capsize=3)  # fmt: skip
axes[0].plot(claimed, list(table.index).index("three words"), "s", color="#D55E00")
axes[0].annotate(" loo: no evidence", (claimed, list(table.index).index("three words")), (4, 7),
                 textcoords="offset points", color="#D55E00", fontsize=9)  # fmt: skip
axes[0].axvline(known.nats_per_token, color="0.35", linewidth=0.9, linestyle="--")
axes[0].set(xlabel="nats/token (dashed: exact entropy; bars ± 2 s.e.)")
reach = [table["difference"] - table["low"], table["high"] - table["difference"]]
axes[1].errorbar(table["difference"], places, xerr=reach, fmt="o", color="#0072B2", capsize=3)
axes[1].axvline(0, color="0.45", linewidth=0.8)
axes[1].set(xlabel="nats/token above the best (95 %, all at once)")
for ax in axes:
    ax.set_yticks(places, table.index)
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.spines[["top", "right"]].set_visible(False)
