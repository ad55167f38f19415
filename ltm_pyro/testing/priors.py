"""What the library asks of a prior."""

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor

from ltm_pyro.bounds import evaluate
from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.models.priors import Prior
from ltm_pyro.programs.densities import as_one, draw_latents, joined, log_density, prior_of
from ltm_pyro.seeds import Noise, derive, generator, seeded
from ltm_pyro.testing.solvable import (
    LINE,
    PLANE,
    SHAPE,
    SIGMAS,
    Checked,
    agrees,
    asked,
    expect,
    expect_registered,
    perturb,
    saves,
    solvable,
)


def check_prior(make: Callable[[Thoughts], Prior], *, seed: int = 0) -> Checked:
    """Everything the library asks of a prior.

    A prior that reads columns (`Prior.columns`) finds them in every batch: each known value in
    turn, and a missing one.

    Args:
        make: a `Prior` class, or a callable from thoughts to a prior (`functools.partial`).
        seed: where every draw comes from.
    """
    kind = type(make).__name__
    expect(not isinstance(make, Prior), f"this is a {kind} object: give the class, {kind}")
    with seeded(seed, 0):
        prior = make(SHAPE)
    done = Checked(type(prior).__name__)
    expect(isinstance(prior, Prior), f"{make!r} makes {prior!r}: expected a Prior")
    expect_registered(prior)
    for particles, documents in ((3, 5), (1, 1)):
        with asked():
            z = _draw_prior(prior, particles, documents, seed)
        expect(bool(torch.isfinite(z).all()), "a draw is not finite")
    done.passed.append("draws have shape (particles, documents, layers, slots, dim)")
    _prior_density(prior, seed)
    done.passed.append("log density: (particles, documents), finite, one document's z its own")
    _prior_gradients(prior, seed)
    done.passed.append("gradients reach z and every parameter")
    for thoughts in (LINE, PLANE):
        with seeded(seed, 1):
            small = make(thoughts)
        perturb(small, seed)
        z = _draw_prior(small, 20_000, 1, seed)[:, 0].detach()
        agrees(functools.partial(_flat_log_density, small), z, thoughts)
    done.passed.append("log density integrates to one and agrees with draws, in 1 and 2 dimensions")
    saves(prior, lambda: make(SHAPE), lambda p: _prior_log_density(p, _some_z(4, 2, seed)))
    done.passed.append("saved and loaded it gives the same densities")
    double = make(SHAPE).double()
    expect(
        _draw_prior(double, 2, 2, seed).dtype == torch.float64, "after .double() draws are no fp64"
    )
    done.passed.append("follows a change of dtype")
    _prior_bounds(make, seed)
    done.passed.append("bounds of a solvable model with this prior hold")
    return done


def _draw_prior(prior: Prior, particles: int, documents: int, seed: int) -> Tensor:
    """Draws of the prior's sites: real numbers, whatever the support of its thoughts."""
    model, rows = _holder(prior, documents)
    noise = Noise(derive(seed, 5), rows.key)
    with noise.draw():
        latents = draw_latents(prior_of(model), rows, particles)
    z = joined(model, latents, rows, noise)
    expected = (particles, documents, *prior.thoughts.shape)
    expect(z.shape == expected, f"a draw has shape {tuple(z.shape)}: expected {expected}")
    return as_one(latents)


def _prior_log_density(prior: Prior, z: Tensor) -> Tensor:
    """z (particles, documents, layers, slots, dim) -> (particles, documents)."""
    model, rows = _holder(prior, z.shape[1])
    return log_density(prior_of(model), {"z": z}, rows)


class _Holder:
    def __init__(self, prior: Prior):
        self.prior = prior


def _holder(prior: Prior, documents: int) -> tuple[_Holder, Rows]:
    """What `prior_of` needs, and rows of one token."""
    ones = torch.ones(documents, dtype=torch.long)
    rows = Rows(ones[:, None], ones, torch.arange(documents), ones)
    return _Holder(prior), _with_columns(rows, prior)


def _with_columns(rows: Rows, prior: Prior) -> Rows:
    """Rows with the columns that a prior reads: every value in turn, and then a missing one."""
    columns = {}
    for name, known in prior.columns.items():
        codes = torch.arange(len(rows)) % (len(known) + 1)
        columns[name] = torch.where(codes < len(known), codes, -1)
    return dataclasses.replace(rows, columns=columns)


@torch.no_grad()
def _flat_log_density(prior: Prior, z: Tensor) -> Tensor:
    """z (n, layers, slots, dim) -> (n,)."""
    return _prior_log_density(prior, z[:, None])[:, 0]


def _some_z(particles: int, documents: int, seed: int) -> Tensor:
    return torch.randn(particles, documents, *SHAPE.shape, generator=generator(seed, 6))


def _prior_density(prior: Prior, seed: int) -> None:
    z = _some_z(4, 3, seed)
    found = _prior_log_density(prior, z)
    expect(found.shape == (4, 3), f"log density has shape {tuple(found.shape)}: expected (4, 3)")
    expect(bool(torch.isfinite(found).all()), "log density is not finite at ordinary z")
    other = z.clone()
    other[:, 1] += 1.0
    apart = (_prior_log_density(prior, other) - found).abs().max(0).values
    expect(
        bool(apart[[0, 2]].max() < 1e-4 and apart[1] > 1e-3),
        f"moving the second document's z moved log densities by {apart.tolist()}: expected the "
        "second alone",
    )


def _prior_gradients(prior: Prior, seed: int) -> None:
    perturb(prior, seed)
    z = _some_z(4, 3, seed).requires_grad_()
    with seeded(seed, 7):
        _prior_log_density(prior, z).sum().backward()
    expect(z.grad is not None and bool((z.grad != 0).any()), "no gradient reaches z")
    for name, parameter in prior.named_parameters():
        reached = parameter.grad is not None and bool((parameter.grad != 0).any())
        expect(reached or not parameter.requires_grad, f"no gradient reaches parameter {name!r}")


def _prior_bounds(make: Callable[[Thoughts], Prior], seed: int) -> None:
    """ELBO, IWAE and annealing against quadrature, in one dimension."""
    model, rows = solvable(LINE, 24, seed)
    with seeded(seed, 1):
        model.prior = make(LINE)
    perturb(model.prior, seed)
    rows = _with_columns(rows, model.prior)
    fast = Fast(steps=60, lr=0.1, particles=8)
    names = ["grid:4001", "elbo:64", "iwae:64", "ais_prior:20"]
    report = evaluate(model, rows, names, fast=fast, seed=seed, repeat=0, progress=False)
    exact = report["grid"].nats
    for name in ("elbo", "iwae", "ais_prior"):
        gap = torch.from_numpy(report[name].nats - exact)
        error = float(gap.std() / len(gap) ** 0.5)
        expect(
            float(gap.mean()) > -SIGMAS * error - 1e-3,
            f"{name} lies {gap.mean():.4f} ± {error:.4f} nats from the exact -log p(x): not above",
        )
        expect(float(gap.mean()) < 1.0, f"{name} is loose by {gap.mean():.2f} nats in 1 dimension")
