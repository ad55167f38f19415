"""What a report measures of a run on some rows: figures, diagnostics, texts."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ltm_pyro.bounds import Report, evaluate
from ltm_pyro.bounds.evaluation import usual
from ltm_pyro.config import Fast
from ltm_pyro.data import Rows
from ltm_pyro.data.store import StoredRows
from ltm_pyro.diagnostics import (
    GuideQuality,
    ThoughtUse,
    guide_quality,
    thought_use,
)
from ltm_pyro.errors import InputError
from ltm_pyro.generation import Generation, generate
from ltm_pyro.inference.posterior import Posterior, infer
from ltm_pyro.options import Count, Whole, take_fields
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.seeds import Stream, generator

LONGER = 4
"""Fits are compared with ones of this many times the fast steps."""
ROOM = 2**26
"""Numbers that the draws behind thought use may take, all rows against all."""
DRAWS = 256
"""Draws of each row for importance weights."""


@dataclass(frozen=True)
class Asked:
    """What a report is to measure, and how.

    Attributes:
        bounds: figures, as `evaluate` names them; `bounds.evaluation.usual` of the model if None.
        rows: at most so many rows are scored, of whole documents chosen by lot.
        inspected: of them so many, chosen by lot, are looked at more closely; 0 for none.
        texts: texts that the model writes, of each prompt if there are any.
        prompts: what texts go on from, beside those written from the prior.
        fast_steps: of each fit; the run's own number if None.
        seed: where every draw comes from.
        chunk: rows handled at once.
        progress: whether to show progress bars.
    """

    bounds: tuple[str, ...] | None = None
    rows: Count = 256
    inspected: Whole = 64
    texts: Whole = 3
    prompts: tuple[str, ...] = ()
    fast_steps: Whole | None = None
    seed: Whole = 0
    chunk: Count = 64
    progress: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.bounds, str):
            object.__setattr__(self, "bounds", tuple(self.bounds.split(",")))
        take_fields(self, "")

    def fast(self, run: Run) -> Fast:
        """A run's own fast loop, with the steps that were asked for."""
        return run.config.fast.changed(self.fast_steps)


@dataclass(frozen=True)
class Inspected:
    """A closer look at some of the rows. What could not be had is None, and `missing` says why.

    Attributes:
        everywhere: thoughts of all rows; None where no map is drawn of them.
        posterior: of those that are looked at.
        longer: of the same after `LONGER` times as many fast steps.
        use, quality: of thoughts and guide.
    """

    everywhere: Posterior | None
    posterior: Posterior
    longer: Posterior
    use: ThoughtUse | None
    quality: GuideQuality | None
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        figures: of `evaluate`.
        inspected: a closer look at some rows, if there was one.
        texts: written from the prior; from each prompt.
        seconds: spent, by what on.
    """

    figures: Report
    inspected: Inspected | None
    texts: Sequence[Generation]
    seconds: Mapping[str, float]


def choose(rows: StoredRows, most: int, seed: int) -> Tensor:
    """Places of all rows, or of those of documents chosen by lot, `most` rows at the most.

    A document is taken whole, the first of them even if it alone has more rows.
    """
    if len(rows) <= most:
        return torch.arange(len(rows))
    numbers, sizes = rows.document.unique(return_counts=True)
    order = torch.randperm(len(numbers), generator=generator(seed, Stream.REPORTED))
    fits = sizes[order].cumsum(0) <= most
    fits[0] = True
    return torch.isin(rows.document, numbers[order[fits]]).nonzero()[:, 0]


def measure(
    run: Run, rows: Rows, asked: Asked, note: Callable[[str], Any], alone: bool = True
) -> Measured:
    """Measure a run on some rows; a note says what is done before it takes its time.

    Of one that stands alone, also the texts it writes and the thoughts of all rows.

    Raises:
        InputError: for a figure that is unknown, or cannot be had of this run, or for no rows.
    """
    spent: dict[str, float] = {}
    written = []
    fast = asked.fast(run)
    if alone and asked.texts:
        with _clock(spent, "texts"):
            for prompt in (None, *asked.prompts):
                note(f"{run.path}: writing {asked.texts} texts")
                written.append(
                    generate(
                        run.model, run.tokenizer, prompt, asked.texts, guide=run.guide, fast=fast,
                        seed=asked.seed,
                    )
                )  # fmt: skip
    bounds = usual(run.model, rows) if asked.bounds is None else asked.bounds
    note(f"{run.path}: scoring {len(rows):,} rows, {', '.join(bounds)}")
    with _clock(spent, "figures"):
        figures = evaluate(
            run.model, rows, bounds, guide=run.guide, fast=fast, baseline=run.baseline,
            seed=asked.seed, chunk=asked.chunk, progress=asked.progress,
        )  # fmt: skip
    look = None
    if asked.inspected:
        with _clock(spent, "diagnostics"):
            look = _inspect(run, rows, asked, fast, note, alone)
    return Measured(figures, look, written, spent)


def _inspect(
    run: Run, rows: Rows, asked: Asked, fast: Fast, note: Callable[[str], Any], alone: bool
) -> Inspected:
    order = torch.randperm(len(rows), generator=generator(asked.seed, Stream.INSPECTED))
    some = rows[order[: asked.inspected].sort().values]
    every = f"fitting thoughts of {len(rows):,} rows, " if alone else ""
    note(f"{run.path}: {every}a closer look at {len(some)}")

    def fitted(rows: Rows, steps: int) -> Posterior:
        loop = dataclasses.replace(fast, steps=steps)
        return infer(run.model, rows, run.guide, loop, asked.seed, asked.chunk)

    own, longer = fitted(some, fast.steps), fitted(some, LONGER * fast.steps)
    missing: dict[str, str] = {}
    use = quality = None
    thoughts = run.config.thoughts
    draws = max(4, min(16, ROOM // (len(some) ** 2 * thoughts.count * thoughts.dim)))
    with _told(missing, "thought use"):
        use = thought_use(own, draws, longer, run.baseline, asked.seed)
    with _told(missing, "guide quality"):
        quality = guide_quality(own, DRAWS, asked.seed)
    everywhere = fitted(rows, fast.steps) if alone else None
    return Inspected(everywhere, own, longer, use, quality, missing)


@contextmanager
def _clock(spent: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    spent[name] = time.perf_counter() - start


@contextmanager
def _told(missing: dict[str, str], name: str) -> Iterator[None]:
    """What a model or guide does not allow is told in the report instead."""
    try:
        yield
    except InputError as error:
        missing[name] = " ".join(str(error).split())
