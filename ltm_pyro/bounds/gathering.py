"""Figures of a text, from the estimates of its chunks and of repetitions."""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ltm_pyro.bounds.estimate import Estimate
from ltm_pyro.bounds.figures import Figure
from ltm_pyro.bounds.repetition import (
    error_of_all,
    over_repetitions,
    shared_error,
    shared_error_of_means,
)
from ltm_pyro.bounds.tails import FEWEST, pareto_khat
from ltm_pyro.bounds.weights import Array, effective_sample_size
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError


def figure_of(
    name: str,
    estimates: Sequence[Estimate],
    repetitions: list[list[Estimate]],
    chosen: Tensor,
    rows: Rows,
    seconds: float,
    observed: tuple[str, ...],
) -> Figure:
    """A figure from its estimate of each chunk, and from repetitions for the chosen rows."""
    text = observed == ("tokens",)  # of other sites a density may be above one

    def documents(values: Iterable[Tensor]) -> Array:
        return by_document(torch.cat([value.cpu() for value in values]), rows)

    first = estimates[0]
    known = [e.variance for e in estimates if e.variance is not None]
    variance = torch.cat(known).cpu() if len(known) == len(estimates) else None
    freedom, khat, ess = math.inf, None, None
    if repetitions:
        again = torch.stack([torch.cat([e.nats for e in one]).cpu() for one in repetitions])
        once = torch.cat([e.nats for e in estimates]).cpu()
        variance, freedom = over_repetitions(once, again, chosen, variance)
    weights = [e.log_weights for e in estimates if e.log_weights is not None]
    if weights and len(weights[0]) > 1:
        log_w = torch.cat(weights, 1).double().cpu().numpy()
        ess = effective_sample_size(log_w)
        khat = pareto_khat(log_w) if len(log_w) >= FEWEST else None
    nats = documents(e.nats for e in estimates)
    if first.is_bound and text and not rows.tokens.is_floating_point():
        error = 0.0 if variance is None else math.sqrt(float(variance.sum()))
        if nats.sum() < -5 * error - 1e-4 * rows.token_count:
            raise InputError(
                f"{name} gives {nats.sum():.1f} nats for {len(nats)} documents, but -log p(x) of "
                "discrete text cannot be negative: what the prior or the guide calls a log density "
                "is none (ltm_pyro.testing.check_prior and check_guide find out)"
            )
    shared = [e.shared_weights for e in estimates if e.shared_weights is not None]
    mean_perplexity = None
    if first.row_perplexities:
        each = torch.cat([e.nats.cpu() for e in estimates]).double() / rows.lengths.cpu()
        mean_perplexity = float(each.exp().mean())
    return Figure(
        name=name,
        protocol=first.protocol,
        nats=nats,
        tokens=by_document(rows.lengths, rows),
        bytes=by_document(rows.bytes, rows),
        stream=rows.packed,
        is_bound=first.is_bound,
        parts={part: documents(e.parts[part] for e in estimates) for part in first.parts},
        monte_carlo_variance=None if variance is None else by_document(variance, rows),
        monte_carlo_freedom=freedom,
        shared_error=shared_error(torch.cat(shared, 1)) if shared else 0.0,
        shared_freedom=len(shared[0]) - 1 if shared else math.inf,
        repeated=len(chosen) if repetitions else 0,
        draws=first.draws,
        khat=khat,
        ess=ess,
        mean_perplexity=mean_perplexity,
        seconds=seconds,
        observed=observed,
    )


def of_shared(
    figure: Figure,
    estimates: Sequence[Estimate],
    repetitions: list[list[Estimate]],
    chosen: Tensor,
    shared: Sequence[str],
) -> Figure:
    """A figure that averages over the guide of shared sites, with the error that they add to it.

    Documents are fitted and scored with the same draws of them, so their errors go together. What
    the draws of the score add is known from them; repetitions show what those of the fit add too,
    from fewer numbers, so that the larger of both is taken.
    """
    told = f"{figure.protocol}; of new documents, averaged over q({', '.join(shared)})"
    weights = [e.log_weights for e in estimates if e.log_weights is not None]
    values = [e.values for e in estimates if e.values is not None]
    error = math.nan  # of a figure that keeps no draws, until repetitions show it
    if weights:
        error = shared_error(torch.cat(weights, 1))
    elif values:
        error = shared_error_of_means(torch.cat(values, 1))
    freedom = estimates[0].draws - 1
    if repetitions:
        again = torch.stack([torch.cat([e.nats for e in one]).cpu() for one in repetitions])
        whole = error_of_all(torch.cat([e.nats for e in estimates]).cpu(), again, chosen)
        if math.isnan(error) or whole > error:
            error, freedom = whole, len(again)
    return dataclasses.replace(figure, protocol=told, shared_error=error, shared_freedom=freedom)


def by_document(values: Tensor, rows: Rows) -> Array:
    """Sum a value of each row over the rows of each document, shape (documents,)."""
    _, place = torch.unique(rows.document.cpu(), return_inverse=True)
    sums = np.zeros(int(place.max()) + 1)
    np.add.at(sums, place.numpy(), values.detach().double().cpu().numpy())
    return sums


def text_of(rows: Rows) -> str:
    """A word for which rows these are."""
    return hashlib.sha256(rows.key.cpu().numpy().tobytes()).hexdigest()[:16]
