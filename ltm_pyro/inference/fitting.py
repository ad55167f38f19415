"""The loop around iterations: batches that travel ahead, callbacks, progress, Ctrl-C."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any, cast

from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.display.progress import bar
from ltm_pyro.files import Steady
from ltm_pyro.inference.history import Fit, StepReport, StopTraining
from ltm_pyro.inference.interrupts import whole
from ltm_pyro.inference.world import World

if TYPE_CHECKING:
    from ltm_pyro.inference.dual_rate import DualRateSVI

Callback = Callable[["DualRateSVI", StepReport], Any]
"""Called after every iteration of `DualRateSVI.fit`; may raise `StopTraining`."""


def iterate(
    svi: "DualRateSVI",
    rows: AnyRows,
    total: int,
    callbacks: Sequence[Callback],
    progress: bool,
    into: Fit,
) -> None:
    """Iterations of `svi` until it has done `total`, each on a batch of its size.

    Raises:
        KeyboardInterrupt: after a Ctrl-C, when the iteration in hand is done; at once after two.
    """
    svi.world.begin()
    batches = _batches(svi, rows, total)
    with (
        redirect_stderr(cast(Any, Steady(sys.stderr))),  # whoever reads it may leave
        bar(None, "training", total=total, shown=progress, initial=svi.done) as shown,
    ):
        stopping = False
        while svi.done < total and not stopping:
            batch = next(batches)
            try:
                with whole():
                    report = svi.step(batch, total)
                    into.records.append(report.record())
                    shown.set_postfix_str(f"{report.nats_per_token:.3f} nats/token", refresh=False)
                    shown.update()
                    stopping = _stopped(svi, callbacks, report)
            except KeyboardInterrupt as asked:
                if asked.args:  # of whoever handles signals otherwise
                    raise
                raise KeyboardInterrupt(
                    f"after iteration {svi.done}, which is whole: svi.fit(...) goes on from "
                    "there, and svi.fitted has the history"
                ) from None


def _batches(svi: "DualRateSVI", rows: AnyRows, total: int) -> Iterator[Rows]:
    """The batch of each iteration; the next one travels while it is used."""
    device = next(svi.model.parameters()).device
    size = svi.batch_size or 1

    def batch(step: int) -> tuple[int, Rows]:
        part = rows.batch(step, size, svi.seed)
        part = svi.world.share(part, owned=svi.warm is not None)
        return step, part.to(device, wait=False)

    upcoming = None
    while True:
        # A callback may have set `done` to another step.
        if upcoming is None or upcoming[0] != svi.done:
            upcoming = batch(svi.done)
        now = upcoming[1]
        if svi.done + 1 < total:
            upcoming = batch(svi.done + 1)
        yield now


def _stopped(svi: "DualRateSVI", callbacks: Sequence[Callback], report: StepReport) -> bool:
    """Whether a callback asks for the end: of several processes all go on for one iteration."""
    return svi.world.any(asks_to_stop(svi.world, callbacks, svi, report))


def asks_to_stop(world: World, calls: Iterable[Callable[..., Any]], *given: Any) -> bool:
    """Whether any of these calls raises StopTraining; those behind it are left out.

    Of several processes each goes through all of them: no other waits for one that has left.
    """
    asks = False
    for call in calls:
        try:
            call(*given)
        except StopTraining:
            asks = True
            if world.size == 1:
                break
    return asks
