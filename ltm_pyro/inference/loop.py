"""The loop over batches, and the history it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from ltm_pyro.data.rows import Rows

if TYPE_CHECKING:
    from ltm_pyro.inference.dual_rate import DualRateSVI, StepReport

Callback = Callable[["DualRateSVI", "StepReport"], Any]
"""Called after every iteration."""


@dataclass
class Fit:
    """What a call of `DualRateSVI.fit` leaves.

    `history` has one row an iteration: `step`, `nats_per_token` (the bound on the training batch,
    one draw), `kl_per_token`, `kl_weight`, `lr`, `gradient_norm`, `tokens`, `seconds`.
    """

    records: list[dict[str, float]] = field(default_factory=list)

    @property
    def history(self) -> pd.DataFrame:
        """One row an iteration."""
        return pd.DataFrame(self.records)


def record(report: StepReport) -> dict[str, float]:
    """A report in a line: what histories and logs keep."""
    return {
        "step": report.step,
        "nats_per_token": report.nats_per_token,
        "kl_per_token": report.kl_per_token,
        "kl_weight": report.kl_weight,
        "lr": report.lr,
        "gradient_norm": report.gradient_norm,
        "tokens": int(report.tokens.sum()),
        "seconds": report.seconds,
    }


def fit(
    svi: DualRateSVI,
    rows: Rows,
    steps: int,
    batch_size: int,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    label: str = "training",
) -> Fit:
    """`steps` iterations of `svi`, from where it stands; see `DualRateSVI.fit`."""
    done = Fit()
    total = svi.done + steps
    with tqdm(total=total, initial=svi.done, desc=label, unit="step", disable=not progress) as bar:
        while svi.done < total:
            batch = rows.batch(svi.done, batch_size, svi.seed)
            report = svi.step(batch, total)
            done.records.append(record(report))
            bar.set_postfix_str(f"{report.nats_per_token:.3f} nats/token", refresh=False)
            bar.update()
            for callback in callbacks:
                callback(svi, report)
    return done
