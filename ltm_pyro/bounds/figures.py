"""A figure of documents: its units, its errors and how it was made."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

from ltm_pyro.bounds.in_html import figure_table
from ltm_pyro.bounds.sampling import combined, ratio_error, sampling_error
from ltm_pyro.bounds.weights import Array, in_words, median

Interval = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """A figure for -log p(x) over the documents of a corpus.

    Attributes:
        name: e.g. "elbo".
        protocol: in words, how it was made.
        nats: for each document, shape (documents,).
        tokens: tokens of each document that count, shape (documents,).
        bytes: UTF-8 bytes of each document, shape (documents,).
        is_bound: whether the expectation of `nats` is at least -log p(x); see `Estimate`.
        parts: named parts that `nats` is the sum of, shape (documents,) each.
        monte_carlo_variance: of each document's `nats`, over repetitions of its fit and its draws
            (over the draws alone, which is too little, if nothing was repeated).
        stream: whether documents are windows of one stream, in its order, so that neighbours are
            alike (the packed layout).
        monte_carlo_freedom: degrees of freedom of that estimate, summed over documents.
        constant_error: of the sum of `nats`, from a constant that all documents share (that of an
            energy-based prior); it is part of both errors.
        shared_error: of the sum of `nats`, what draws that all documents share add to the error of
            each; in both errors too. nan of one draw, which shows nothing of it.
        shared_freedom: degrees of freedom of that estimate.
        repeated: rows that were fitted and scored again to learn it.
        draws: draws of z for each row.
        khat, ess: Pareto k-hat and effective sample size of each row's importance weights, (rows,),
            where the figure is -log of their mean (k-hat of 25 draws or more).
        mean_perplexity: the mean over rows of each one's perplexity, where a protocol reports it.
        seconds: time spent, the fitting included, without repetitions.
        text: a digest of the rows that were scored; "" where it is not known.
        observed: the sites whose joint density `nats` is of. Where there are others than `tokens`,
            figures a token, their errors and perplexity are of the tokens alone, as far as `parts`
            tell them (KL and the tokens' own part, still a bound), else nan; the whole is given in
            nats per document.
        known: in how many documents each of the others is not missing. Its part is their sum over
            all documents, of what q has seen: no score of it given the text (`given_text`).
    """

    name: str
    protocol: str
    nats: Array
    tokens: Array
    bytes: Array
    is_bound: bool = True
    parts: Mapping[str, Array] = field(default_factory=dict)
    monte_carlo_variance: Array | None = None
    draws: int = 0
    seconds: float = 0.0
    text: str = ""
    stream: bool = False
    monte_carlo_freedom: float = math.inf
    constant_error: float = 0.0
    shared_error: float = 0.0
    shared_freedom: float = math.inf
    repeated: int = 0
    khat: Array | None = None
    ess: Array | None = None
    mean_perplexity: float | None = None
    observed: tuple[str, ...] = ("tokens",)
    known: Mapping[str, int] = field(default_factory=dict)

    @property
    def of_tokens(self) -> Array:
        """The nats that are the tokens' alone, (documents,); nan where no part tells them.

        Beside other observed sites it is KL - E_q[log p(tokens | z)], a bound on -log p(tokens)
        whatever q has seen.
        """
        if self.observed == ("tokens",):
            return self.nats
        if {"tokens", "kl"} <= self.parts.keys():
            return self.parts["tokens"] + self.parts["kl"]
        return np.full_like(self.nats, math.nan)

    @property
    def nats_per_document(self) -> float:
        """Mean of `nats`, all observed sites together."""
        return float(self.nats.mean())

    @property
    def document_error(self) -> float:
        """Standard error of `nats_per_document`, over documents drawn at random."""
        return ratio_error(self.nats, np.ones_like(self.nats), self.stream)

    @property
    def nats_per_token(self) -> float:
        """Total nats over total tokens."""
        return float(self.of_tokens.sum() / self.tokens.sum())

    @property
    def perplexity(self) -> float:
        """exp(total nats / total tokens): of the corpus, never a mean over documents."""
        nats = self.nats_per_token
        return math.inf if nats >= 700 else math.exp(nats)

    @property
    def bits_per_byte(self) -> float:
        """Total bits over bytes of text (the end of text has none); nan for simulated text."""
        size = self.bytes.sum()
        return float(self.of_tokens.sum() / math.log(2) / size) if size else math.nan

    @property
    def standard_error(self) -> float:
        """Of `nats_per_token`, over documents drawn at random (ratio estimator, delta method).

        In the packed layout it allows for windows that are alike; see `sampling_error`.
        """
        return self._with_common(*sampling_error(self.of_tokens, self.tokens, self.stream))[0]

    @property
    def monte_carlo_error(self) -> float:
        """Of `nats_per_token`, over repetitions, these documents given; nan if not known."""
        return self._monte_carlo[0]

    @property
    def _monte_carlo(self) -> tuple[float, float]:
        """Its error and degrees of freedom."""
        if self.monte_carlo_variance is None or self.observed != ("tokens",):
            return math.nan, math.nan
        own = math.sqrt(float(self.monte_carlo_variance.sum())) / float(self.tokens.sum())
        return self._with_common(own, self.monte_carlo_freedom)

    @property
    def common_error(self) -> float:
        """The part of both errors, of `nats_per_token`, that no spread over documents shows."""
        return math.hypot(self.constant_error, self.shared_error) / float(self.tokens.sum())

    def _with_common(self, error: float, freedom: float) -> tuple[float, float]:
        """An error of `nats_per_token` and the part of it that no spread over documents shows."""
        tokens = float(self.tokens.sum())
        return combined(
            (error, freedom),
            (self.shared_error / tokens, self.shared_freedom),
            (self.constant_error / tokens, math.inf),
        )

    @property
    def interval(self) -> Interval:
        """95 % for `nats_per_token`, over documents drawn at random."""
        return interval(self.nats_per_token, self.standard_error, self.freedom)

    @property
    def monte_carlo_interval(self) -> Interval:
        """95 % for the mean of `nats_per_token` over repetitions, these documents given."""
        return interval(self.nats_per_token, *self._monte_carlo)

    @property
    def weights(self) -> str:
        """Of importance weights, in words, whether they say that the figure is loose; or ""."""
        return "" if self.ess is None else in_words(self.khat, self.ess, self.draws)

    @property
    def documents(self) -> int:
        """Number of documents."""
        return len(self.nats)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of `standard_error`: few where windows of a stream are alike."""
        return self._with_common(*sampling_error(self.of_tokens, self.tokens, self.stream))[1]

    @property
    def units(self) -> int:
        """Independent documents from which `standard_error` would be known as well."""
        return 1 if math.isnan(self.freedom) else round(self.freedom) + 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; null where a number is not known (an error of one document)."""
        others = {} if self.observed == ("tokens",) else {
            "observed": list(self.observed),
            "document_error": finite(self.document_error),
            **{f"{k}_per_document": float(v.mean()) for k, v in self.parts.items()},
            "known": dict(self.known),
        }  # fmt: skip
        return {
            **others,
            "nats_per_token": finite(self.nats_per_token) if others else self.nats_per_token,
            "standard_error": finite(self.standard_error),
            "interval": list(map(finite, self.interval)),
            "monte_carlo_error": finite(self.monte_carlo_error),
            "monte_carlo_interval": list(map(finite, self.monte_carlo_interval)),
            "constant_error": self.constant_error / float(self.tokens.sum()),
            "shared_error": self.shared_error / float(self.tokens.sum()),
            "repeated_rows": self.repeated,
            "perplexity": finite(self.perplexity),
            "bits_per_byte": finite(self.bits_per_byte),
            **_mean_perplexity(self),
            "nats_per_document": self.nats_per_document,
            **{
                f"{k}_per_token": float(v.sum() / self.tokens.sum())
                for k, v in self.parts.items()
                if not others or k == "tokens"
            },
            "is_bound": self.is_bound,
            "documents": self.documents,
            "units_of_error": self.units,
            "tokens": int(self.tokens.sum()),
            "bytes": int(self.bytes.sum()),
            "draws": self.draws,
            **_weights(self),
            "seconds": round(self.seconds, 3),
            "protocol": self.protocol,
        }

    def __str__(self) -> str:
        if self.observed != ("tokens",):
            return (
                f"{self.nats_per_document:.4f} ± {self.document_error:.4f} nats/document of "
                f"{', '.join(self.observed)} ({self.protocol})"
            )
        return f"{self.nats_per_token:.4f} ± {self.standard_error:.4f} nats/token ({self.protocol})"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return figure_table(self.name, [self])


def interval(value: float, error: float, freedom: float, among: int = 1) -> Interval:
    """95 % about a value: Student's t with that many degrees of freedom.

    Of several, `among` them, all at once (Bonferroni).
    """
    if not freedom > 0:
        return math.nan, math.nan
    reach = error * float(stats.t.ppf(1 - 0.025 / among, freedom))
    return value - reach, value + reach


def _weights(figure: Figure) -> dict[str, Any]:
    if figure.ess is None:
        return {}
    return {
        "khat_median": finite(median(figure.khat)),
        "effective_sample_size_median": finite(median(figure.ess)),
        "weights": figure.weights,
    }


def _mean_perplexity(figure: Figure) -> dict[str, Any]:
    value = figure.mean_perplexity
    return {} if value is None else {"mean_of_row_perplexities": finite(value)}


def finite(value: float) -> float | None:
    """A number as JSON can hold it."""
    return value if math.isfinite(value) else None
