"""Importance-weighted bounds, reduced for each document before anything is averaged."""

import math

import torch
from torch import Tensor

from ltm_pyro.bounds.estimate import Estimate, Task, figure
from ltm_pyro.errors import InputError
from ltm_pyro.models.base import TextModel
from ltm_pyro.programs.densities import log_joint, log_weights
from ltm_pyro.seeds import Noise, Stream, derive

AT_ONCE = 8
"""Draws of every row that are scored together; bounds the memory."""


@torch.no_grad()
def importance_weights(task: Task, draws: int) -> Tensor:
    """log p(x, z) - log q(z) at fresh draws of the fitted guide, (draws, rows), nats."""
    guide, rows = task.fitted()
    noise, found = Noise(derive(task.seed, Stream.IMPORTANCE), rows.key), []
    for start in range(0, draws, AT_ONCE):
        with noise.draw():
            found.append(log_weights(task.model, guide, rows, min(AT_ONCE, draws - start)))
    return torch.cat(found)


@figure
def iwae(task: Task, draws: int = 64) -> Estimate:
    """The importance-weighted bound with K draws (Burda et al. 2016, eq. 8).

    For each document -log (1/K) sum_k p(x, z_k) / q(z_k): in expectation at least -log p(x), never
    above the negative ELBO, and falling to -log p(x) as K grows.
    """
    log_w = importance_weights(task, draws)
    nats, variance = log_mean_exp(log_w)
    protocol = f"bound: {task.fast.steps} fast steps, {draws} importance-weighted fresh draws"
    return Estimate(-nats, protocol, draws, variance, log_weights=log_w)


def log_mean_exp(log_values: Tensor) -> tuple[Tensor, Tensor | None]:
    """log of the mean over the first dimension, and its variance by the delta method."""
    n = len(log_values)
    mean = torch.logsumexp(log_values, 0) - math.log(n)
    if n == 1:
        return mean, None
    relative = (log_values - mean).exp()
    return mean, relative.var(0) / n


@figure
@torch.no_grad()
def grid(task: Task, points: int = 64) -> Estimate:
    """-log p(x) by quadrature, for models with one or two latent dimensions in all.

    The trapezoidal rule on [-7, 7] with `points` places in each dimension: exact for all purposes
    of a smooth decoder and a prior near the standard normal. A case to hold estimators against.

    Raises:
        InputError: if the model has more than two latent dimensions.
    """
    model: TextModel = task.model
    shape = getattr(getattr(model, "thoughts", None), "shape", ())
    size = math.prod(shape) if shape else 0
    if not 1 <= size <= 2:
        raise InputError(f"grid: needs 1 or 2 latent dimensions in all, this model has {size}")
    line = torch.linspace(-7.0, 7.0, points)
    places = torch.cartesian_prod(*[line] * size).reshape(-1, 1, *shape)
    found = []
    for part in places.split(64):
        latents = {"z": part.expand(-1, len(task.rows), *shape)}
        log_prior, log_likelihood = log_joint(model, latents, task.rows)
        found.append(log_prior + log_likelihood)
    cell = size * math.log(14.0 / (points - 1))
    nats = -(torch.logsumexp(torch.cat(found), 0) + cell)
    return Estimate(nats, f"exact up to quadrature on {points} places a dimension")
