# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Before and after: an effect on text
#
# Something happened, and texts were written before and after it: did they change, and how? In a
# latent-thought model the question is one site that all documents share: a shift of the mean of
# thoughts, with a prior and a posterior. Here the change is known, because we write the texts
# ourselves; so the notebook ends by comparing what was inferred with what is true, and with what
# the same model finds where nothing happened. (`--smoke` runs it in seconds.)

# %%
import dataclasses
import sys

import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

import ltm_pyro as ltm
from ltm_pyro.config import Architecture, Config, Objective, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.inference import Hierarchical
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.seeds import seeded

SMOKE = "--smoke" in sys.argv
STEPS, DOCUMENTS, SHUFFLES = (6, 64, 2) if SMOKE else (300, 2000, 3)

# %% [markdown]
# ## Texts with a known change
#
# A document has a subject, a point in a plane, and draws 24 words from softmax(W subject), of 32.
# Subjects are N(0, I) before, and N(CHANGE, I) after. No word follows from the one before it, and
# the decoder's window is two words: what a document is about reaches a word through thoughts alone.

# %%
WORDS, LENGTH = 32, 24
CHANGE = torch.tensor([1.0, -0.5])
source = torch.Generator().manual_seed(3)
W = torch.randn(WORDS, 2, generator=source)


def write(after):
    """Documents, with a column of zeros (written before) and ones (after)."""
    subject = torch.randn(len(after), 2, generator=source) + after[:, None] * CHANGE
    words = torch.multinomial(
        (subject @ W.T).softmax(-1), LENGTH, replacement=True, generator=source
    )
    lengths = torch.full((len(after),), LENGTH)
    number = torch.arange(len(after))
    return Rows(words, lengths, number, lengths.clone(), columns={"after": after})


rows = write((torch.arange(DOCUMENTS) % 2).float())

# %% [markdown]
# ## The model
#
# One site more than the usual model has: `shift` stands outside the plate of documents, so there is
# one for all of them, and its KL is counted once. `Hierarchical` makes its guide, a normal.

# %%
config = Config(
    Architecture(
        vocabulary=WORDS + 1, begin=WORDS, length=LENGTH, window=2, layers=1, width=48,
        heads=4, feedforward=96,
    ),
    Thoughts(layers=1, slots=1, dim=4),
)  # fmt: skip


class Moved(LatentThoughtModel):
    """z ~ N(after * shift, I), shift ~ N(0, I)."""

    def forward(self, batch, prelude=None, positions=None):
        zero = self.decoder.head.new_zeros(config.thoughts.shape)
        shift = pyro.sample("shift", dist.Normal(zero, 1.0).to_event(3))
        mean = batch.columns["after"][:, None, None, None] * shift
        with pyro.plate("documents", len(batch), dim=-1):
            z = pyro.sample("z", dist.Normal(mean, 1.0).to_event(3))
            return self.observe(batch, z, prelude, positions)


def fit(rows, seed=0):
    """A model trained on these documents, and q(shift): its mean and standard deviation."""
    with seeded(seed):
        model = Moved(config)
    svi = ltm.DualRateSVI(
        model, Hierarchical.of(model, rows=rows), ltm.Fast.quick(4),
        ltm.Slow(lr=5e-3, shared_lr=0.05), objective=Objective(start=0.1, warmup=0.4), seed=seed,
    )  # fmt: skip
    svi.fit(rows, STEPS, 32, progress=False)
    return model, *svi.shared.summary()["shift"]


model, mean, deviation = fit(rows)
print(
    "shift:",
    ", ".join(f"{m:+.2f} ± {d:.2f}" for m, d in zip(mean.ravel(), deviation.ravel(), strict=True)),
)

# %% [markdown]
# ## Nothing happened: the same documents, the column shuffled
#
# Numbers of thought space mean nothing by themselves: turn it, and they change. The length of the
# shift is a number one can ask about, but it is above zero whatever happened. So shuffle the column
# and fit again, a few times: that is how long a shift is where there is none. It also holds what
# q(shift) leaves out. q is a normal of its own, given one trained decoder, and does not know that
# another sample of documents would have trained another.

# %%
lengths = []
for seed in range(SHUFFLES):
    order = torch.randperm(len(rows), generator=source)
    shuffled = dataclasses.replace(rows, columns={"after": rows.columns["after"][order]})
    _, unmoved, _ = fit(shuffled, seed)
    lengths.append(float(unmoved.norm()))
print(f"length of the shift: {mean.norm():.2f}; shuffled: {', '.join(f'{n:.2f}' for n in lengths)}")

# %% [markdown]
# ## The effect in words
#
# What a reader wants is the change of text: how much more often is a word written? That does not
# depend on how thought space lies. For a draw of the shift, the share of a word is its probability
# as the first word, averaged over thoughts; draws of q(shift) give an interval.

# %%
first = torch.ones(WORDS, dtype=torch.long)
words = Rows(
    torch.arange(WORDS)[:, None], first, torch.arange(WORDS), first.clone(),
    columns={"after": torch.zeros(WORDS)},
)  # fmt: skip


@torch.no_grad()
def shares(thoughts):
    """Mean over thoughts (draws, layers, slots, dim) of the probability of each word."""
    z = thoughts[:, None].expand(-1, WORDS, -1, -1, -1)
    trace = poutine.trace(poutine.condition(model, {"z": z})).get_trace(words)
    return trace.nodes["tokens"]["fn"].log_prob(words.tokens).exp().mean(0)


DRAWS = (4, 3) if SMOKE else (500, 20)
noise = torch.randn(DRAWS[0], *config.thoughts.shape, generator=source)
before = shares(noise)
effects = torch.stack(
    [
        (
            shares(noise + mean + deviation * torch.randn(mean.shape, generator=source)) / before
        ).log()
        for _ in range(DRAWS[1])
    ]
)
low, middle, high = effects.quantile(torch.tensor([0.025, 0.5, 0.975]), dim=0)
subjects = torch.randn(200_000, 2, generator=source)
truth = (
    ((subjects + CHANGE) @ W.T).softmax(-1).mean(0) / (subjects @ W.T).softmax(-1).mean(0)
).log()
inside = int(((low <= truth) & (truth <= high)).sum())
print(
    f"correlation with the true effects {torch.corrcoef(torch.stack([middle, truth]))[0, 1]:.3f}; "
    f"{inside} of {WORDS} lie inside q's 95 % interval"
)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=(2, 1))
left.axline((0, 0), slope=1, color="0.7", linewidth=0.8)
left.errorbar(
    truth, middle, yerr=torch.stack([middle - low, high - middle]), fmt="o", markersize=4, capsize=2
)
left.set(
    xlabel="true change of a word's log share (nats)", ylabel="inferred, 95 % interval of q(shift)",
    title="Each point is a word",
)  # fmt: skip
right.plot([0] * len(lengths), lengths, "o", color="0.5", label="column shuffled")
right.plot([1], [float(mean.norm())], "o", markersize=8)
right.set_xticks([0, 1], ["column shuffled", "as it was"])
right.set(
    xlim=(-0.5, 1.5), ylim=(0, None), ylabel="length of the mean shift",
    title="Where nothing happened, and here",
)  # fmt: skip
figure.tight_layout()
plt.show()

# %% [markdown]
# Words that became more frequent are found to be, in their order and about in their size. Intervals
# of q(shift) are too narrow: they take the decoder as known, and q treats a shift and the thoughts
# of documents as independent. So judge *whether* there is an effect against the shuffled columns,
# and read the intervals as the least that is not known.
#
# With texts of your own: `ltm.load_corpus("reviews.jsonl", numbers=["after"])` reads the column,
# and `ltm train --model mine:Moved --number after` trains the class from a file.
