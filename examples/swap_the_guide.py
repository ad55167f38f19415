# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Swap the guide
#
# A guide is an approximate posterior q(z | x) for each document. Fitting, bounds and diagnostics
# take any of them. This notebook fits many guides to the same documents under the same decoder and
# compares their valid bounds and their cost; asks whether an encoder collapses where local guides
# do not; and ends with a guide written from scratch. (`--smoke` runs it in seconds.)

# %%
import functools
import sys
import time

import matplotlib.pyplot as plt
import pyro.distributions as dist
import torch

import ltm_pyro as ltm
from ltm_pyro import guides
from ltm_pyro.config import Architecture, Config, Fast, Objective, Slow, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.diagnostics import thought_use
from ltm_pyro.guides import Guide
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.seeds import seeded
from ltm_pyro.testing import check_guide

SMOKE = "--smoke" in sys.argv
STEPS, DOCUMENTS, TESTED = (4, 64, 6) if SMOKE else (250, 2000, 64)

# %% [markdown]
# ## A decoder whose thoughts matter
#
# Documents follow one of 16 hidden topics, and the decoder's window sees one symbol back in each
# layer: z has something to say.

# %%
source = torch.Generator().manual_seed(0)
with seeded(1):
    topics = dist.Dirichlet(torch.full((16, 32), 0.3)).sample()


def write(documents):
    """Rows of 48 symbols from a topic of each document's own."""
    topic = torch.randint(16, (documents,), generator=source)
    tokens = torch.multinomial(topics[topic], 48, replacement=True, generator=source)
    lengths = torch.full((documents,), 48)
    return Rows(tokens, lengths, torch.arange(documents), lengths)


train, test = write(DOCUMENTS), write(TESTED)
config = Config(
    Architecture(
        vocabulary=33, begin=32, length=48, window=2, layers=2, width=64, heads=4, feedforward=128
    ),
    Thoughts(layers=2, slots=1, dim=4),
)
OBJECTIVE = Objective(start=0.1, warmup=0.5)


def new_model():
    """The same start for every training below."""
    with seeded(0):
        return LatentThoughtModel(config)


model = new_model()
slow = Slow(lr=5e-3, warmup=10)
ltm.DualRateSVI(model, fast=Fast(steps=4), slow=slow, objective=OBJECTIVE).fit(
    train, STEPS, 16, progress=False
)

# %% [markdown]
# ## Many guides, one decoder
#
# All are scored with fresh draws; a sampler counts as the normal with its particles' moments, so
# its figure is a bound too. Differences to the mean-field guide are paired over documents.

# %%
N = 4 if SMOKE else 32
zoo = {
    "mean-field": (guides.MeanField, Fast(steps=N, lr=0.2)),
    "covariance": (guides.Covariance, Fast(steps=N, lr=0.2)),
    "low rank": (functools.partial(guides.Covariance, rank=2), Fast(steps=N, lr=0.2)),
    "layer-wise": (guides.Layerwise, Fast(steps=N, lr=0.2)),
    "mixture": (guides.Mixture, Fast(steps=N, lr=0.2)),
    "Laplace": (guides.LaplaceApproximation, Fast(steps=N, lr=0.2)),
    "Langevin": (functools.partial(guides.Langevin, particles=16), Fast(steps=N, lr=0.03)),
    "Hamiltonian": (
        functools.partial(guides.Hamiltonian, particles=16, leapfrogs=4),
        Fast(steps=max(2, N // 4), lr=0.3),
    ),
}
if SMOKE:
    zoo = {name: zoo[name] for name in ("mean-field", "low rank", "Langevin")}
reports = {}
for name, (guide, fast) in zoo.items():
    start = time.perf_counter()
    reports[name] = ltm.evaluate(model, test, ["elbo:32"], guide=guide, fast=fast, progress=False)
    seconds = time.perf_counter() - start
    gain, error = ltm.bounds.paired_difference(reports["mean-field"]["elbo"], reports[name]["elbo"])
    bound = reports[name]["elbo"].nats_per_token
    print(
        f"{name:<12} {bound:.4f} nats/token, better by {gain:+.4f} ± {error:.4f}; {seconds:.1f} s"
    )

# %% [markdown]
# A point is no density: what it scores is no bound, and the library says so instead of a number.

# %%
try:
    ltm.evaluate(model, test, ["elbo"], guide=guides.Point, progress=False)
except ltm.InputError as refusal:
    print(refusal)

# %% [markdown]
# ## What a step buys
#
# The fast loop takes any optimizer of `torch.optim`, natural gradients for Gaussian guides, and
# more (docs/how_to/local_optimizers.md). The valid bound against the number of steps:

# %%
counts = [1, 4] if SMOKE else [1, 2, 4, 8, 16, 32, 64]
optimizers = {
    "Adam, 0.3": Fast(lr=0.3),
    "SGD with momentum, 0.05": Fast(lr=0.05, optimizer="SGD", options={"momentum": 0.7}),
    "natural gradient, 0.3": Fast(lr=0.3, optimizer="NaturalGradient"),
}
figure, ax = plt.subplots(figsize=(6, 4))
for name, fast in optimizers.items():
    bounds = [
        ltm.evaluate(
            model, test, ["elbo:16"], fast=Fast(n, fast.lr, optimizer=fast.optimizer,
            options=fast.options), progress=False,
        )["elbo"].nats_per_token
        for n in counts
    ]  # fmt: skip
    ax.plot(counts, bounds, "o-", markersize=4, label=name)
ax.set_xscale("log", base=2)
ax.set(xlabel="fast steps", ylabel="valid bound, nats/token", title="What a fast step buys")
ax.legend(frameon=False)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## Does an encoder collapse?
#
# An amortised guide has an encoder, trained with the decoder, and no fast steps. Trained from the
# same start on the same batches, here is what its thoughts carry, beside the local guide's, and
# beside local steps that begin at an encoder's proposal.

# %%
trained = {"local": (model, guides.MeanField, Fast(steps=N, lr=0.2))}
for name, cls, steps in (
    ("amortised", guides.Amortized, 0),
    ("semi-amortised", guides.SemiAmortized, 4),
):
    other = new_model()
    guide = cls.of(other, width=64)
    fast = Fast(steps=steps)
    ltm.DualRateSVI(other, guide, fast, slow, OBJECTIVE).fit(train, STEPS, 16, progress=False)
    trained[name] = (other, guide, fast)
local = None
for name, (which, guide, fast) in trained.items():
    report = ltm.evaluate(
        which, test, ["elbo:32", "prior:32"], guide=guide, fast=fast, progress=False
    )
    local = local or report
    gain, error = ltm.bounds.paired_difference(local["elbo"], report["elbo"])
    print(f"{name}: bound {report['elbo'].nats_per_token:.4f}, better than local by {gain:+.4f} "
          f"± {error:.4f}\n  {thought_use(infer(which, test, guide, fast)).verdict}")  # fmt: skip

# %% [markdown]
# The verdicts say whether the encoder's posterior is used or has collapsed to the prior; the
# bounds, whether fitting each document by itself was worth it.

# %% [markdown]
# ## One of your own
#
# `__init__(thoughts, batch_size)` makes local parameters, their first dimension the document;
# `distribution` says what they mean. From a file `mine.py`: `ltm train --guide mine:Heavy`.


# %%
class Heavy(Guide):
    """Independent Student-t thoughts: heavier tails than the normal's."""

    def __init__(self, thoughts, batch_size, degrees=5.0):
        super().__init__(thoughts, batch_size)
        shape = (batch_size, *thoughts.shape)
        self.degrees = degrees
        self.loc = torch.nn.Parameter(torch.zeros(shape))
        self.log_scale = torch.nn.Parameter(torch.zeros(shape))

    def distribution(self):
        scale = self.log_scale.exp()
        return dist.StudentT(self.degrees, self.loc, scale, validate_args=False).to_event(3)


if not SMOKE:
    print(check_guide(Heavy))
fast = Fast(steps=N, lr=0.2)
own = ltm.evaluate(model, test, ["elbo:32"], guide=Heavy, fast=fast, progress=False)
gain, error = ltm.bounds.paired_difference(reports["mean-field"]["elbo"], own["elbo"])
print(f"heavy tails: better than the mean-field normal by {gain:+.4f} ± {error:.4f} nats/token")
