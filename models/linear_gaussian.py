"""A model whose likelihood and posterior are known exactly, to hold every figure against."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ltm_pyro.config import Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.models.base import TextModel
from ltm_pyro.models.priors.base import Prior
from ltm_pyro.models.priors.normal import StandardNormal


class LinearGaussianModel(TextModel):
    """Thoughts through a linear map: x_n = w_n . z + b_n + noise, z standard normal.

    The same sites, plate and masking as `LatentThoughtModel`, but "tokens" are real numbers and
    everything is known in closed form::

        x ~ N(b, W W' + s^2 I),    z | x ~ N(C W' (x - b) / s^2, C),  C = (I + W' W / s^2)^-1

    Args:
        thoughts: shape of z; D numbers in all.
        weight: W, shape (N, D).
        scale: standard deviation s of the noise.
    """

    samples_prior_alone = True

    def __init__(self, thoughts: Thoughts, weight: Tensor, scale: float = 1.0):
        super().__init__()
        self.thoughts, self.scale = thoughts, scale
        self.prior: Prior = StandardNormal(thoughts)
        self.weight = torch.nn.Parameter(weight.clone())
        self.bias = torch.nn.Parameter(torch.zeros(len(weight)))

    def forward(self, batch: Rows, prelude: Tensor | None = None) -> Tensor:
        """Returns z, shape (*plates, documents, layers, slots, dim)."""
        with pyro.plate("documents", len(batch), dim=-1):
            z: Tensor = self.prior(batch)
            n = batch.tokens.shape[1]
            mean = z.flatten(-3) @ self.weight[:n].T + self.bias[:n]
            likelihood = dist.Normal(mean, self.scale).mask(batch.mask).to_event(1)
            pyro.sample("tokens", likelihood, obs=batch.tokens)
        return z

    def read(self, batch: Rows) -> None:
        """Nothing here is independent of z."""

    def posterior(self, batch: Rows) -> tuple[Tensor, Tensor]:
        """Mean (documents, D) and covariance (documents, D, D) of p(z | x)."""
        means, covariances = [], []
        for x, n in zip(batch.tokens, batch.lengths.tolist(), strict=True):
            weight = self.weight[:n]
            precision = torch.eye(weight.shape[1]) + weight.T @ weight / self.scale**2
            covariance = torch.linalg.inv(precision)
            means.append(covariance @ weight.T @ (x[:n] - self.bias[:n]) / self.scale**2)
            covariances.append(covariance)
        return torch.stack(means), torch.stack(covariances)

    def log_marginal(self, batch: Rows) -> Tensor:
        """log p(x), exact, shape (documents,), nats."""
        found = []
        for x, n in zip(batch.tokens, batch.lengths.tolist(), strict=True):
            weight = self.weight[:n].double()
            covariance = weight @ weight.T + self.scale**2 * torch.eye(n, dtype=torch.float64)
            rest = (x[:n] - self.bias[:n]).double()
            _, log_det = torch.linalg.slogdet(covariance)
            mahalanobis = rest @ torch.linalg.solve(covariance, rest)
            found.append(-0.5 * (n * math.log(2 * math.pi) + log_det + mahalanobis))
        return torch.stack(found).to(self.weight.dtype)
