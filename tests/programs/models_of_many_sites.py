"""Models whose densities are known by quadrature, with sites of every kind beside `z`."""

import dataclasses
import math

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from scipy import special, stats

from ltm_pyro.config import Thoughts
from ltm_pyro.models import LinearGaussianModel
from ltm_pyro.programs.densities import simulate

LINE = Thoughts(1, 1, 1)
WEIGHT = torch.tensor([[1.2], [-0.7]])
SHARES = torch.tensor([0.2, 0.5, 0.3])
MOVES = torch.tensor([-1.0, 0.0, 1.5])


class ManySites(LinearGaussianModel):
    """z ~ N(0, 1), pace ~ Gamma(3, 2), topic ~ Categorical; x, speed and label observed.

    ::

        x_n ~ N(w_n z + move[topic], 0.8),  speed ~ N(pace, 0.5),  label ~ Bernoulli(sigmoid(z + move[topic]))

    A label below 0 is missing.
    """  # noqa: E501

    def __init__(self):
        super().__init__(LINE, WEIGHT, 0.8)

    def forward(self, batch, prelude=None):
        with pyro.plate("documents", len(batch), dim=-1):
            z = self.prior(batch)
            pace = pyro.sample("pace", dist.Gamma(torch.tensor(3.0), 2.0))
            topic = pyro.sample("topic", dist.Categorical(SHARES))
            moved = MOVES[topic]
            mean = z.flatten(-3) @ self.weight.T + self.bias + moved[..., None]
            likelihood = dist.Normal(mean, self.scale).mask(batch.mask).to_event(1)
            pyro.sample("tokens", likelihood, obs=batch.tokens)
            pyro.sample("speed", dist.Normal(pace, 0.5), obs=batch.columns["speed"])
            label = batch.columns["label"]
            with poutine.mask(mask=label >= 0):
                logits = z.flatten(-3)[..., 0] + moved
                pyro.sample("label", dist.Bernoulli(logits=logits), obs=label.clamp(min=0).float())
        return z


def many_sites(documents=6, seed=0):
    """The model and documents it wrote, the last label missing."""
    model = ManySites()
    blank = torch.zeros(documents)
    rows, _ = simulate(
        model, torch.full((documents,), 2), seed, {"speed": blank, "label": blank.long()}
    )
    label = rows.columns["label"].long()
    label[-1] = -1
    return model, dataclasses.replace(rows, columns={**rows.columns, "label": label})


def log_marginal(rows, sites=("tokens", "speed", "label")):
    """log p of the observed sites of each document, by quadrature, independent of the library."""
    x, speed, label = (
        v.numpy() for v in (rows.tokens, rows.columns["speed"], rows.columns["label"])
    )
    z = np.linspace(-9, 9, 4001)
    found = []
    for i in range(len(rows)):
        of_z = stats.norm.logpdf(z)[:, None] + np.log(SHARES.numpy())
        moved = MOVES.numpy()
        if "tokens" in sites:
            for n in range(2):
                mean = WEIGHT.numpy()[n] * z[:, None] + moved
                of_z = of_z + stats.norm.logpdf(x[i, n], mean, 0.8)
        if "label" in sites and label[i] >= 0:
            sign = 1 if label[i] else -1
            of_z = of_z + special.log_expit(sign * (z[:, None] + moved))
        total = special.logsumexp(of_z) + math.log(z[1] - z[0])
        if "speed" in sites:
            pace = np.linspace(1e-6, 20, 20001)
            joint = stats.gamma.logpdf(pace, 3, scale=0.5) + stats.norm.logpdf(speed[i], pace, 0.5)
            total += special.logsumexp(joint) + math.log(pace[1] - pace[0])
        found.append(total)
    return np.array(found)


class Coupled(LinearGaussianModel):
    """Beside z two sites that one discrete site moves: kind ~ Categorical, a, b ~ N(move[kind], 1).

    Their sum is observed, rating ~ N(a + b, 0.5), and z is known from the tokens alone.
    """

    def __init__(self):
        super().__init__(LINE, WEIGHT, 0.8)

    def forward(self, batch, prelude=None):
        with pyro.plate("documents", len(batch), dim=-1):
            z = self.prior(batch)
            moved = MOVES[pyro.sample("kind", dist.Categorical(SHARES))]
            a = pyro.sample("a", dist.Normal(moved, 1.0))
            b = pyro.sample("b", dist.Normal(moved, 1.0))
            pyro.sample("rating", dist.Normal(a + b, 0.5), obs=batch.columns["rating"])
            mean = z.flatten(-3) @ self.weight.T + self.bias
            likelihood = dist.Normal(mean, self.scale).mask(batch.mask).to_event(1)
            pyro.sample("tokens", likelihood, obs=batch.tokens)
        return z

    def log_rating(self, rows):
        """log p(rating) of each document, exact."""
        sums = torch.distributions.Normal(2 * MOVES, (2 + 0.5**2) ** 0.5)
        return (sums.log_prob(rows.columns["rating"][:, None]) + SHARES.log()).logsumexp(1)


def coupled(documents=64, seed=0):
    """The model and documents it wrote."""
    model = Coupled()
    lengths, columns = torch.full((documents,), 2), {"rating": torch.zeros(documents)}
    return model, simulate(model, lengths, seed, columns)[0]
