"""Importance-weighted bounds, reduced for each document before anything is averaged."""

import math

import torch
from torch import Tensor

from ltm_pyro.bounds.estimate import Estimate, Task, figure, with_shared
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.models.base import TextModel
from ltm_pyro.programs.densities import log_density, log_joint, log_weights, prior_of
from ltm_pyro.seeds import Noise, Stream, derive

AT_ONCE = 8
"""Draws of every row that are scored together; bounds the memory."""


@torch.no_grad()
def importance_weights(task: Task, draws: int) -> Tensor:
    """log p(x, z) - log q(z) at fresh draws of the fitted guide, (draws, rows), nats."""
    guide, rows = task.fitted()
    noise, found = Noise(derive(task.seed, Stream.IMPORTANCE), rows.key), []
    model = task.model.having_read(rows)
    for start in range(0, draws, AT_ONCE):
        with noise.draw():
            found.append(log_weights(model, guide, rows, min(AT_ONCE, draws - start)))
    return torch.cat(found)


@figure
@with_shared
def iwae(task: Task, draws: int = 64) -> Estimate:
    """The importance-weighted bound with K draws (Burda et al. 2016, eq. 8).

    For each document -log (1/K) sum_k p(x, z_k) / q(z_k): in expectation at least -log p(x), never
    above the negative ELBO, and falling to -log p(x) as K grows.
    """
    log_w = importance_weights(task, draws)
    nats, variance = log_mean_exp(log_w)
    protocol = f"bound: {task.how}, {draws} importance-weighted fresh draws"
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

    The trapezoidal rule on `points` places in each dimension: evenly spaced on [-7, 7], or, where
    that misses some of the prior, at 0.5 sinh(t) as far as 3,000 either way. Exact for all purposes
    of a smooth decoder. A case to hold estimators against.

    Raises:
        InputError: if the model has more than two latent dimensions, or for a prior whose mass
            either rule misses.
    """
    model: TextModel = task.model
    shape = getattr(getattr(model, "thoughts", None), "shape", ())
    size = math.prod(shape) if shape else 0
    if not 1 <= size <= 2:
        raise InputError(f"grid: needs 1 or 2 latent dimensions in all, this model has {size}")
    rows, prior = task.rows, prior_of(model)
    for line, weights, least in (_even(points), _wide(points)):
        places = torch.cartesian_prod(*[line] * size).reshape(-1, 1, *shape)
        log_cell = torch.cartesian_prod(*[weights.log()] * size).reshape(len(places), -1).sum(-1)
        parts = [log_density(prior, _everywhere(p, rows), rows) for p in places.split(4096)]
        mass = torch.logsumexp(torch.cat(parts) + log_cell[:, None], 0).exp()
        if least < float(mass.min()) and float(mass.max()) < 1.01:
            fixed = model.having_read(rows)
            joint = [log_joint(fixed, _everywhere(p, rows), rows) for p in places.split(64)]
            log_p = torch.cat([log_prior + log_likelihood for log_prior, log_likelihood in joint])
            nats = -torch.logsumexp(log_p + log_cell[:, None], 0)
            return Estimate(nats, f"exact up to quadrature on {points} places a dimension")
    raise InputError(
        f"grid: on {points} places a dimension the prior's mass comes out as {mass.min():.3g} to "
        f"{mass.max():.3g} in place of 1: give more places (grid:{4 * points}), or the prior lies "
        "where no quadrature is made"
    )


def _even(points: int) -> tuple[Tensor, Tensor, float]:
    """Places, what each stands for, and the least mass of a prior that is near enough to all."""
    return torch.linspace(-7.0, 7.0, points), torch.full((points,), 14.0 / (points - 1)), 0.995


def _wide(points: int) -> tuple[Tensor, Tensor, float]:
    # A prior whose constant is bounded from above has a little less than 1.
    t = torch.linspace(-9.4, 9.4, points)
    return 0.5 * t.sinh(), 0.5 * t.cosh() * (18.8 / (points - 1)), 0.9


def _everywhere(places: Tensor, rows: Rows) -> dict[str, Tensor]:
    return {"z": places.expand(-1, len(rows), *places.shape[2:])}
