"""What an estimator of -log p(x) is asked, and what it answered."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats

from ltm_pyro.auditing.cases import every_text, known_decoder, linear_model, small_decoder
from ltm_pyro.auditing.watch import watched
from ltm_pyro.bounds.weights import Array
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.seeds import derive, seeded

SIGMAS = 4.0
MODELS, REPEATS = 3, 2
"""Models, and repetitions with other draws, of each case."""

LOUD = 4.0
"""How much louder thoughts are in the second of two models whose KL is compared."""


@dataclass(frozen=True)
class Finding:
    """The answer to one question.

    Attributes:
        name: of the check.
        passed: whether nothing speaks against a bound; None where the check could not be run.
        text: in words, with the evidence.
        value, error: the number it rests on, and its standard error; nan where there is none.
    """

    name: str
    passed: bool | None
    text: str
    value: float = math.nan
    error: float = math.nan


def score(estimator: Any, model: Any, rows: Rows, seed: int) -> Array:
    """What the estimator says of the rows, nats, (documents,), its draws those of the seed.

    Raises:
        InputError: if it is not a finite number for each document.
    """
    with seeded(seed):
        given = estimator(model, rows)
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu()
    nats = np.asarray(given, dtype=np.float64)
    if nats.shape != (len(rows),):
        raise InputError(
            f"the estimator returned shape {nats.shape} for {len(rows)} documents: expected "
            f"nats of each, shape ({len(rows)},)"
        )
    if not np.isfinite(nats).all():
        raise InputError(
            f"the estimator returned {np.count_nonzero(~np.isfinite(nats))} numbers that are not "
            f"finite, for {len(rows)} documents"
        )
    return nats


def kraft(estimator: Any, documents: int, seed: int) -> Finding:
    """Sum over all texts of exp(-nats): no probability of texts exceeds 1 (Kraft, McMillan).

    In expectation over draws nats is at least -log p(x), so exp(-E nats) sums to at most 1. A mean
    of few repetitions stands for that expectation; what this overstates is taken off (jackknife).
    """
    sums, errors = [], []
    for number in range(MODELS):
        model, rows = every_text(derive(seed, 0, number))
        nats = np.stack([score(estimator, model, rows, derive(seed, 1, number, r))
                         for r in range(REPEATS)])  # fmt: skip
        whole = np.exp(-nats.mean(0)).sum()
        without = np.array([np.exp(-np.delete(nats, r, 0).mean(0)).sum() for r in range(REPEATS)])
        sums.append(REPEATS * whole - (REPEATS - 1) * without.mean())
        errors.append((REPEATS - 1) * without.var())
    total, error = float(np.mean(sums)), math.sqrt(sum(errors)) / MODELS
    passed = total - 1 <= SIGMAS * error + 1e-3
    words = (
        "no more than a probability has" if passed
        else "more than any probability has: some texts are paid for too little"
    )  # fmt: skip
    text = f"exp(-nats) over all {len(rows)} texts sums to {total:.3f} ± {error:.3f}, {words}"
    return Finding("kraft", passed, text, total, error)


def exact_decoder(estimator: Any, documents: int, seed: int) -> Finding:
    """Against a decoder whose log p(x) is known by quadrature."""
    return _exact("decoder", known_decoder, estimator, documents, seed)


def exact_linear(estimator: Any, documents: int, seed: int) -> Finding:
    """Against a linear-Gaussian model, whose log p(x) is known in closed form."""
    return _exact("linear", linear_model, estimator, documents, seed)


def _exact(
    name: str, case: Callable[[int, int], Any], estimator: Any, documents: int, seed: int
) -> Finding:
    gaps = []
    for number in range(MODELS):
        model, rows, exact = case(derive(seed, 2, number), documents)
        again = [score(estimator, model, rows, derive(seed, 3, number, r)) for r in range(REPEATS)]
        gaps.append(np.stack(again) - exact.numpy())
    mean, error, reach = _above(np.stack(gaps))
    passed = bool(mean >= -reach - 1e-3)
    side = "above" if mean >= 0 else "BELOW"
    text = (
        f"{abs(mean):.3f} ± {error:.3f} nats per document {side} -log p(x), which is known "
        f"({'linear-Gaussian model' if name == 'linear' else 'small decoder, by quadrature'})"
    )
    return Finding(name, passed, text, mean, error)


def _above(gaps: Array) -> tuple[float, float, float]:
    """Mean of (models, repetitions, documents), its error, and how far chance reaches below 0.

    The error is over documents, unless a repetition moves them together: then draws are shared by
    the documents of a call, and it is over calls, of which there are few.
    """
    models, repeats, documents = gaps.shape
    error = float(gaps.mean(1).std(ddof=1)) / math.sqrt(models * documents)
    apart = gaps[:, 0] - gaps[:, 1]
    moved = np.abs(apart.mean(1))
    if moved.max() <= 3.5 * apart.std(ddof=1) / math.sqrt(documents):
        return float(gaps.mean()), error, SIGMAS * error
    of_calls = math.sqrt(float((moved**2).mean()) / 2 / (models * repeats))
    reach = max(SIGMAS * error, float(stats.t.isf(1e-3, models)) * of_calls)
    return float(gaps.mean()), max(error, of_calls), reach


def kl(estimator: Any, documents: int, seed: int) -> Finding:
    """Whether thoughts that say more cost more.

    Of two linear-Gaussian models one has thoughts four times as loud: its texts need that much
    more KL and no other reconstruction. By how much the estimate rises, over how much -log p(x)
    does, is the share of the KL that is charged.
    """
    gaps, rises = [], []
    for gain in (1.0, LOUD):
        model, rows, exact = linear_model(derive(seed, 4), documents, gain)
        nats = score(estimator, model, rows, derive(seed, 5))
        gaps.append(nats - exact.numpy())
        rises.append(float(exact.mean()))
    rise = rises[1] - rises[0]
    change = gaps[1] - gaps[0]
    share = 1 + float(change.mean()) / rise
    error = float(change.std(ddof=1)) / math.sqrt(documents) / rise
    passed = share >= 0.9 - SIGMAS * error
    text = (
        f"where -log p(x) rises by {rise:.1f} nats of KL, the estimate rises by {share:.0%} ± "
        f"{error:.0%} of it" + ("" if passed else ": not all of the KL is charged")
    )
    return Finding("kl", bool(passed), text, share, error)


def noise(estimator: Any, documents: int, seed: int) -> Finding:
    """Whether what is scored was drawn after the fit."""
    model, rows = small_decoder(derive(seed, 6), 3)
    with watched() as draws:
        score(estimator, model, rows, derive(seed, 7))
    if not draws.fitted and draws.differentiated:
        text = "gradients are taken by torch.autograd.grad: whether to fit or to sample is not seen"
        return Finding("noise", None, text)
    if not draws.fitted:
        return Finding("noise", True, "nothing is fitted by backward passes")
    if draws.reused:
        text = f"{draws.reused} draws after the fit are those that the fit has seen"
        return Finding("noise", False, text, draws.reused)
    if draws.before and not draws.after:
        text = "nothing is drawn after the fit: either its own draws are scored, or none are"
        return Finding("noise", None, text)
    return Finding("noise", True, f"{len(draws.after)} draws after the fit, none of them the fit's")


def padding(estimator: Any, documents: int, seed: int) -> Finding:
    """Whether what stands behind the end of a text changes its score."""
    model, rows = small_decoder(derive(seed, 8), 8)
    scribbled = dataclasses.replace(rows, tokens=torch.where(rows.mask, rows.tokens, 3))
    apart = np.abs(
        score(estimator, model, rows, derive(seed, 9))
        - score(estimator, model, scribbled, derive(seed, 9))
    ).max()
    passed = bool(apart < 1e-3)
    text = "other padding, same score" if passed else f"other padding moves it by {apart:.3f} nats"
    return Finding("padding", passed, text, float(apart))


def neighbours(estimator: Any, documents: int, seed: int) -> Finding:
    """Whether a document's score depends on the documents beside it."""
    model, rows = small_decoder(derive(seed, 10), 5)
    gaps = []
    for repeat in range(2):
        s = derive(seed, 11, repeat)
        alone = [score(estimator, model, rows[[i]], derive(s, i))[0] for i in range(len(rows))]
        gaps.append(score(estimator, model, rows, s) - np.array(alone))
    each = np.stack(gaps)
    # Some gain what others lose where scores are mixed, so it is their size that counts; draws
    # alone make the two repetitions differ as much as their mean is large.
    signal = float(np.abs(each.mean(0)).mean())
    chance = float(np.abs(each[0] - each[1]).mean()) / 2
    passed = signal <= 4 * chance + 0.05
    text = f"scored alone, a document's nats are others by {signal:.3f} (by chance {chance:.3f})"
    return Finding("neighbours", passed, text, signal, chance)


CHECKS: dict[str, Callable[[Any, int, int], Finding]] = {
    "linear": exact_linear,
    "decoder": exact_decoder,
    "kraft": kraft,
    "kl": kl,
    "noise": noise,
    "padding": padding,
    "neighbours": neighbours,
}
"""What is asked, in this order."""
