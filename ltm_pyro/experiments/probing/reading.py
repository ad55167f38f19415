"""What a decoder makes of thoughts: scores of tokens, likeliest tokens, texts; slot by slot.

Shapes: thoughts (draws, documents, layers, slots, dim), scores (draws, documents, tokens).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ltm_pyro.bounds.weights import Array
from ltm_pyro.data import Tokenizer
from ltm_pyro.data.rows import Rows
from ltm_pyro.experiments.probing.linear import Mean, ratio
from ltm_pyro.generation import Generation, Sampling, generate
from ltm_pyro.inference.posterior import Posterior, pieces
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.models.base import TextModel
from ltm_pyro.models.likelihood import TokenSequence
from ltm_pyro.programs.densities import draw_latents, joined, prior_of
from ltm_pyro.seeds import Stream

LOGITS = 2**22
"""Held together."""
Scores = Callable[[Tensor], Tensor]
"""From thoughts to log p(x_n | z, x_<n), nats."""


@torch.no_grad()
def prior_draws(posterior: Posterior, draws: int, seed: int) -> Tensor:
    """Thoughts from the prior for the rows of a posterior, (draws, documents, layers, slots, dim).

    A prior that reads columns reads those of the rows.
    """
    found = []
    for _, rows in posterior.chunks:
        noise = posterior.noise(rows, seed, Stream.BESIDE)
        of_values = posterior.noise(rows, seed, Stream.VALUES)
        drawn = []
        for n in pieces(draws):
            with noise.draw():
                latents = draw_latents(prior_of(posterior.model), rows, n)
            drawn.append(joined(posterior.model, latents, rows, of_values))
        found.append(torch.cat(drawn))
    return torch.cat(found, dim=1)


@torch.no_grad()
def token_scores(model: TextModel, rows: Rows, z: Tensor | None) -> Tensor:
    """log p(x_n | z, x_<n) of each token, 0 at padding: (*draws, documents, tokens), nats."""
    length = rows.tokens.shape[1]
    likelihood = TokenSequence(model.decoder, z, rows.lengths, length, model.read(rows))
    return likelihood.token_log_prob(rows.tokens)


@torch.no_grad()
def likeliest(model: TextModel, rows: Rows, z: Tensor | None) -> Tensor:
    """The likeliest token at each place given those before it: (documents, tokens), ids."""
    found = []
    size = max(1, LOGITS // (rows.tokens.shape[1] * len(model.decoder.head)))
    for start in range(0, len(rows), size):
        some = slice(start, start + size)
        with model.decoder.precision():
            hidden = model.decoder(rows.tokens[some], None if z is None else z[some])
            found.append((hidden @ model.decoder.head.T).argmax(-1))
    return torch.cat(found)


def right(model: TextModel, rows: Rows, z: Tensor | None) -> Array:
    """How many tokens of each row the likeliest token is, (documents,); of draws their mean."""
    if z is not None and z.dim() == 5:
        return np.mean([right(model, rows, one) for one in z], axis=0)
    hit = (likeliest(model, rows, z) == rows.tokens) & rows.mask
    return np.asarray(hit.sum(1).double().cpu().numpy())


def written(model: LatentThoughtModel, tokenizer: Tokenizer, z: Tensor, length: int) -> Generation:
    """The text of each of some thoughts (documents, ...), token by token the likeliest."""
    return generate(
        model, tokenizer, n=len(z), thoughts=z, length=length, sampling=Sampling(temperature=0)
    )


def rows_written(texts: Generation) -> Rows:
    """Texts as rows, each a document."""
    here = torch.arange(len(texts.lengths))
    return Rows(texts.tokens, texts.lengths, here, torch.zeros_like(here))


def overlap(texts: Rows, others: Rows, vocabulary: int) -> Array:
    """How many tokens texts share with others, row by row: F1 of the two bags, (rows,)."""
    one, other = (_counts(rows, vocabulary) for rows in (texts, others))
    total = one.sum(1) + other.sum(1)
    return 2 * np.minimum(one, other).sum(1) / total.clip(1)


def _counts(rows: Rows, vocabulary: int) -> Array:
    found = np.zeros((len(rows), vocabulary))
    pairs = zip(rows.tokens.cpu().numpy(), rows.lengths.tolist(), strict=True)
    for i, (ids, length) in enumerate(pairs):
        np.add.at(found[i], ids[:length], 1)
    return found


@dataclass(frozen=True)
class Attribution:
    """What tokens owe to each slot of thoughts.

    Attributes:
        gain: mean over draws of log p of each token under thoughts less that with the slot
            resampled, (layers, slots, documents, tokens), nats; positive where the slot helps.
        error: standard error of each over draws.
    """

    gain: Array
    error: Array

    def by_slot(self, tokens: Array) -> list[list[Mean]]:
        """Nats per token of each slot over documents of so many tokens, (layers, slots)."""
        return [[ratio(one.sum(-1), tokens) for one in layer] for layer in self.gain]


@torch.no_grad()
def attribution(score: Scores, z: Tensor, others: Tensor) -> Attribution:
    """Resample each slot by itself, all else as it is.

    Args:
        score: log p of tokens given thoughts.
        z: draws of the posterior.
        others: draws of the prior, of the same shape; each slot takes its numbers from these.
    """
    layers, slots = z.shape[2:4]
    base = score(z).double()
    gains, errors = [], []
    for layer in range(layers):
        for slot in range(slots):
            changed = z.clone()
            changed[:, :, layer, slot] = others[:, :, layer, slot]
            lost = base - score(changed).double()
            gains.append(lost.mean(0))
            errors.append(lost.std(0) / len(z) ** 0.5)
    shape = (layers, slots, *base.shape[1:])
    gain, error = (torch.stack(x).reshape(shape).cpu().numpy() for x in (gains, errors))
    return Attribution(np.asarray(gain), np.asarray(error))


def along(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Thoughts on the straight line between two, ends included: (steps, *shape)."""
    share = torch.linspace(0, 1, steps).reshape(-1, *[1] * first.dim()).to(first)
    points = (1 - share) * first + share * last
    points[0], points[-1] = first, last
    return points
