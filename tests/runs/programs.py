"""Models with programs of their own, as a user's file has them."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from ltm_pyro.models import LatentThoughtModel


class Rated(LatentThoughtModel):
    """A rating that depends on z is observed where it is known."""

    def __init__(self, config, prior=None, noise: float = 0.5):
        super().__init__(config, prior)
        self.noise = noise
        self.read_out = torch.nn.Linear(config.thoughts.count * config.thoughts.dim, 1)

    def forward(self, batch, prelude=None, positions=None):
        rating = batch.columns["rating"]
        with pyro.plate("documents", len(batch), dim=-1):
            z = self.prior(batch)
            mean = self.read_out(z.flatten(-3))[..., 0]
            with poutine.mask(mask=~rating.isnan()):
                pyro.sample("stars", dist.Normal(mean, self.noise), obs=rating.nan_to_num())
            return self.observe(batch, z, prelude, positions)


class Labelled(LatentThoughtModel):
    """p(z | topic) = N(m[topic], I); the topic is summed out where it is missing."""

    def __init__(self, config, columns):
        super().__init__(config)
        values = len(columns["topic"])
        self.share = torch.nn.Parameter(torch.zeros(values))
        self.means = torch.nn.Parameter(torch.randn(values, *config.thoughts.shape))

    def forward(self, batch, prelude=None, positions=None):
        code = batch.columns["topic"]
        with pyro.plate("documents", len(batch), dim=-1):
            law = dist.Categorical(logits=self.share)
            topic = pyro.sample("topic", law, obs=code.clamp(min=0), obs_mask=code >= 0)
            z = pyro.sample("z", dist.Normal(self.means[topic], 1.0).to_event(3))
            return self.observe(batch, z, prelude, positions)


class Regressed(LatentThoughtModel):
    """z ~ N(x weight, I), with a weight that all documents share."""

    def forward(self, batch, prelude=None, positions=None):
        zero = self.decoder.head.new_zeros(self.thoughts.shape)
        weight = pyro.sample("weight", dist.Normal(zero, 0.5).to_event(3))
        mean = batch.columns["rating"].nan_to_num()[:, None, None, None] * weight
        with pyro.plate("documents", len(batch), dim=-1):
            z = pyro.sample("z", dist.Normal(mean, 1.0).to_event(3))
            return self.observe(batch, z, prelude, positions)


class Mute(Regressed):
    """It forgets to return z."""

    def forward(self, batch, prelude=None, positions=None):
        super().forward(batch, prelude, positions)
