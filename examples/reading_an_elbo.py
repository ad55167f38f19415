# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Reading an ELBO
#
# Two loops make a latent-thought model, and each leaves a curve: the fast loop that infers the
# thoughts of a batch, and the slow one that trains the decoder. This notebook reads both, asks what
# the KL bought, and puts the released code's figure beside the valid bound.
#
# The text is made so that thoughts must pay: each document draws its words from one of a few hidden
# topics, and the decoder's window is too short to see which. (`--smoke` runs it in seconds.)

# %%
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import ltm_pyro as ltm
from ltm_pyro.diagnostics import (
    Plateau,
    compute_curve,
    convergence,
    plot_ablation,
    plot_compute_curve,
    plot_inner_loop,
    plot_kl,
    plot_training,
    thought_use,
)
from ltm_pyro.guides import MeanField, NoGuide
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel

SMOKE = "--smoke" in sys.argv
STEPS, DOCUMENTS, ROWS = (6, 200, 12) if SMOKE else (200, 3000, 128)

# %% [markdown]
# ## Documents with a hidden topic
#
# Sixteen topics, each a distribution over letters; a document of 32 letters shows one of them.

# %%
source = np.random.default_rng(0)
topics = source.dirichlet(np.full(20, 0.3), size=16)
letters = np.array(list("abcdefghijklmnopqrst"))
path = Path(tempfile.mkdtemp()) / "topics.jsonl"
with path.open("w") as file:
    for _ in range(DOCUMENTS):
        words = source.choice(letters, 32, p=topics[source.integers(16)])
        file.write(json.dumps({"text": "".join(words)}) + "\n")

corpus = ltm.load_corpus(path, length=33, vocabulary=258)  # letters stay letters
config = ltm.preset("tiny", corpus)
config = config.replace(
    architecture=dataclasses.replace(
        config.architecture, window=2, width=64, heads=2, feedforward=128
    ),
    thoughts=dataclasses.replace(config.thoughts, slots=1, dim=8),
)

# %% [markdown]
# ## The slow loop
#
# Grey: the bound on training batches, smoothed, with twice its standard error. `Plateau` looks
# at the trend of the last half, and calls a plateau only where it is surely less than what matters
# (0.01 nats per token in 50 iterations, unless told otherwise), down or up. The KL's weight rises
# over the first half of training; what is drawn is always the ELBO itself.

# %%
model = LatentThoughtModel(config)
fast = ltm.Fast(steps=8, lr=0.3)
slow = ltm.Slow(lr=4e-3, warmup=10)
plateau = Plateau(window=40)
svi = ltm.DualRateSVI(model, MeanField, fast, slow, ltm.Objective(start=0.1, warmup=0.5))
fit = svi.fit(corpus.train, STEPS, batch_size=32, callbacks=[plateau])
baseline = AutoregressiveModel(config)
ltm.DualRateSVI(baseline, NoGuide, slow=slow).fit(corpus.train, STEPS, batch_size=32)
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
plot_training(fit.history, ax)
print(plateau.verdict)

# %% [markdown]
# ## The fast loop
#
# The loop starts at the prior, where the KL is zero. Is it long enough?

# %%
rows = corpus.test[:ROWS]
posterior = svi.infer(rows, steps=32)
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
plot_inner_loop(posterior.inner, ax)
print(convergence(posterior.inner).recommendation)

# %% [markdown]
# ## What thinking longer buys, told honestly
#
# The dashed line is the released protocol: one noise draw for the whole fit, and scored with that
# draw. After few steps its narrow start has left it a KL that nothing pays for; with more it falls
# below the truth and keeps falling, as overfitting does. The solid line is a bound.

# %%
steps = (1, 4, 16) if SMOKE else (1, 4, 16, 64)
curve = compute_curve(model, rows, steps, fast=fast, baseline=baseline, progress=False)
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
plot_compute_curve(curve, ax)
curve.pivot(index="steps", columns="figure", values="nats_per_token").round(3)

# %% [markdown]
# ## What the KL bought
#
# A KL can be information about the text, or only what the loop had no time to undo. `thought_use`
# tells them apart: what the thoughts earn over the prior's, how the KL splits into mutual
# information and a mismatch of the aggregate with the prior (Hoffman & Johnson 2016), which layers
# carry it, and whether four times the steps would make it vanish.

# %%
longer = svi.infer(rows, steps=32 if SMOKE else 128)
use = thought_use(posterior, 8 if SMOKE else 16, longer, baseline)
print(use.verdict)
print(
    f"KL {use.total_kl[0]:.2f} = mutual information {use.mutual_information:.2f} + "
    f"marginal KL {use.marginal_kl:.2f} nats"
)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
plot_kl(use, axes[0])
plot_ablation(use, axes[1])
use.to_frame().round(3)

# %% [markdown]
# ## The figures
#
# With errors over documents and over draws. Compare by the paired difference: what makes a document
# hard for both models cancels.

# %%
report = ltm.evaluate(
    model,
    rows,
    ["elbo", "iwae:64", "prior", "same_noise"],
    fast=dataclasses.replace(fast, steps=32),
    baseline=baseline,
    progress=False,
)
print(report)
for other in ("prior", "baseline"):
    gain, error = report.difference(other, "elbo")
    print(f"{other} - elbo: {gain:+.3f} ± {error:.3f} nats/token")
