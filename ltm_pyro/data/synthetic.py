"""Corpora whose truth is known: what each document costs, with its hidden code and without it.

In each, a code that a short window cannot see (`Known.code`) explains a whole document, and
-log p(x) is exact: a sum over all codes, or quadrature where the code is a point of a plane.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from ltm_pyro.data.rows import Rows
from ltm_pyro.options import Count, Positive, Whole, checked
from ltm_pyro.seeds import generator

TOPICS, WORDS = 16, 32
SLOTS, APART = 4, 12
"""Of a template: how many slots, and how many tokens from one to the next."""
Words = Annotated[Count, Ge(2)]
"""Of one word alone every text is certain."""


@dataclass(frozen=True)
class Known:
    """Rows, and the truth of each document.

    Attributes:
        rows: the documents, one a row.
        code: what was drawn for it: an index (documents,), or a point (documents, 2).
        nats: exact -log p(x), (documents,).
        nats_given_code: exact -log p(x | code), (documents,).
        window: tokens that a decoder may see at once, so that only thoughts tell the code.
    """

    rows: Rows
    code: Tensor
    nats: Tensor
    nats_given_code: Tensor
    window: int = 2

    @property
    def nats_per_token(self) -> float:
        """The exact entropy of these documents: what no model's expected bound lies below."""
        return float(self.nats.sum() / self.rows.lengths.sum())

    @property
    def nats_per_token_given_code(self) -> float:
        """What they cost whoever is told the code."""
        return float(self.nats_given_code.sum() / self.rows.lengths.sum())


@checked
def topic_rows(rows: Count, tokens: Count, words: Words = WORDS, seed: Whole = 0) -> Rows:
    """Documents of one of 16 topics, each a distribution over words (Dirichlet, 0.3).

    A word tells nothing of the next but through the topic, which a window of a few tokens cannot
    see: only thoughts can. The topics are the same whatever the seed of the documents.
    """
    return topics(rows, tokens, words, seed).rows


@checked
def topics(rows: Count, tokens: Count, words: Words = WORDS, seed: Whole = 0) -> Known:
    """The documents of `topic_rows`; the code is the topic.

    Example:
        >>> from ltm_pyro.data.synthetic import topics
        >>> known = topics(100, 32)
        >>> known.nats_per_token_given_code < known.nats_per_token
        True
    """
    source = torch.Generator().manual_seed(0)
    gamma = torch._standard_gamma(torch.full((TOPICS, words), 0.3), generator=source)
    shares = gamma / gamma.sum(1, keepdim=True)
    source = generator(seed)
    which = torch.randint(TOPICS, (rows,), generator=source)
    found = torch.multinomial(shares[which], tokens, replacement=True, generator=source)
    exact = gamma.double() / gamma.double().sum(1, keepdim=True)
    each = exact.log().T[found].sum(1)  # (rows, topics)
    return _of_codes(found, which, each)


@checked
def ciphers(
    rows: Count, tokens: Count, words: Words = WORDS, codes: Count = 16, seed: Whole = 0
) -> Known:
    """A sticky chain of symbols under one of 16 substitution ciphers; the code is the cipher.

    A symbol is followed by one of its two successors, or by any: under another cipher the same
    words follow one another differently. Chain and ciphers are the same whatever the seed.
    """
    source = torch.Generator().manual_seed(1)
    chain = torch.full((words, words), 0.2 / words, dtype=torch.float64)
    for share in (0.5, 0.3):
        chain[torch.arange(words), torch.randperm(words, generator=source)] += share
    cipher = torch.stack([torch.randperm(words, generator=source) for _ in range(codes)])
    source = generator(seed)
    which = torch.randint(codes, (rows,), generator=source)
    plain = torch.empty(rows, tokens, dtype=torch.long)
    plain[:, 0] = torch.randint(words, (rows,), generator=source)
    for n in range(1, tokens):
        plain[:, n] = torch.multinomial(chain[plain[:, n - 1]], 1, generator=source)[:, 0]
    found = cipher[which].gather(1, plain)
    back = cipher.argsort(1)  # from a word to its symbol
    read = back[:, found]  # (codes, rows, tokens): the symbols under each cipher
    each = chain.log()[read[..., :-1], read[..., 1:]].sum(-1) - math.log(words)
    return _of_codes(found, which, each.T)


@checked
def templates(rows: Count, words: Words = WORDS, seed: Whole = 0) -> Known:
    """The same sentence each time but for one word, which stands in it four times, far apart.

    The code is the word, one of half of the vocabulary; all other tokens are known. A window that
    does not reach from slot to slot pays for the word each time, whoever knows it not once.
    """
    fillers, tokens = words // 2, SLOTS * APART
    source = torch.Generator().manual_seed(2)
    sentence = torch.randint(fillers, words, (tokens,), generator=source)
    source = generator(seed)
    which = torch.randint(fillers, (rows,), generator=source)
    found = sentence.repeat(rows, 1)
    found[:, APART // 2 :: APART] = which[:, None]
    nats = torch.full((rows,), math.log(fillers), dtype=torch.float64)
    return Known(_rows(found), which, nats, torch.zeros_like(nats))


@checked
def planes(
    rows: Count, tokens: Count, words: Words = WORDS, scale: Positive = 1.5, seed: Whole = 0
) -> Known:
    """Words drawn from softmax(W z) with z ~ N(0, I) in a plane; the code is z.

    -log p(x) is by quadrature: the trapezoid rule on a grid that reaches six standard deviations,
    whose error falls faster than any power of its step (`tests/data/test_synthetic.py` halves it).
    """
    source = torch.Generator().manual_seed(3)
    weights = scale * torch.randn(words, 2, generator=source, dtype=torch.float64)
    source = generator(seed)
    z = torch.randn(rows, 2, generator=source, dtype=torch.float64)
    shares = (z @ weights.T).log_softmax(-1)
    found = torch.multinomial(shares.exp(), tokens, replacement=True, generator=source)
    given = -shares.gather(1, found).sum(1)
    return Known(_rows(found), z, -plane_log_prob(found, weights), given)


def plane_log_prob(tokens: Tensor, weights: Tensor, step: float = 0.05) -> Tensor:
    """Exact log p(x) of documents (documents, tokens) under softmax(W z), W (words, 2), in nats."""
    axis = torch.arange(-6.0, 6.0 + step, step, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    prior = -0.5 * grid.square().sum(1) - math.log(2 * math.pi) + 2 * math.log(step)
    scores = (grid @ weights.T).log_softmax(-1)  # (points, words)
    counts = torch.zeros(len(tokens), len(weights), dtype=torch.float64)
    counts.scatter_add_(1, tokens, torch.ones_like(tokens, dtype=torch.float64))
    found = torch.empty(len(tokens), dtype=torch.float64)
    # Written in place: small results kept between large ones would hold all of their memory.
    for some, its in zip(counts.split(64), found.split(64), strict=True):
        torch.logsumexp(prior + some @ scores.T, 1, out=its)
    return found


KNOWN = {"topics": topics, "ciphers": ciphers, "templates": templates, "planes": planes}


def _of_codes(found: Tensor, which: Tensor, each: Tensor) -> Known:
    """From log p(x | code) of each document and code, all codes equally likely."""
    given = each.gather(1, which[:, None])[:, 0]
    nats = math.log(each.shape[1]) - each.logsumexp(1)
    return Known(_rows(found), which, nats, -given)


def _rows(tokens: Tensor) -> Rows:
    count, length = tokens.shape
    lengths = torch.full((count,), length)
    return Rows(tokens, lengths, torch.arange(count), lengths.clone())
