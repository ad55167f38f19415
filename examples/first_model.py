# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A first latent-thought model
#
# Fit a small model to Python's own documentation, look at what the two loops did, score it with
# figures that may be called a likelihood, and let it write.
#
# Run it as a script with `--smoke` to see it work in a few seconds.

# %%
import sys

import matplotlib.pyplot as plt

import ltm_pyro as ltm
from ltm_pyro.diagnostics import inner_loop_frame, plot_inner_loop, plot_training
from ltm_pyro.guides import MeanField
from ltm_pyro.models import LatentThoughtModel

SMOKE = "--smoke" in sys.argv
STEPS, ROWS = (5, 8) if SMOKE else (200, 64)

# %% [markdown]
# ## Text
#
# Each document becomes one or more rows of at most 64 tokens. A row is what one set of thoughts has
# to explain. The split is by a hash of the text, the tokenizer is trained on the training part.

# %%
corpus = ltm.load_corpus("python-docs", limit=300 if SMOKE else None)
print(corpus)

# %% [markdown]
# ## Model and inference
#
# `LatentThoughtModel` is a Pyro model: a plate of documents, a site `z` with the prior, an observed
# site `tokens` whose distribution is the decoder. `MeanField` is a guide made anew for every batch.
# The KL counts little at first (`Objective`), so that thoughts become useful before they are paid
# for; every number below is of the ELBO itself.

# %%
config = ltm.preset("tiny", corpus)
model = LatentThoughtModel(config)
svi = ltm.DualRateSVI(model, MeanField, config.fast, config.slow, config.objective)
fit = svi.fit(corpus.train, steps=STEPS)
fit.history.tail()

# %%
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
plot_training(fit.history, ax)

# %% [markdown]
# ## The fast loop
#
# How much do more fast steps give? The loop starts at the prior (KL zero). If the blue line still
# rises at the right, think longer.

# %%
posterior = svi.infer(corpus.test[:ROWS], steps=8 if SMOKE else 48)
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
plot_inner_loop(posterior.inner, ax)
inner_loop_frame(posterior.inner).tail()

# %% [markdown]
# ## Score
#
# `elbo` uses draws that the fit never saw. `same_noise` is what the paper's released code reports,
# from its own start and by its own optimizer: scored with the draw that it was fitted to, it is no
# bound. After few steps its narrow start still costs more than the draw gives, after many it looks
# better than the truth. `prior` minus `elbo` is what inferring the thoughts earns.

# %%
fast = ltm.Fast(steps=8 if SMOKE else 32)
report = ltm.evaluate(model, corpus.test[:ROWS], ["elbo", "prior", "same_noise"], fast=fast)
print(report)
gain, error = report.difference("prior", "elbo")
print(f"inferring the thoughts earns {gain:.4f} ± {error:.4f} nats/token")

# %% [markdown]
# ## Write
#
# Thoughts from the prior, or fitted to a prompt.

# %%
print(ltm.generate(model, corpus.tokenizer, n=2, length=48, sampling=ltm.Sampling(top_p=0.95)))

# %%
print(
    ltm.generate(
        model, corpus.tokenizer, "Return a new", n=2, length=32, sampling=ltm.Sampling(top_p=0.95)
    )
)
