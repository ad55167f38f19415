"""Statistics of texts, given their token ids: how varied they are, and how repetitive.

Some are of one text, some of a set of texts. Those of a set depend on its size, so sets of one size
are compared, and their errors come from several sets: a bootstrap would draw a text twice, and
copies lower distinct-n and bring self-BLEU to one.
"""

import importlib.util
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

Ids = Sequence[int]


def ngrams(ids: Ids, n: int) -> Iterator[tuple[int, ...]]:
    """All runs of n tokens."""
    return (tuple(ids[i : i + n]) for i in range(len(ids) - n + 1))


def repeated(ids: Ids, n: int = 4) -> float:
    """The share of a text's n-grams that it has had before (Welleck et al. 2020, seq-rep-n).

    nan for a text of fewer than n tokens.
    """
    found = list(ngrams(ids, n))
    return 1 - len(set(found)) / len(found) if found else math.nan


def distinct(texts: Sequence[Ids], n: int) -> float:
    """Kinds of n-grams over n-grams of a set of texts (Li et al. 2016); nan where it has none."""
    found = [gram for ids in texts for gram in ngrams(ids, n)]
    return len(set(found)) / len(found) if found else math.nan


def entropy(texts: Sequence[Ids]) -> float:
    """Entropy of the tokens of a set of texts, by frequency, nats; nan where there are none.

    Of few tokens it lies below that of their distribution, at most by about (kinds - 1) / 2 tokens
    (Miller 1955), so sets of one size are to be compared.
    """
    counts = Counter(token for ids in texts for token in ids)
    total = sum(counts.values())
    if not total:
        return math.nan
    return -sum(n / total * math.log(n / total) for n in counts.values())


def has_bleu() -> bool:
    """Whether sacrebleu is installed, which computes BLEU."""
    return importlib.util.find_spec("sacrebleu") is not None


def self_bleu(texts: Sequence[Ids], order: int = 4) -> float:
    """BLEU of each text against all others of its set, their mean, 0 to 1 (Zhu et al. 2018).

    Of token ids, by sacrebleu (Post 2018), whose exponential smoothing it has; orders that a text
    is too short for are left out. nan for fewer than two texts that have tokens.
    """
    from sacrebleu.metrics import BLEU

    words = [" ".join(map(str, ids)) for ids in texts if len(ids)]
    if len(words) < 2:
        return math.nan
    bleu = BLEU(tokenize="none", effective_order=True, max_ngram_order=order)
    scores = [
        bleu.sentence_score(one, words[:i] + words[i + 1 :]).score for i, one in enumerate(words)
    ]
    return sum(scores) / len(scores) / 100


def in_sets(number: int, size: int) -> list[slice]:
    """Places of sets of one size; what is left over is in none."""
    edges = range(0, number - number % size + 1, size)
    return [slice(a, b) for a, b in pairwise(edges)]
