"""Answers that are numbers: read from text, compared, counted, voted on."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

MARKER = "####"
"""What stands before the answer in GSM8K (Cobbe et al. 2021)."""
NUMBER = re.compile(
    r"(?:(?<![\w)\].])(?P<sign>[-+\u2212]))?[$€£]?(?P<inner>(?<=[$€£])[-+\u2212])?"
    r"(?P<digits>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)?(?P<rest>\.[0-9]+)?"
)
"""A number as people write it; a sign between two numbers is no sign of the second."""


def numbers(text: str) -> list[str]:
    """All numbers of a text, in one form each: `$1,250.50` and `1250.5` are both `1250.5`.

    Commas between thousands, currency, percent, leading and trailing zeros and the sign of zero
    make no difference; 50% is 50, not 0.5. So two numbers are equal if their forms are.

    Example:
        >>> numbers("-$1,250.50, then 10-5 = 05.0, or 50%.")
        ['-1250.5', '10', '5', '5', '50']
    """
    found = []
    for one in NUMBER.finditer(text):
        if one["digits"] is None and one["rest"] is None:
            continue
        whole = (one["digits"] or "").replace(",", "").lstrip("0") or "0"
        rest = (one["rest"] or "").rstrip("0").rstrip(".")
        minus = (one["sign"] or one["inner"]) in ("-", "\u2212") and whole + rest != "0"
        found.append("-" * minus + whole + rest)
    return found


def marked(text: str) -> str | None:
    """The number that stands right behind a text's first `####`, or None."""
    _, marker, behind = text.partition(MARKER)
    found = NUMBER.match(behind.lstrip(" \t")) if marker else None
    every = numbers(found.group()) if found else []
    return every[0] if every else None


def answer_of(text: str) -> str | None:
    """The answer that a text gives: what is `marked`, else the last number of all.

    None where there is no number.

    Example:
        >>> answer_of("6 * 7 = 42\\n#### 42\\n\\nTom has 3 apples."), answer_of("so it is 42.")
        ('42', '42')
    """
    found = marked(text)
    return found or next(reversed(numbers(text)), None)


def pass_at(n: int, correct: int, k: int) -> float:
    """The probability that one of k samples is right, of n samples of which some are correct.

    1 - C(n - correct, k) / C(n, k): the share of subsets of k samples that hold a correct one, and
    so unbiased for 1 - (1 - p)^k (Chen et al. 2021, equation 1). `1 - (1 - correct/n)^k` is not.
    """
    if not 0 <= correct <= n or not 1 <= k <= n:
        raise ValueError(f"no subset of {k} of {n} samples, {correct} of them correct")
    return 1 - math.comb(n - correct, k) / math.comb(n, k)


def vote(answers: Sequence[str | None], reference: str) -> float:
    """What a majority vote gets: 1 where most samples have the reference, 0 where they have not.

    Samples without an answer do not vote. Of m answers with the most votes one is taken by lot, so
    a reference among them gets 1 / m (Wang et al. 2023 call the vote self-consistency).
    """
    votes = Counter(one for one in answers if one is not None)
    most = max(votes.values(), default=0)
    first = [answer for answer, count in votes.items() if count == most]
    return (reference in first) / len(first) if first else 0.0


Interval = tuple[float, float]
LEVEL = 0.95
"""Of intervals."""
WIDE = NormalDist().inv_cdf((1 + LEVEL) / 2)


def mean_interval(values: ArrayLike) -> Interval:
    """Where the mean of values between 0 and 1 lies, one value a question: Wilson's score interval.

    It is that of a share (Wilson 1927). Values between 0 and 1 vary no more than those that are
    either, so it is conservative for them. Of none correct its upper end lies above 0.
    """
    x = np.asarray(values, float)
    mean, more = float(x.mean()), WIDE**2 / len(x)
    center = (mean + more / 2) / (1 + more)
    reach = math.sqrt(mean * (1 - mean) * more + more**2 / 4) / (1 + more)
    return max(0.0, center - reach), min(1.0, center + reach)


def paired_interval(differences: ArrayLike) -> Interval:
    """Where the mean of differences between -1 and 1 lies, one difference a question.

    Two questions are added, one with +1 and one with -1, and the normal interval of all taken: that
    of Bonett & Price (2012) for paired shares. Where no question differs it is not empty.
    """
    x: NDArray[np.float64] = np.append(np.asarray(differences, float), [1.0, -1.0])
    reach = WIDE * float(x.std()) / math.sqrt(len(x))
    return max(-1.0, float(x.mean()) - reach), min(1.0, float(x.mean()) + reach)
