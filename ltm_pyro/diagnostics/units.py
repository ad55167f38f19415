"""What each dimension of thoughts carries in a chunk of rows, from draws; and what all carry."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import kl_divergence

from ltm_pyro.inference.posterior import Posterior
from ltm_pyro.programs.densities import (
    as_one,
    draw_latents,
    log_density,
    log_joint,
    prior_of,
    site_distributions,
)
from ltm_pyro.programs.handlers import is_thoughts

ACTIVE = 0.01
"""A unit is active if its posterior mean varies over rows by this share of the prior's variance."""
MOMENTS = 64
"""Draws from which moments are taken."""


@dataclass(frozen=True)
class Part:
    """What is known of a chunk of rows."""

    kl: Tensor
    means: tuple[Tensor, Tensor]  # two estimates with errors of their own
    error: Tensor  # variance of each of them
    prior_variance: Tensor
    factorised: bool
    ablation: Tensor


@torch.no_grad()
def part_of(posterior: Posterior, chunk: int, draws: int, seed: int) -> Part:
    """KL and means of each dimension (rows, ...), ablation scores (layers + 1, rows)."""
    guide, rows = posterior.chunks[chunk]
    prior = prior_of(posterior.model)
    noise = posterior.noise(rows, seed, stream=8)
    with noise.draw():
        q = as_one(draw_latents(guide, rows, max(draws, MOMENTS)))
    with noise.draw():
        p = as_one(draw_latents(prior, rows, max(draws, MOMENTS)))
    with noise.draw():
        q_fn = site_distributions(guide, rows)
        p_fn = site_distributions(prior, rows)
    spread = p.var(0).mean(0, keepdim=True)
    try:  # exact where both are products over dimensions that torch knows
        if not all(map(is_thoughts, p_fn)):
            raise NotImplementedError  # of a mixture over what stands before z, one part was drawn
        kl = kl_divergence(_factors(q_fn["z"]), _factors(p_fn["z"]))[0]
        mean, factorised = _factors(q_fn["z"]).mean[0], True
        means, error = (mean, mean), torch.zeros_like(mean)
    except (NotImplementedError, AttributeError, KeyError):
        kl, factorised = _normal_kl(q, p), False
        halves = q.chunk(2)
        means = (halves[0].mean(0), halves[1].mean(0))
        error = q.var(0) / len(halves[1])
    scores = []
    for kept in range(q.shape[2] + 1):
        z = torch.cat([q[:draws, :, :kept], p[:draws, :, kept:]], dim=2)
        _, likelihood = log_joint(posterior.model, {"z": z}, rows)
        scores.append(kl[:, :kept].flatten(1).sum(1) - likelihood.mean(0))
    return Part(kl, means, error, spread, factorised, torch.stack(scores))


def _normal_kl(q: Tensor, p: Tensor) -> Tensor:
    """KL of normals with the moments of draws (draws, rows, ...), without the draws' own bias.

    1 / variance is too large by 2 / (n - 1) of itself, and a mean is off by variance / n squared.
    """
    n = len(q)
    mean, variance, of_mean, of_variance = q.mean(0), q.var(0), p.mean(0), p.var(0)
    raw, shrink = variance / of_variance, 1 - 2 / (n - 1)
    ratio = raw * shrink
    apart = (mean - of_mean) ** 2 / of_variance * shrink - (ratio + 1) / n
    return 0.5 * (ratio + apart - 1 - raw.log())


def active_units(parts: list[Part]) -> NDArray[np.bool_]:
    """Units whose mean varies over rows: by the covariance of two estimates of it.

    An estimate's own variance would count as variation: of a mean of 64 draws it is 1 / 64, more
    than `ACTIVE`. What the covariance strays by chance is left a margin of three errors.
    """
    one, other = (torch.cat([part.means[i] for part in parts]) for i in (0, 1))
    rows = max(len(one) - 1, 1)
    varied = ((one - one.mean(0)) * (other - other.mean(0))).sum(0) / rows
    error = torch.cat([part.error for part in parts]).mean(0)
    prior = torch.cat([part.prior_variance for part in parts]).mean(0)
    return np.asarray((varied > ACTIVE * prior + 3 * error * rows**-0.5).cpu().numpy())


def _factors(fn: Any) -> Any:
    """The distribution of single dimensions below `to_event(3)`."""
    if fn.reinterpreted_batch_ndims != 3:
        raise NotImplementedError
    return fn.base_dist


@torch.no_grad()
def information(posterior: Posterior, draws: int, seed: int) -> float:
    """I(x; z) under q, nats, with the aggregate over these rows."""
    log_q_own, log_q_all = [], []
    total = len(posterior.rows)
    for guide, rows in posterior.chunks:
        with posterior.noise(rows, seed, stream=9).draw():
            values = as_one(draw_latents(guide, rows, draws))
        z = {"z": values}  # (draws, rows, layers, slots, dim)
        log_q_own.append(log_density(guide, z, rows))
        flat = values.reshape(-1, 1, *values.shape[2:])
        against = [
            log_density(other, {"z": flat.expand(-1, len(its), *flat.shape[2:])}, its)
            for other, its in posterior.chunks
        ]
        mixture = torch.logsumexp(torch.cat(against, dim=1), 1) - math.log(total)
        log_q_all.append(mixture.reshape(values.shape[:2]))
    own, aggregate = (torch.cat(x, dim=1) for x in (log_q_own, log_q_all))
    return float((own - aggregate).mean())
