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


def heavy(source, length):
    """Noise whose variance is known from few iterations: Student's t, 2.5 degrees of freedom."""
    return 0.5 * source.standard_t(2.5, length)


def waves(period):
    """A wave with some noise, from anywhere on."""

    def noise(source, length):
        wave = np.sin(2 * np.pi * (np.arange(length) / period + source.uniform()))
        return wave + 0.5 * source.normal(size=length)

    return noise


def white(source, length):
    """Independent noise of unit variance."""
    return source.normal(size=length)


def smooth(source, length):
    """Noise that is much alike for twenty iterations."""
    return correlated(source, length, 0.95)


NOISE = {
    # name: (the noise, its scale, whether a flat curve of it is seen in so long a time)
    "": (white, 0.1, True),
    "correlated 0.8": (correlated, 0.05, True),
    "correlated 0.8, twice as much": (correlated, 0.1, False),
    "correlated 0.95": (smooth, 0.1, False),
    "heavy tails": (heavy, 0.1, True),
    "waves of 50": (waves(50), 0.1, True),
    "waves of 100": (waves(100), 0.1, True),
    "waves of 200": (waves(200), 0.1, False),
    "waves of 400": (waves(400), 0.1, False),
}
CURVES = {
    # name: (curve of the iteration, whether it falls by what matters all the time)
    "flat": (lambda t: 0 * t, False),
    "falls by a tenth of the least": (lambda t: -0.1 * SLOPE * t, False),
    "falls by the least": (lambda t: -SLOPE * t, True),
    "falls 1 nat per 1,000": (lambda t: -5 * SLOPE * t, True),
    "falls as log t": (lambda t: -0.5 * np.log1p(t), True),
    "rises by the least": (lambda t: SLOPE * t, True),
}
NOISY = ("flat", "falls by the least", "falls 1 nat per 1,000")
TRAINING = {
    # name: (curve, noise, its scale, whether it moves; None: not, but that may not be seen)
    ", ".join(filter(None, (curve, noise))): (f, g, scale, moves or (False if seen else None))
    for curve, (f, moves) in CURVES.items()
    for noise, (g, scale, seen) in NOISE.items()
    if curve in NOISY or not noise
}


def gain(t):
    """What a fast loop gains that has converged."""
    return 30 * (1 - np.exp(-t / 3))


def alone(source, steps, documents):
    """Noise of each document's own."""
    return source.normal(size=(steps, documents))


def together(source, steps, documents):
    """Noise of which all documents have the most in common."""
    return source.normal(size=(steps, 1)) + 0.2 * source.normal(size=(steps, documents))


def heavy_alone(source, steps, documents):
    """Heavy-tailed noise of each document's own."""
    return 0.5 * source.standard_t(2.5, (steps, documents))


FAST = {
    # name: (curve of the step, noise, its scale, whether it has converged; None: it has not moved,
    # but so much noise does not tell)
    "flat": (lambda t: 0 * t, alone, 0.5, True),
    "flat, noise of 30 nats": (lambda t: 0 * t, alone, 30.0, None),
    "flat, noise of 2 nats in common": (lambda t: 0 * t, together, 2.0, None),
    "converged": (gain, alone, 0.5, True),
    "converged, noise of 3 nats": (gain, alone, 3.0, True),
    "converged, heavy tails": (gain, heavy_alone, 1.0, True),
    "linear": (lambda t: 0.5 * t, alone, 0.5, False),
    "linear, noise of 3 nats": (lambda t: 0.5 * t, alone, 3.0, False),
    "3 of 100 nats left a quarter": (lambda t: 100 / 30 * gain(t) + 0.19 * t, alone, 0.5, False),
    "log t": (lambda t: 10 * np.log1p(t), alone, 0.5, False),
    "goes up and down by 5 nats": (
        lambda t: gain(t) + 5 * np.sin(t * np.pi / 8), alone, 0.5, False
    ),
    "goes up and down by 5 nats at once": (
        lambda t: gain(t) + 5 * np.cos(t * np.pi), alone, 0.5, False
    ),
    "goes up and down by 5 nats, slowly": (
        lambda t: gain(t) + 5 * np.sin(t * np.pi / 16), alone, 0.5, False
    ),
    "goes up and down by 5 nats about nothing": (
        lambda t: 5 * np.sin(t * np.pi / 8), alone, 0.5, False
    ),
    "loses what it had": (lambda t: 30 - 0.02 * np.maximum(t - 32, 0) ** 2, alone, 0.5, False),
}  # fmt: skip


def watch(plateau, values):
    for i, value in enumerate(values):
        plateau(None, types.SimpleNamespace(nats_per_token=value, step=i + 1, kl_weight=1.0))
    return plateau


def alarms(name, curves):
    """Where a plateau was called, in some curves; None where it was not."""
    curve, noise, scale, _ = TRAINING[name]
    source, t = np.random.default_rng(len(name)), np.arange(LENGTH)
    return [
        watch(Plateau(WINDOW, LEAST), 5 + curve(t) + scale * noise(source, LENGTH)).stalled_at
        for _ in range(curves)
    ]


def verdicts(name, curves, documents=64):
    """Whether each of some fast loops of 64 steps is called converged, and what is recommended."""
    curve, noise, scale, _ = FAST[name]
    source, t = np.random.default_rng(len(name)), np.arange(64)[:, None]
    found = []
    for _ in range(curves):
        hard = source.normal(0, 20, (1, documents))
        elbo = curve(t) + hard + scale * noise(source, 64, documents)
        e = torch.tensor(elbo, dtype=torch.float32)
        judged = convergence(InnerLoop(e, 0 * e, 0 * e, 0 * e, torch.ones(64)))
        found.append((judged.converged, judged.recommendation))
    return found


def has_a_direction(words):
    """Whether a recommendation says that the bound still rises, or that it falls."""
    return words.startswith(("Think longer", "The loop loses"))


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"| training curve, {LENGTH} iterations | moves by what matters | plateau called | "
          "median iteration |\n|---|---|---|---|")  # fmt: skip
    for name, (_, _, _, moves) in TRAINING.items():
        found = alarms(name, number)
        at = [one for one in found if one is not None]
        middle = f"{np.median(at):.0f}" if at else ""
        print(
            f"| {name} | {'yes' if moves else 'no'} | {len(at)} of {number} | {middle} |",
            flush=True,
        )
    print("\n| fast loop | has converged | called converged | said to rise or to fall |\n"
          "|---|---|---|---|")  # fmt: skip
    for name, (_, _, _, truth) in FAST.items():
        found = verdicts(name, number)
        told = {True: "yes", False: "no", None: "cannot be told"}[truth]
        called = sum(one for one, _ in found)
        moves = sum(has_a_direction(words) for _, words in found)
        print(f"| {name} | {told} | {called} of {number} | {moves} of {number} |", flush=True)
