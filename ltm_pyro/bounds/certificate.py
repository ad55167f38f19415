"""A certificate: text's log p(x) between two ends, and which documents it holds for."""

import dataclasses
import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltm_pyro.bounds.enclosed import Ends, Setup, enclose
from ltm_pyro.bounds.evaluation import by_document
from ltm_pyro.bounds.gate import Misses
from ltm_pyro.bounds.report import Array
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import Count, Whole, taken
from ltm_pyro.programs.densities import simulate
from ltm_pyro.programs.reading import Sites, is_plain
from ltm_pyro.seeds import Stream, derive

CHAINS = 256
SURE = 1.96


@dataclass(frozen=True)
class Certificate:
    """Both ends of log p(x), an entry for each document, nats.

    Attributes:
        lower: in expectation at most log p(x), whatever the weights are like.
        upper: in expectation at least log p(x), for what the guide's draws can reach; to be
            believed where `reason` is "".
        error: standard deviation of each end over draws, by the gate's weights.
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
        """The same, each end moved outwards by 1.96 times the error."""
        least, most = self.nats
        return least - SURE * self.monte_carlo_error, most + SURE * self.monte_carlo_error

    @property
    def monte_carlo_error(self) -> float:
        """Of the ends of all certified documents, nats: as the gates' weights tell, or as far as
        the two runs lie apart, whichever is more."""
        apart = np.arccosh(1 + np.maximum(self.width[self.certified], 0))  # |log w1 - log w2|
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
            "lower": self.lower,
            "upper": self.upper,
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
        if not here.all():
            reasons = Counter(_kind(reason) for reason in self.reason if reason)
            lines += [f"refused, {n}: {reason}" for reason, n in reasons.most_common()]
            lines.append(
                f"all {total} documents, from one side: at most "
                f"{-self.lower.sum() / self.tokens.sum():.4f} nats/token"
            )
        return "\n".join(lines)


def certify(
    model: TextModel,
    rows: Rows,
    *,
    guide: MakeGuide = MeanField,
    fast: Fast | None = None,
    temperatures: int = 16,
    chains: int = CHAINS,
    particles: int = 1,
    simulated: int = 32,
    seed: int = 0,
    chunk: int = 64,
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
        chains: weights of each of the three runs; half of it where they are annealed.
        particles: chains behind each weight, resampled where that helps (sequential Monte Carlo).
        simulated: documents that the model writes.
        seed: where every draw comes from.
        chunk: rows handled at once; bounds the memory.
        progress: whether to show progress bars.

    Raises:
        InputError: for numbers that make no sense, no rows, or a guide without density.
    """
    taken("temperatures", temperatures, Count)
    taken("chains", chains, Count)
    taken("particles", particles, Count)
    taken("simulated", simulated, Whole)
    if not len(rows):
        raise InputError("there are no rows to score: is the split empty?")
    others = [site.name for site in Sites.of(model, rows) if not is_plain(site)]
    if others:
        raise InputError(
            f"certificates are of models that sample z and observe tokens alone; this one has "
            f"{', '.join(others)}: its figures are elbo, iwae and ais"
        )
    begun = time.perf_counter()
    fast = fast or Fast()
    setup = Setup(guide, fast, temperatures, chains, particles, chunk, progress)
    rows = rows.to(next(model.parameters()).device)
    seed = derive(seed, Stream.CERTIFICATE)
    misses = _misses(model, rows, setup, simulated, seed)
    ends = enclose(model, rows, setup, seed)
    return _certificate(rows, ends, misses, setup, time.perf_counter() - begun)


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
    rows: Rows, ends: Ends, misses: Misses, setup: Setup, seconds: float
) -> Certificate:
    _, place = torch.unique(rows.document.cpu(), return_inverse=True)
    place = place.numpy()

    def most(values: Array) -> Array:
        found = np.full(place.max() + 1, -np.inf)
        np.maximum.at(found, place, values)
        return found

    reason = [""] * int(place.max() + 1)
    for row, document in enumerate(place):
        reason[document] = reason[document] or ends.reason[row]
    if misses.verdict:
        reason = [misses.verdict] * len(reason)
    return Certificate(
        lower=by_document(torch.from_numpy(ends.lower), rows),
        upper=by_document(torch.from_numpy(ends.upper), rows),
        error=np.sqrt(by_document(torch.from_numpy(ends.variance), rows)),
        reason=reason,
        temperatures=most(ends.temperatures),
        spread=most(ends.spread),
        khat=most(ends.khat),
        tokens=by_document(rows.lengths, rows),
        bytes=by_document(rows.bytes, rows),
        misses=misses,
        protocol=(
            f"{setup.fast.steps} fast steps, two runs of {setup.chains} weights and a third that "
            f"chooses, at most {setup.temperatures} temperatures"
            + (f", {setup.particles} particles a weight" if setup.particles > 1 else "")
        ),
        seconds=seconds,
    )


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
