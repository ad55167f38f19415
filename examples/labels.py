# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Labels: a few known, the rest summed out
#
# Some texts have a label and most have none. In a probabilistic program that is one site: observed
# where it is known, and where it is not, summed out exactly, document by document. The same model
# then reads labels from texts, p(label | text), and writes texts of a label, p(text | label).
# (`--smoke` runs it in seconds.)

# %%
import dataclasses
import sys

import matplotlib.pyplot as plt
import numpy as np
import pyro
import pyro.distributions as dist
import torch

import ltm_pyro as ltm
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.seeds import seeded

SMOKE = "--smoke" in sys.argv
STEPS, DOCUMENTS, TESTED, WRITTEN = (8, 80, 24, 4) if SMOKE else (600, 600, 400, 50)

# %% [markdown]
# ## Texts with a subject, 5 % of them labelled
#
# Each text has one of four subjects, a distribution over 24 letters, and 16 letters drawn from it.
# Subjects overlap, so even who knows them errs; that is the best there can be.

# %%
SUBJECTS = ["sea", "wood", "sky", "town"]
LETTERS = np.array(list("abcdefghijklmnopqrstuvwx"))
source = np.random.default_rng(0)
shares = source.dirichlet(np.full(24, 1.5), size=4)


def write(count, labelled):
    """Texts with their subject, which all but some do not tell; and the truth."""
    truth = source.integers(4, size=count)
    truth[:4] = range(4)  # a label of each at least
    texts = ["".join(source.choice(LETTERS, 16, p=shares[k])) for k in truth]
    told = [SUBJECTS[k] if i < labelled else None for i, k in enumerate(truth)]
    return [{"text": t, "subject": s} for t, s in zip(texts, told, strict=True)], truth


few = DOCUMENTS // 20
train, truth_of_train = write(DOCUMENTS, few)
test, truth = write(TESTED, 0)
valid, _ = write(16, 0)
corpus = ltm.load_corpus(
    {"train": train, "valid": valid, "test": test}, columns=["subject"], length=17, vocabulary=258
)  # letters stay letters
known = corpus.train.columns["subject"] >= 0
print(f"{int(known.sum())} of {len(corpus.train)} texts have a label")

# %% [markdown]
# ## The model
#
# `obs_mask` makes one site of a label that is known in some documents. The subject moves the
# thoughts that the decoder attends to; what else a text is about is N(0, I) around that.
# Enumeration tries every subject for every text whose label is missing, all at once.

# %%
config = ltm.preset("tiny", corpus)
config = config.replace(
    architecture=dataclasses.replace(
        config.architecture, window=2, layers=1, width=48, heads=4, feedforward=96
    ),
    thoughts=ltm.config.Thoughts(layers=1, slots=1, dim=8),
)
order = list(config.data.columns["subject"])  # the corpus has its own order of values


class Labelled(LatentThoughtModel):
    """label ~ uniform, u ~ N(0, I), thoughts = u + m[label]."""

    def __init__(self, config):
        super().__init__(config)
        self.m = torch.nn.Parameter(2.0 * torch.randn(len(order), *config.thoughts.shape))

    def forward(self, batch, prelude=None, positions=None):
        code = batch.columns["subject"]
        zero = self.decoder.head.new_zeros(self.config.thoughts.shape)
        with pyro.plate("documents", len(batch), dim=-1):
            law = dist.Categorical(logits=self.m.new_zeros(len(order)))
            label = pyro.sample("subject", law, obs=code.clamp(min=0), obs_mask=code >= 0)
            u = pyro.sample("u", dist.Normal(zero, 1.0).to_event(3))
            return self.observe(batch, u + self.m[label], prelude, positions)


def fit(rows, seed=0):
    """Train on these rows; those with a label are read several times as often."""
    often = torch.cat([torch.arange(len(rows)), known.nonzero()[:, 0].repeat(5)])
    again = dataclasses.replace(rows[often], document=torch.arange(len(often)))
    with seeded(seed):
        model = Labelled(config)
    svi = ltm.DualRateSVI(
        model, fast=ltm.Fast.quick(3), slow=ltm.Slow(lr=5e-3),
        objective=ltm.Objective(start=0.1, warmup=0.5), seed=seed,
    )  # fmt: skip
    svi.fit(again, STEPS, 32, progress=False)
    return svi


svi = fit(corpus.train)

# %% [markdown]
# ## Reading labels
#
# A fitted guide gives draws of u, and for each the label is drawn from p(label | u, text), exactly.
# Two supervised readers stand beside it, both naive Bayes, which is the true model of these texts:
# one is told the same few labels, one all of them. Who knows the subjects marks the end.


# %%
def counts(rows):
    """How often each token stands in each text."""
    return torch.stack(
        [
            torch.bincount(row[:n], minlength=258)
            for row, n in zip(rows.tokens, rows.lengths, strict=True)
        ]
    ).double()


def naive_bayes(labels, told):
    """The share of test texts whose subject is found from these labelled texts."""
    seen = torch.stack([counts(corpus.train)[told & (labels == k)].sum(0) for k in range(4)]) + 0.5
    score = counts(corpus.test) @ (seen / seen.sum(1, keepdim=True)).log().T
    return (score.argmax(1) == wanted).double()


place = torch.tensor([order.index(name) for name in SUBJECTS])
wanted, all_labels = place[torch.as_tensor(truth)], place[torch.as_tensor(truth_of_train)]
found = svi.infer(corpus.test, steps=8).sites(64)["subject"]
posterior = torch.stack([(found == k).double().mean(0) for k in range(4)], 1)
exact = counts(corpus.test)
letters = [corpus.tokenizer.encode(letter)[0] for letter in LETTERS]
of_subject = exact[:, letters] @ torch.as_tensor(shares).log().T
right = {
    f"supervised, {few} labels": naive_bayes(all_labels, known),
    f"{few} labels, the rest summed out": (posterior.argmax(1) == wanted).double(),
    f"supervised, all {DOCUMENTS} labels": naive_bayes(all_labels, torch.ones_like(known)),
    "the subjects themselves": (of_subject.argmax(1) == torch.as_tensor(truth)).double(),
}
for name, hits in right.items():
    print(f"{name:<36} {hits.mean():.3f} ± {hits.std() / len(hits) ** 0.5:.3f} right")
one, two = list(right.values())[:2]
gain = two - one
print(f"gain of the unlabelled texts: {gain.mean():+.3f} ± {gain.std() / len(gain) ** 0.5:.3f}")

# %% [markdown]
# ## Writing texts of a label
#
# `where` gives the label, and thoughts are drawn from p(thoughts | label) through the model's own
# program. Because subjects are known here, each written text can be asked what it is about.

# %%
written = {
    name: ltm.generate(
        svi.model, corpus.tokenizer, n=WRITTEN, where={"subject": name}, guide=svi.guide
    ).texts
    for name in SUBJECTS
}
print("\n".join(f"{name:<5} {texts[0]}" for name, texts in written.items()))
about = np.zeros((4, 4))
for i, name in enumerate(SUBJECTS):
    for text in written[name]:
        seen = [list(LETTERS).index(letter) for letter in text if letter in LETTERS]
        about[i, np.log(shares[:, seen]).sum(1).argmax()] += 1 / WRITTEN
print(f"{about.trace() / 4:.2f} of the written texts are about what was asked for")

# %%
figure, (left, matrix) = plt.subplots(1, 2, figsize=(11, 3.8), width_ratios=(3, 2))
places = np.arange(len(right))
left.errorbar(
    [float(hits.mean()) for hits in right.values()], places,
    xerr=[1.96 * float(hits.std()) / len(hits) ** 0.5 for hits in right.values()],
    fmt="o", capsize=3,
)  # fmt: skip
left.set_yticks(places, list(right))
left.set(xlabel=f"share of {TESTED} test texts read rightly (95 %)", title="Reading labels")
matrix.imshow(about, vmin=0, vmax=1, cmap="Blues")
for i in range(4):
    for j in range(4):
        matrix.text(j, i, f"{about[i, j]:.2f}", ha="center", va="center",
                    color="white" if about[i, j] > 0.6 else "black")  # fmt: skip
matrix.set_xticks(range(4), SUBJECTS)
matrix.set_yticks(range(4), SUBJECTS)
matrix.set(xlabel="what the text is about", ylabel="asked for", title="Writing texts of a label")
figure.tight_layout()
plt.show()

# %% [markdown]
# A label that is missing costs nothing but its sum, and the texts without one still teach what the
# subjects are. Texts are read here by draws of q(u | text), so p(label | text) is as good as q is;
# `ltm.bounds.given_text` scores it with a proper rule, in nats per document.
