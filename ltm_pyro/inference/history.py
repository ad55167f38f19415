"""What training leaves behind: a report of each iteration, and the history of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
from torch import Tensor

from ltm_pyro.inference.local import InnerLoop


@dataclass(frozen=True)
class StepReport:
    """What one iteration saw, before its slow step was taken.

    `log_likelihood` and `kl` have shape (documents,), nats, from a draw that the fast loop did
    not see (unless its noise is fixed); `tokens` (documents,). `gradient_norm` is that of the
    slow gradient before clipping, in nats per token; `objective` what the slow step descended, in
    nats per token: the bound itself unless the KL is weighted or partly free. `by_site` has the
    part of `log_likelihood` of each observed site. In a world of several processes all of this is
    of the whole batch, and `inner` of the documents of this process.
    """

    step: int
    log_likelihood: Tensor
    kl: Tensor
    tokens: Tensor
    gradient_norm: float
    lr: float
    kl_weight: float
    objective: float
    seconds: float
    inner: InnerLoop
    by_site: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def nats_per_token(self) -> float:
        """The bound on -log p(tokens) of the batch; other observed sites are left out."""
        likelihood = self.by_site.get("tokens", self.log_likelihood)
        return float((self.kl - likelihood).sum() / self.tokens.sum())

    @property
    def kl_per_token(self) -> float:
        """The KL's part in it."""
        return float(self.kl.sum() / self.tokens.sum())

    def record(self) -> dict[str, float]:
        """The report in a line: what histories and logs keep."""
        return {
            "step": self.step,
            "nats_per_token": self.nats_per_token,
            "objective": self.objective,
            "kl_per_token": self.kl_per_token,
            "kl_weight": self.kl_weight,
            "lr": self.lr,
            "gradient_norm": self.gradient_norm,
            "tokens": int(self.tokens.sum()),
            "seconds": self.seconds,
            **self._by_document(),
        }

    def _by_document(self) -> dict[str, float]:
        """Of a model that observes more than tokens: nats a document, in all and by site."""
        if len(self.by_site) < 2:
            return {}
        found = {f"{s}_per_document": float(-term.mean()) for s, term in self.by_site.items()}
        return {"nats_per_document": float((self.kl - self.log_likelihood).mean()), **found}


class StopTraining(Exception):
    """Raised by a callback to end `DualRateSVI.fit` after this iteration."""


@dataclass
class Fit:
    """What a call of `DualRateSVI.fit` leaves.

    `history` has one row an iteration: `step`, `nats_per_token` (the bound on the training batch,
    one draw), `objective` (what was descended), `kl_per_token`, `kl_weight`, `lr`,
    `gradient_norm`, `tokens`, `seconds`.
    """

    records: list[dict[str, float]] = field(default_factory=list)

    def __repr__(self) -> str:
        if not self.records:
            return "Fit: no iteration"
        first, last = self.records[0], self.records[-1]
        spent = sum(record["seconds"] for record in self.records)
        return (
            f"Fit: {len(self.records):,} iterations in {spent:.0f} s; bound on a training batch "
            f"{first['nats_per_token']:.3f} at first, {last['nats_per_token']:.3f} nats/token at "
            "last (.history is a table)"
        )

    @property
    def history(self) -> pd.DataFrame:
        """One row an iteration."""
        return pd.DataFrame(self.records)
