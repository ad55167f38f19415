"""Models with programs of their own, as a user's file has them."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from ltm_pyro.guides import Guide
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


class Moody(LatentThoughtModel):
    """A rating is observed behind a mood, before the thoughts that depend on it."""

    def forward(self, batch, prelude=None, positions=None):
        rating = batch.columns["rating"]
        with pyro.plate("documents", len(batch), dim=-1):
            mood = pyro.sample("mood", dist.Normal(self.decoder.head.new_zeros(()), 1.0))
            with poutine.mask(mask=~rating.isnan()):
                pyro.sample("stars", dist.Normal(mood, 0.1), obs=rating.nan_to_num())
            mean = mood[..., None, None, None].expand(*mood.shape, *self.thoughts.shape)
            z = pyro.sample("z", dist.Normal(mean, 1.0).to_event(3))
            return self.observe(batch, z, prelude, positions)


class Tabled(LatentThoughtModel):
    """What documents share are a simplex, and one for each of two groups."""

    def forward(self, batch, prelude=None, positions=None):
        ones = self.decoder.head.new_ones(3)
        shares = pyro.sample("shares", dist.Dirichlet(ones))
        with pyro.plate("groups", 2, dim=-1):
            table = pyro.sample("table", dist.Dirichlet(ones))
        mean = (shares[..., 0] + table[..., [0], 0])[..., None, None, None]
        with pyro.plate("documents", len(batch), dim=-1):
            law = dist.Normal(mean.expand(*mean.shape[:-3], *self.thoughts.shape), 1.0)
            z = pyro.sample("z", law.to_event(3))
            return self.observe(batch, z, prelude, positions)


class Whole(Guide):
    """A guide that samples the weight of `Regressed` itself, from its prior."""

    def __init__(self, thoughts, batch_size):
        super().__init__(thoughts, batch_size)
        self.loc = torch.nn.Parameter(torch.zeros(batch_size, *thoughts.shape))
        self.log_scale = torch.nn.Parameter(torch.zeros(batch_size, *thoughts.shape))

    def forward(self, batch):
        pyro.sample("weight", dist.Normal(torch.zeros(self.loc.shape[1:]), 0.5).to_event(3))
        with pyro.plate("documents", self.batch_size, dim=-1):
            law = dist.Normal(self.loc, self.log_scale.exp())
            return pyro.sample("z", law.to_event(3))


class Mute(Regressed):
    """It forgets to return z."""

    def forward(self, batch, prelude=None, positions=None):
        super().forward(batch, prelude, positions)
