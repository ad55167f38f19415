"""Every prior with small options, and roughened so that none stands at its start."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import torch
from pyro import poutine

from ltm_pyro.config import Thoughts
from ltm_pyro.models import priors
from ltm_pyro.programs.densities import prior_of, with_particles

from ...conftest import some_rows

THOUGHTS = Thoughts(layers=2, slots=2, dim=3)
LINE = Thoughts(layers=1, slots=1, dim=1)
PLANE = Thoughts(layers=1, slots=1, dim=2)
CASES = {
    "standard-normal": {},
    "learned-normal": {},
    "mixture": {"components": 3},
    "vamp-prior": {"components": 4},
    "layerwise": {"hidden": 6},
    "flow": {"transforms": 2, "hidden": 8},
    "student-t": {"degrees": 5.0, "learned": True},
    "laplace": {"scale": 0.7, "learned": True},
    "horseshoe": {"nodes": 12, "learned": True},
    "energy-tilt": {"hidden": 5, "draws": 64, "chains": 16},
    "conditional": {"column": "group"},
}
COLUMNS = {"group": ("a", "b", "c")}
CODE = 1  # every document's value
CLASSES = {
    "standard-normal": priors.StandardNormal,
    "learned-normal": priors.LearnedNormal,
    "mixture": priors.Mixture,
    "vamp-prior": priors.VampPrior,
    "layerwise": priors.Layerwise,
    "flow": priors.Flow,
    "student-t": priors.StudentT,
    "laplace": priors.Laplace,
    "horseshoe": priors.Horseshoe,
    "energy-tilt": priors.EnergyTilt,
    "conditional": priors.Conditional,
}


def made(name, thoughts=THOUGHTS, rough=True, seed=0, **options):
    """A prior by name, its options those of CASES, its parameters moved about."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        given = {"columns": COLUMNS} if name == "conditional" else {}
        prior = CLASSES[name](thoughts, **CASES[name] | options, **given)
        if rough:
            roughen(prior)
    return prior


def roughen(prior):
    """Move every parameter by a good part of its scale."""
    with torch.no_grad():
        for name, parameter in prior.named_parameters():
            large = name == "last.weight" or name == "first.weight"
            parameter.add_((1.0 if large else 0.3) * torch.randn_like(parameter))
    return prior


def in_plates(prior, particles=3, documents=4, data=None):
    """The trace of a prior in the model's plates."""
    program = with_particles(prior_of(SimpleNamespace(prior=prior)), particles)
    if data is not None:
        program = poutine.condition(program, data=data)
    columns = {column: torch.full((documents,), CODE) for column in prior.columns}
    rows = dataclasses.replace(some_rows(documents), columns=columns)
    return poutine.trace(program).get_trace(rows)


def distribution(prior):
    """p(z) of a document, without a batch shape."""
    return prior.distribution(*(torch.tensor(CODE) for _ in prior.columns))


def sites(trace):
    """The latent sites of a trace, by name."""
    return {n: s for n, s in trace.nodes.items() if n == "z" or n.startswith("z_")}


def draw(prior, particles, documents=1):
    """Draws and their log densities, (particles * documents, *event) and (...)."""
    with torch.no_grad():
        trace = in_plates(prior, particles, documents)
        log_prob = sum(s["fn"].log_prob(s["value"]) for s in sites(trace).values())
    return trace.nodes["_RETURN"]["value"].flatten(0, 1), log_prob.flatten()


def log_prob(prior, z):
    """log p(z) of draws (N, layers, slots, dim), by conditioning the prior's program."""
    if isinstance(prior, priors.Layerwise):
        data = {f"z_{i}": z[:, None, i] for i in range(z.shape[1])}
    else:
        data = {"z": z[:, None]}
    trace = in_plates(prior, len(z), 1, data)
    return sum(s["fn"].log_prob(s["value"]) for s in sites(trace).values())[:, 0]


def grid(dims, points=None):
    """Points in one or two dimensions as z (N, 1, 1, dims), and their weights, (N,).

    Each axis is x = 0.05 sinh t with t evenly spaced: fine near 0, and 4000 long either way.
    """
    points = points or (2001 if dims == 1 else 401)
    t = torch.linspace(-12.0, 12.0, points, dtype=torch.float64)
    axis, weight = 0.05 * t.sinh(), 0.05 * t.cosh() * (t[1] - t[0])
    mesh = torch.cartesian_prod(*([axis] * dims)).reshape(-1, dims)
    weights = torch.cartesian_prod(*([weight] * dims)).reshape(-1, dims).prod(1)
    return mesh[:, None, None], weights


def z_scores(draws, truth):
    """How many standard errors the mean over the first dimension lies from the truth."""
    draws = np.asarray(draws, float)
    error = draws.std(0, ddof=1) / np.sqrt(len(draws))
    return (draws.mean(0) - np.asarray(truth, float)) / error
