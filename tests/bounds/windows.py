"""How often the printed interval over documents holds the truth, where documents are windows.

`python -m tests.bounds.windows [STREAMS]` prints the table. Documents follow one another in windows
of a full length, in the middle of one where the stream begins; each is as hard as it is, and a
window is as hard as the documents in it, with noise of its own.
"""

import sys

import numpy as np

from ltm_pyro.bounds.figures import Figure

TOKENS = 16
"""Of a window."""
TRUTH = 3.0
"""Nats per token."""
KINDS = {
    # name: (lengths of documents in windows, of mean 1; sd of a window's noise, of a document's 1)
    "alike": (lambda source, n: source.uniform(0.6, 1.4, n), 0.2),
    "exponential": (lambda source, n: source.exponential(1, n), 1.5),
    "log-normal": (lambda source, n: np.exp(source.normal(-0.5, 1, n)), 0.5),
}
WINDOWS = (4, 24, 60, 150, 600, 2000)
LENGTHS = (0.3, 2, 6, 20, 60)
"""Windows of a mean document."""
ENOUGH = 24
"""Documents from which the interval is to be trusted, whatever their lengths."""


def stream(source, windows, length, kind):
    """The nats of each window, a stream of documents of a mean length."""
    draw, noise = KINDS[kind]
    needed = windows * TOKENS
    number = 40 + int(8 * windows / length)
    each = np.maximum(1, np.round(draw(source, number) * length * TOKENS)).astype(int)
    hard = np.repeat(source.normal(size=len(each)), each)
    start = source.integers(len(hard) - needed)
    hard = hard[start : start + needed].reshape(windows, TOKENS).mean(1)
    return TOKENS * (TRUTH + hard + noise * source.normal(size=windows))


def figure(nats, windows=True):
    """That of windows, or of as many documents that are not alike."""
    tokens = np.full(len(nats), float(TOKENS))
    return Figure("elbo", "bound", nats, tokens, tokens, stream=windows)


def covered(windows, length, kind, streams, known=True):
    """Share of intervals that hold the truth; mean reach in those of 1.96 true deviations."""
    source = np.random.default_rng([windows, int(10 * length), len(kind)])
    found = []
    for _ in range(streams):
        one = figure(stream(source, windows, length, kind), known)
        low, high = one.interval
        found.append((one.nats_per_token, low < TRUTH < high, (high - low) / 2))
    values, held, reach = np.array(found).T
    return held.mean(), reach.mean() / (1.96 * values.std())


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    print("| windows | documents | lengths | 95 % covers | width, ideal 1 | if none were alike |\n"
          "|---|---|---|---|---|---|")  # fmt: skip
    for windows in WINDOWS:
        for length in LENGTHS:
            if windows / length < 8:
                continue
            for kind in KINDS:
                share, width = covered(windows, length, kind, number)
                single, _ = covered(windows, length, kind, number, known=False)
                print(f"| {windows} | {windows / length:.0f} | {kind} | {share:.1%} | "
                      f"{width:.2f} | {single:.0%} |", flush=True)  # fmt: skip
