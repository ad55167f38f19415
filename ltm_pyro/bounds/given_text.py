"""What a model says of a column of documents (a label, a rating) once it has read their text."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ltm_pyro.bounds.figures import Interval, finite, interval
from ltm_pyro.bounds.gathering import by_document
from ltm_pyro.bounds.sampling import sampling_error
from ltm_pyro.bounds.weights import Array
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.inference.posterior import infer, pieces
from ltm_pyro.models import TextModel
from ltm_pyro.options import Count, Whole, checked
from ltm_pyro.programs.densities import draw_latents, log_joint
from ltm_pyro.programs.reading import ROWS, known_of


@dataclass(frozen=True)
class GivenText:
    """The score of a column given the text.

    Attributes:
        column: its name.
        nats: -log of the predictive density of each document whose value is known, shape (known,),
            in the order of their numbers; of one of several rows the mean over them. Of a label it
            is at least 0, and a guess among V has log V; of a number it depends on its unit.
        protocol: in words, how it was made.
        stream: whether documents are windows of one stream, so that neighbours are alike.
    """

    column: str
    nats: Array
    protocol: str
    stream: bool = False

    @property
    def nats_per_document(self) -> float:
        """Their mean."""
        return float(self.nats.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean, over documents; nan of one."""
        return self._error[0]

    @property
    def interval(self) -> Interval:
        """95 %, Student's t."""
        return interval(self.nats_per_document, *self._error)

    @property
    def _error(self) -> tuple[float, float]:
        """The standard error and its degrees of freedom."""
        return sampling_error(self.nats, np.ones_like(self.nats), self.stream)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; null where a number is not known."""
        return {
            "column": self.column,
            "nats_per_document": self.nats_per_document,
            "standard_error": finite(self.standard_error),
            "interval": list(map(finite, self.interval)),
            "documents": len(self.nats),
            "protocol": self.protocol,
        }

    def __str__(self) -> str:
        return (
            f"{self.column} given the text: {self.nats_per_document:.4f} ± "
            f"{self.standard_error:.4f} nats/document over {len(self.nats)} documents "
            f"({self.protocol})"
        )


@checked
@torch.no_grad()
def given_text(
    model: TextModel,
    rows: AnyRows,
    column: str,
    *,
    guide: MakeGuide = MeanField,
    fast: Fast | None = None,
    draws: Count = 64,
    seed: Whole = 0,
    chunk: Count = 64,
) -> GivenText:
    """-log p(y | text) of a column that the model observes, under thoughts that never saw it.

    The guide is fitted with the column hidden. With K draws z_k of it, a document's score is::

        -log 1/K sum_k p(y | z_k, x),    p(y | z, x) = p(x, z, y) / p(x, z)

    So it is, in expectation over the draws, at least the log score of the predictor
    E_q(z | x)[p(y | z, x)], which is a proper scoring rule whatever q is, as `predictive` is for
    tokens. It is neither a bound on the model's own -log p(y | x), nor the difference of two
    bounds, which bounds nothing. A part of a figure by site is another thing: there q has seen y.

    Args:
        model: a model that observes the column; discrete sites are summed out.
        rows: the documents; those whose value is missing (-1, or nan) are left out.
        column: its name among `rows.columns`.
        guide, fast: what is fitted to the text, and how (`svi.guide`, `svi.fast`).
        draws: K.
        seed: where every draw comes from.
        chunk: rows handled at once; bounds the memory.

    Raises:
        InputError: for a column that is not there, is known of no document, or is not observed:
            no site of the model goes missing with it.
    """
    if column not in rows.columns:
        raise unknown("column", column, rows.columns)
    some = rows[:] if not isinstance(rows, Rows) else rows
    values = some.columns[column]
    is_known = ~values.isnan() if values.is_floating_point() else values >= 0
    if not is_known.any():
        raise InputError(f"column {column!r} is missing in all {len(rows)} rows: nothing to score")
    known = some[is_known.nonzero()[:, 0]].to(next(model.parameters()).device)
    hidden = known.hiding(column)
    before, after = known_of(model, known[:ROWS]), known_of(model, hidden[:ROWS])
    if not any((mask & ~after[site]).any() for site, mask in before.items()):
        raise InputError(
            f"column {column!r} is observed by no site of {type(model).__name__} that goes missing "
            "with it: a model says something of what it observes alone; a covariate it is given"
        )
    posterior = infer(model, hidden, guide, fast or Fast(), seed, chunk)
    found, place = [], 0
    for fitted, without in posterior.chunks:
        part = known[place : place + len(without)]
        place += len(without)
        noise, gains = posterior.noise(without), []
        for n in pieces(draws):
            with noise.draw():
                latents = draw_latents(fitted, without, n)
            gain = torch.stack(log_joint(model, latents, part)).sum(0)
            gain = gain - torch.stack(log_joint(model, latents, without)).sum(0)
            gains.append(gain)
        gain = torch.cat(gains).double()
        found.append(math.log(len(gain)) - gain.logsumexp(0))
    loop = f"{type(posterior.chunks[0][0]).__name__}, {len(posterior.inner.lr)} fast steps"
    protocol = f"{loop} on the text with {column} hidden, {draws} fresh draws"
    nats = by_document(torch.cat(found), known) / by_document(torch.ones(len(known)), known)
    return GivenText(column, nats, protocol, known.packed)
