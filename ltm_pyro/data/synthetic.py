"""Corpora whose latent truth is known."""

import torch

from ltm_pyro.data.rows import Rows
from ltm_pyro.seeds import generator

TOPICS, WORDS = 16, 32


def topic_rows(rows: int, tokens: int, words: int = WORDS, seed: int = 0) -> Rows:
    """Documents of one of 16 topics, each a distribution over words (Dirichlet, 0.3).

    A word tells nothing of the next but through the topic, which a window of a few tokens cannot
    see: only thoughts can. The topics are the same whatever the seed of the documents.
    """
    source = torch.Generator().manual_seed(0)
    gamma = torch._standard_gamma(torch.full((TOPICS, words), 0.3), generator=source)
    topics = gamma / gamma.sum(1, keepdim=True)
    source = generator(seed)
    which = torch.randint(TOPICS, (rows,), generator=source)
    found = torch.multinomial(topics[which], tokens, replacement=True, generator=source)
    return Rows(found, torch.full((rows,), tokens), torch.arange(rows), torch.full((rows,), tokens))
