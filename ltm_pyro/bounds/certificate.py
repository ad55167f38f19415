"""A certificate: text's log p(x) between two ends, and which documents it holds for."""

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltm_pyro.bounds.gate import Misses
from ltm_pyro.bounds.weights import Array

SURE = 1.96


@dataclass(frozen=True)
class Certificate:
    """Both ends of log p(x), an entry for each document, nats.

    Attributes:
        lower: in expectation at most log p(x), whatever the weights are like.
        upper: in expectation at least log p(x), for what the guide's draws can reach; to be
            believed where `reason` is "".
        error: standard deviation of each end over draws, by the gate's weights.
        constant_error: nats by which all of a document's rows may be off together, (documents,),
            from the constant of an energy-based prior: of one number that all documents share.
        constant_gap: nats of `upper` that are for that constant alone, (documents,).
        reason: why a document is not certified; "" where it is.
        temperatures, spread, khat: the most, over a document's rows, of what its gate saw.
        tokens, bytes: of each document.
        misses: what documents that the model wrote say of missed posteriors.
        protocol: in words, how it was made.
        seconds: time spent.
    """

    lower: Array
    upper: Array
    error: Array
    reason: list[str]
    temperatures: Array
    spread: Array
    khat: Array
    tokens: Array
    bytes: Array
    misses: Misses
    protocol: str
    seconds: float
    constant_error: Array
    constant_gap: Array

    @property
    def certified(self) -> NDArray[np.bool_]:
        """Documents that are enclosed, (documents,)."""
        return np.array([not reason for reason in self.reason])

    @property
    def width(self) -> Array:
        """upper - lower, nats, (documents,)."""
        return self.upper - self.lower

    @property
    def nats(self) -> tuple[float, float]:
        """-log p(x) of all certified documents: at least, at most (in expectation)."""
        here = self.certified
        return -float(self.upper[here].sum()), -float(self.lower[here].sum())

    @property
    def interval(self) -> tuple[float, float]:
        """The same, each end moved outwards by 1.96 times the error, a constant's included."""
        least, most = self.nats
        shared = float(self.constant_error[self.certified].sum())
        reach = SURE * math.hypot(self.monte_carlo_error, shared)
        return least - reach, most + reach

    @property
    def monte_carlo_error(self) -> float:
        """Of the ends of all certified documents, nats: as the gates' weights tell, or as far as
        the two runs lie apart, whichever is more."""
        width = (self.width - self.constant_gap)[self.certified]
        apart = np.arccosh(1 + np.maximum(width, 0))  # |log w1 - log w2|
        return math.sqrt(max((self.error[self.certified] ** 2).sum(), (apart**2).sum() / 4))

    def units(self, nats: tuple[float, float]) -> dict[str, list[float | None]]:
        """Two numbers of nats for all certified documents, in the units of figures."""
        here = self.certified
        tokens, size = self.tokens[here].sum(), self.bytes[here].sum()
        in_unit = {
            "nats_per_document": [value / max(here.sum(), 1) for value in nats],
            "nats_per_token": [value / tokens if tokens else math.nan for value in nats],
            "bits_per_byte": [value / math.log(2) / size if size else math.nan for value in nats],
            "perplexity": [_exp(value / tokens) if tokens else math.nan for value in nats],
        }
        return {
            unit: [float(v) if math.isfinite(v) else None for v in values]
            for unit, values in in_unit.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: the corpus, what was refused and why, and each document."""
        here = self.certified
        known = bool(here.any())
        width = float(self.width[here].mean()) if known else math.nan
        return {
            "documents": len(here),
            "certified": int(here.sum()),
            "share": float(here.mean()),
            "tokens": int(self.tokens[here].sum()),
            "bytes": int(self.bytes[here].sum()),
            **(self.units(self.nats) if known else {}),
            "width_per_document": width if math.isfinite(width) else None,
            "monte_carlo_error_nats": self.monte_carlo_error if known else None,
            "constant_error_nats": float(self.constant_error[here].sum()),
            "interval_95": self.units(self.interval) if known else None,
            "all_documents_at_most": {
                "nats_per_token": float(-self.lower.sum() / self.tokens.sum()),
                "documents": len(here),
                "tokens": int(self.tokens.sum()),
            },
            "missed": {**dataclasses.asdict(self.misses), "limit_95": self.misses.limit},
            "refused": dict(Counter(_kind(reason) for reason in self.reason if reason)),
            "per_document": [
                {name: _plain(value) for name, value in row.items()} for row in self._rows()
            ],
            "seconds": round(self.seconds, 3),
            "protocol": self.protocol,
        }

    def _rows(self) -> list[dict[str, Any]]:
        columns: dict[str, Any] = {
            "tokens": self.tokens.astype(int),
            "bytes": self.bytes.astype(int),
            "at_least": -self.upper,
            "at_most": -self.lower,
            "width": self.width,
            "error": self.error,
            "certified": self.certified,
            "reason": self.reason,
            "temperatures": self.temperatures.astype(int),
            "spread": self.spread,
            "khat": self.khat,
        }
        return [
            {name: values[i] for name, values in columns.items()} for i in range(len(self.reason))
        ]

    def __str__(self) -> str:
        here, total = self.certified, len(self.reason)
        lines = [
            f"log p(x) enclosed for {here.sum()} of {total} documents ({here.mean():.0%}; "
            f"{self.seconds:.1f} seconds): {self.protocol}",
            str(self.misses),
        ]
        if here.any():
            rows = {
                "at least": (0, self.nats), "at most": (1, self.nats),
                "95%: at least": (0, self.interval), "95%: at most": (1, self.interval),
            }  # fmt: skip
            names = ("nats_per_document", "nats_per_token", "bits_per_byte", "perplexity")
            heads = ("nats/document", "nats/token", "bits/byte", "perplexity")
            lines.append(f"{'-log p(x)':<15}" + "".join(f"{head:>15}" for head in heads))
            for label, (end, nats) in rows.items():
                values = [self.units(nats)[name][end] for name in names]
                cells = ("" if v is None else f"{v:.4f}" for v in values)
                lines.append(f"{label:<15}" + "".join(f"{cell:>15}" for cell in cells))
            lines.append(f"width: {self.width[here].mean():.4f} nats per document")
            if self.constant_error.any():
                lines.append(
                    "both ends may be off together by "
                    f"{self.constant_error[here].mean():.4f} nats per document (standard error of "
                    "the prior's constant, which is in the 95% interval)"
                )
        if not here.all():
            reasons = Counter(_kind(reason) for reason in self.reason if reason)
            lines += [f"refused, {n}: {reason}" for reason, n in reasons.most_common()]
            lines.append(
                f"all {total} documents, from one side: at most "
                f"{-self.lower.sum() / self.tokens.sum():.4f} nats/token"
            )
        return "\n".join(lines)

    __repr__ = __str__


def _kind(reason: str) -> str:
    """A reason without its numbers' decimals, so that alike ones are counted together."""
    if reason.startswith("k-hat"):
        return "heavy tail (k-hat)"
    return "log weights spread too much" if reason.startswith("log weights spread") else reason


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
