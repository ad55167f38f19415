"""False alarms and misses of `Plateau` and `convergence` over curves whose answers are known.

`python -m tests.diagnostics.curves [CURVES]` prints both tables.
"""

import sys
import types

import numpy as np
import torch

from ltm_pyro.diagnostics import Plateau, convergence
from ltm_pyro.inference import InnerLoop

LENGTH = 2000
WINDOW, LEAST = 50, 0.01
SLOPE = LEAST / WINDOW  # nats per token in an iteration: the smallest that matters


def correlated(source, length, rho=0.8):
    """Noise of unit variance, each iteration like the one before."""
    found = np.empty(length)
    found[0] = source.normal()
    for i in range(1, length):
        found[i] = rho * found[i - 1] + np.sqrt(1 - rho**2) * source.normal()
    return found


TRAINING = {
    # name: (curve of the iteration, sd of the noise, whether it falls by what matters all the time)
    "flat": (lambda t: 0 * t, 0.1, False),
    "flat, correlated noise": (lambda t: 0 * t, -0.05, False),
    "falls by a tenth of the least": (lambda t: -0.1 * SLOPE * t, 0.1, False),
    "falls by the least": (lambda t: -SLOPE * t, 0.1, True),
    "falls by twice the least": (lambda t: -2 * SLOPE * t, 0.1, True),
    "falls by five times the least": (lambda t: -5 * SLOPE * t, 0.1, True),
    "the least, correlated noise": (lambda t: -SLOPE * t, -0.1, True),
    "falls as log t": (lambda t: -0.5 * np.log1p(t), 0.1, True),
}
FAST = {
    # name: (curve of the step, sd of a document's noise, whether it has converged)
    "flat from the start": (lambda t: 0 * t, 0.5, True),
    "converged": (lambda t: 30 * (1 - np.exp(-t / 3)), 0.5, True),
    "converged, noisy": (lambda t: 30 * (1 - np.exp(-t / 3)), 3.0, True),
    "linear": (lambda t: 0.5 * t, 0.5, False),
    "3 of 100 nats left a quarter": (lambda t: 100 * (1 - np.exp(-t / 3)) + 0.19 * t, 0.5, False),
    "log t": (lambda t: 10 * np.log1p(t), 0.5, False),
    "goes up and down by 5 nats": (
        lambda t: 30 * (1 - np.exp(-t / 3)) + 5 * np.sin(t * np.pi / 8), 0.5, False
    ),
    "loses what it had": (lambda t: 30 - 0.02 * np.maximum(t - 32, 0) ** 2, 0.5, False),
}  # fmt: skip


def watch(plateau, values):
    for i, value in enumerate(values):
        plateau(None, types.SimpleNamespace(nats_per_token=value, step=i + 1, kl_weight=1.0))
    return plateau


def alarms(name, curves):
    """Where a plateau was called, in some curves; None where it was not."""
    curve, sd, _ = TRAINING[name]
    source, t = np.random.default_rng(len(name)), np.arange(LENGTH)
    found = []
    for _ in range(curves):
        noise = source.normal(size=LENGTH) if sd > 0 else correlated(source, LENGTH)
        found.append(watch(Plateau(WINDOW, LEAST), 5 + curve(t) + abs(sd) * noise).stalled_at)
    return found


def verdicts(name, curves):
    """The recommendations' first words for some fast loops of 64 steps and 64 documents."""
    curve, sd, _ = FAST[name]
    source, t = np.random.default_rng(len(name)), np.arange(64)[:, None]
    found = []
    for _ in range(curves):
        elbo = curve(t) + source.normal(0, 20, (1, 64)) + source.normal(0, sd, (64, 64))
        e = torch.tensor(elbo, dtype=torch.float32)
        judged = convergence(InnerLoop(e, 0 * e, 0 * e, 0 * e, torch.ones(64)))
        found.append((judged.converged, judged.recommendation))
    return found


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"| training curve, {LENGTH} iterations | falls by what matters | plateau called | "
          "median iteration |\n|---|---|---|---|")  # fmt: skip
    for name, (_, _, falls) in TRAINING.items():
        found = alarms(name, number)
        at = [one for one in found if one is not None]
        middle = f"{np.median(at):.0f}" if at else ""
        print(f"| {name} | {falls} | {len(at)} of {number} | {middle} |", flush=True)
    print("\n| fast loop | has converged | called converged |\n|---|---|---|")
    for name, (_, _, truth) in FAST.items():
        called = sum(one for one, _ in verdicts(name, number))
        print(f"| {name} | {truth} | {called} of {number} |", flush=True)
