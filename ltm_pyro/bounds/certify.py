"""Making a certificate: which rows, what is looked at first, and what makes the ends."""

import time
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge

from ltm_pyro.bounds.certificate import Certificate
from ltm_pyro.bounds.enclosed import Ends, Setup, enclose
from ltm_pyro.bounds.estimate import constant_of
from ltm_pyro.bounds.gate import Misses
from ltm_pyro.bounds.gathering import by_document
from ltm_pyro.bounds.tails import FEWEST
from ltm_pyro.bounds.weights import Array
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.checks import check_model, with_gradients
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import Count, Whole, checked
from ltm_pyro.programs.densities import simulate
from ltm_pyro.programs.elbo import check_weights
from ltm_pyro.programs.proper import check_prior_proper
from ltm_pyro.programs.reading import Sites, is_plain
from ltm_pyro.seeds import Stream, derive

CHAINS = 256


@checked
@with_gradients
def certify(
    model: TextModel,
    rows: AnyRows,
    *,
    guide: MakeGuide = MeanField,
    fast: Fast | None = None,
    temperatures: Count = 16,
    chains: Annotated[int, Ge(FEWEST)] = CHAINS,
    particles: Count = 1,
    simulated: Whole = 32,
    seed: Whole = 0,
    chunk: Count = 64,
    progress: bool = True,
) -> Certificate:
    """Enclose log p(x) of each document from both sides (see `bounds.enclosed`).

    Each document is first scored by importance weights of its fitted guide, and annealed over 4,
    16, ... temperatures, up to `temperatures`, where those weights spread too much. Whether they
    do is told by a run of its own. Documents that the model writes, as long as those given, tell
    whether the guide's draws find the posterior at all: if not, nothing is certified.

    Args:
        model: what is scored.
        rows: the text.
        guide, fast: what is fitted to each row, and how.
        temperatures: the most that a document is annealed over.
        chains: weights of each of the three runs, 30 or more; half of it where they are annealed.
        particles: chains behind each weight, resampled where that helps (sequential Monte Carlo).
        simulated: documents that the model writes.
        seed: where every draw comes from.
        chunk: rows handled at once; bounds the memory.
        progress: whether to show progress bars.

    Raises:
        InputError: for numbers that make no sense, no rows, a prior or a guide without a density on
            the reals, or ends that say that text is more probable than certain.
    """
    check_model(model)
    check_weights(model)
    if not len(rows):
        raise InputError("there are no rows to score: is the split empty?")
    begun = time.perf_counter()
    fast = fast or Fast()
    setup = Setup(guide, fast, temperatures, chains, particles, chunk, progress)
    rows = rows[:].to(next(model.parameters()).device)
    check_prior_proper(model, rows)
    others = [site.name for site in Sites.of(model, rows) if not is_plain(site)]
    if others:
        raise InputError(
            f"certificates are of models that sample z and observe tokens alone; this one has "
            f"{', '.join(others)}: its figures are elbo, iwae and ais"
        )
    seed = derive(seed, Stream.CERTIFICATE)
    misses = _misses(model, rows, setup, simulated, seed)
    ends = enclose(model, rows, setup, seed)
    found = _certificate(model, rows, ends, misses, setup, time.perf_counter() - begun)
    if not rows.tokens.is_floating_point():
        for label, end in (("at least", found.upper), ("at most", found.lower)):
            nats = -float(end[found.certified].sum())
            if nats < -5 * found.monte_carlo_error - 1e-4 * rows.token_count:
                raise InputError(
                    f"the certificate says {label} {nats:.1f} nats, but -log p(x) of discrete text "
                    "cannot be negative: what the prior or the guide calls a log density is none "
                    "(ltm_pyro.testing.check_prior and check_guide find out)"
                )
    return found


def _misses(model: TextModel, rows: Rows, setup: Setup, number: int, seed: int) -> Misses:
    """What as many documents of the model's own tell, as long as some of the rows."""
    if not number:
        return Misses(0, 0, 0)
    seed = derive(seed, Stream.WRITTEN)
    like = rows[torch.arange(number) * len(rows) // number]
    written, exact = simulate(model, like.lengths, seed, like.columns)
    ends = enclose(model, written, setup, seed, exact)
    passed = np.array([not reason for reason in ends.reason])
    return Misses(number, int(passed.sum()), int((passed & ends.missed.astype(bool)).sum()))


def _certificate(
    model: TextModel, rows: Rows, ends: Ends, misses: Misses, setup: Setup, seconds: float
) -> Certificate:
    _, place = torch.unique(rows.document.cpu(), return_inverse=True)
    place = place.numpy()
    gap, error = constant_of(model)
    rows_each = by_document(torch.ones(len(rows)), rows)

    def most(values: Array) -> Array:
        found = np.full(place.max() + 1, -np.inf)
        with np.errstate(invalid="ignore"):  # a k-hat may be nan, and is told as such
            np.maximum.at(found, place, values)
        return found

    reason = [""] * int(place.max() + 1)
    for row, document in enumerate(place):
        reason[document] = reason[document] or ends.reason[row]
    if misses.verdict:
        reason = [misses.verdict] * len(reason)
    return Certificate(
        lower=by_document(torch.from_numpy(ends.lower), rows),
        upper=by_document(torch.from_numpy(ends.upper), rows) + gap * rows_each,
        error=np.sqrt(by_document(torch.from_numpy(ends.variance), rows)),
        reason=reason,
        temperatures=most(ends.temperatures),
        spread=most(ends.spread),
        khat=most(ends.khat),
        tokens=by_document(rows.lengths, rows),
        bytes=by_document(rows.bytes, rows),
        misses=misses,
        protocol=setup.protocol,
        seconds=seconds,
        constant_error=error * rows_each,
        constant_gap=gap * rows_each,
    )
