# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Write a decoder
#
# A decoder is p(x | z). Here you write one of two small classes, check it, and find out what it
# decides: what a decoder can read from the text itself, thoughts need not tell it. The documents
# are made, so their exact entropy is known. (`--smoke` runs it in seconds.)

# %%
import functools
import sys

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn.functional import pad, silu

import ltm_pyro as ltm
from ltm_pyro.config import Architecture, Config, Thoughts
from ltm_pyro.data.synthetic import topics
from ltm_pyro.guides import MeanField, NoGuide
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.models.decoders.stack import Mixer, Stack
from ltm_pyro.testing import check_decoder

SMOKE = "--smoke" in sys.argv
STEPS, DOCUMENTS, ROWS = (4, 200, 12) if SMOKE else (250, 4000, 256)

# %% [markdown]
# ## The mixer
#
# The layers of a `Stack` differ in how a position reads the text before it. This mixer takes, in
# each channel, a weighted sum of the last `taps` values, and gates it. While text is written a
# memory brings back the values that a window looks back at.


# %%
class Convolution(Mixer):
    """Each channel is a weighted sum of its last `taps` values, then a gate."""

    def __init__(self, architecture, taps):
        super().__init__()
        self.taps, width = taps, architecture.width
        self.read = nn.Linear(width, 2 * width, bias=False)
        self.kernel = nn.Parameter(torch.full((taps, width), 1.0 / taps))
        self.out = nn.Linear(width, width, bias=False)

    def mix(self, h, memory=None):
        value, gate = self.read(h).chunk(2, dim=-1)
        if memory is not None:
            (value,) = memory.extend(self.taps - 1, value)
        n = h.shape[1]
        value = pad(value, (0, 0, self.taps, 0))[:, -(n + self.taps - 1) :]
        mixed = sum(self.kernel[i] * value[:, i : i + n] for i in range(self.taps))
        return mixed * silu(gate)


class Conv(Stack):
    """Layers of causal convolutions, cross-attention to thoughts, and SwiGLU."""

    def __init__(self, architecture, thoughts, taps=4):
        super().__init__(architecture, thoughts, functools.partial(Convolution, taps=taps))
        self.taps = taps

    @property
    def reach(self):
        return self.architecture.layers * (self.taps - 1) + 1


# %% [markdown]
# Is it causal, does it normalise, does writing with a memory give what scoring whole rows gives?
# One call asks all that the library will ask of it.

# %%
print(check_decoder(Conv))

# %% [markdown]
# ## Documents whose entropy is known
#
# Each of 32 words shows one of sixteen hidden topics. A word tells nothing of the next but through
# the topic. Whoever sees many words can guess the topic; whoever sees three has to be told.

# %%
known, train = topics(ROWS, 32, seed=0), topics(DOCUMENTS, 32, seed=1).rows
config = Config(
    Architecture(32, 0, 32, window=2, layers=2, width=32, heads=2, feedforward=64),
    Thoughts(2, 1, 4),
)
slow = ltm.Slow(lr=8e-3)
print(f"exact entropy {known.nats_per_token:.3f}, who knows the topic "
      f"{known.nats_per_token_given_code:.3f} nats/token")  # fmt: skip

# %% [markdown]
# ## Two reaches, with thoughts and without
#
# The control is the same decoder without latents, trained on the same text. Its score is exact.

# %%
found = {}
for taps in (2, 16):
    decoder = functools.partial(Conv, taps=taps)
    torch.manual_seed(0)
    model = LatentThoughtModel(config, decoder=decoder)
    objective = ltm.Objective(start=0.1, warmup=0.5)
    svi = ltm.DualRateSVI(model, MeanField, ltm.Fast.quick(), slow, objective)
    svi.fit(train, STEPS, batch_size=32)
    control = AutoregressiveModel(config, decoder=decoder)
    ltm.DualRateSVI(control, NoGuide, slow=slow).fit(train, STEPS, batch_size=32, progress=False)
    fast = ltm.Fast.quick(4 if SMOKE else 16)
    bounds = ["elbo:8", "iwae:32", "prior:8"]
    report = ltm.evaluate(
        model, known.rows, bounds, fast=fast, baseline=control, repeat=0, progress=False
    )
    found[model.decoder.reach] = report
    gain, error = report.difference("baseline", "elbo")
    print(f"reach {model.decoder.reach}: thoughts gain {gain:+.3f} ± {error:.3f} nats/token")

# %% [markdown]
# ## What was learned
#
# How far each figure lies above the exact entropy of these documents, document by document. No
# valid figure lies below zero but by chance. The decoder of short reach pays for what it cannot
# see, and thoughts earn some of it back: more with a tighter bound. The one of long reach finds
# the topic in the text. There thoughts have nothing left to add, and the ELBO pays for them.

# %%
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
like = {"baseline": ("#009E73", "^", "no latents"), "elbo": ("#0072B2", "o", "ELBO"),
        "iwae": ("#56B4E9", "P", "importance-weighted, 32 draws")}  # fmt: skip
for place, (name, (color, marker, label)) in enumerate(like.items()):
    above = [report[name].nats - known.nats.numpy() for report in found.values()]
    mean = [gap.mean() / 32 for gap in above]
    reach = [2 * gap.std(ddof=1) / np.sqrt(len(gap)) / 32 for gap in above]
    at = np.arange(len(found)) + 0.12 * (place - 1)
    ax.errorbar(at, mean, reach, fmt=marker, color=color, capsize=3, label=label)
ax.axhline(0, color="0.45", linewidth=0.8)
ax.set_xticks(range(len(found)), [f"sees {reach} words" for reach in found])
ax.set(xlim=(-0.5, len(found) - 0.5), ylabel="above the exact entropy, nats/token")
ax.set_title(f"{len(known.rows)} documents; bars: ± 2 s.e., paired", loc="left", fontsize=9)
ax.spines[["top", "right"]].set_visible(False)
_ = ax.legend(frameon=False)
