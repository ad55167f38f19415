"""One call from a model and rows to a table of figures."""

import hashlib
import inspect
import time
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ltm_pyro.bounds.estimate import BOUNDS, Estimate, Estimator, Task
from ltm_pyro.bounds.report import Array, Figure, Report
from ltm_pyro.config import Fast
from ltm_pyro.data.given import rows_of
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.checks import check_model, with_gradients
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models import TextModel
from ltm_pyro.options import Count, Whole, checked, taken
from ltm_pyro.programs.elbo import check_weights
from ltm_pyro.seeds import Stream, derive


@checked
@with_gradients
def evaluate(
    model: TextModel,
    rows: AnyRows | Sequence[str] | str,
    bounds: Iterable[str] = ("elbo", "prior"),
    *,
    guide: MakeGuide = MeanField,
    fast: Fast | None = None,
    baseline: TextModel | None = None,
    seed: Whole = 0,
    chunk: Count = 64,
    progress: bool = True,
    tokenizer: Tokenizer | None = None,
) -> Report:
    """Score rows of text under a model, each figure with its protocol and its errors.

    Args:
        model: what is scored.
        rows: the text: rows of a corpus, or texts as they are, with their `tokenizer`.
        bounds: names of figures, `name` or `name:number` (`elbo:64` takes 64 draws); see `BOUNDS`.
        guide: the guide class whose fit the bounds use.
        fast: the fast loop that fits it.
        baseline: a decoder without latents to score on the same rows, exactly.
        seed: where every draw comes from.
        chunk: rows handled at once; bounds the memory.
        progress: whether to show a progress bar.
        tokenizer: the model's, for texts.

    Raises:
        InputError: for an unknown figure or a bad number, or if there are no rows.
        NotFinite: for weights that are not, or a figure that becomes so.
    """
    rows = rows_of(rows, model, tokenizer)
    check_weights(model, baseline)
    wanted = _wanted(bounds)
    check_model(model)
    if baseline is not None:
        wanted.setdefault("baseline", (BOUNDS["baseline"], ()))
    estimates: dict[str, list[Estimate]] = {label: [] for label in wanted}
    seconds = dict.fromkeys(estimates, 0.0)
    fast = fast or Fast()
    parts = list(rows.to(next(model.parameters()).device).split(chunk))
    with tqdm(total=len(parts) * len(wanted), desc="scoring", disable=not progress) as bar:
        for part in parts:
            task = Task(model, part, guide, fast, derive(seed, Stream.TASK), baseline, progress)
            for label, (estimator, numbers) in wanted.items():
                bar.set_postfix_str(label)
                estimate, spent = _timed(estimator, task, numbers)
                estimates[label].append(estimate)
                seconds[label] += spent
                bar.update()
    return Report(
        {label: _figure(label, estimates[label], rows, seconds[label]) for label in wanted}
    )


def by_document(values: Tensor, rows: Rows) -> Array:
    """Sum a value of each row over the rows of each document, shape (documents,)."""
    _, place = torch.unique(rows.document.cpu(), return_inverse=True)
    sums = np.zeros(int(place.max()) + 1)
    np.add.at(sums, place.numpy(), values.detach().double().cpu().numpy())
    return sums


def _timed(estimator: Estimator, task: Task, numbers: tuple[int, ...]) -> tuple[Estimate, float]:
    """An estimate and its seconds; a fit shared with other estimators counts for each of them."""
    start, before, task.asked = time.perf_counter(), task.fit_seconds, False
    estimate = estimator(task, *numbers)
    spent = time.perf_counter() - start
    return estimate, spent + (before if task.asked else 0.0)


def _wanted(bounds: Iterable[str]) -> dict[str, tuple[Estimator, tuple[int, ...]]]:
    """Estimator and number of each figure, by its name (with its number where names repeat)."""
    bounds = bounds.split(",") if isinstance(bounds, str) else bounds
    texts = [text.strip() for text in taken("bounds", list(bounds), tuple[str, ...])]
    if not texts:
        raise InputError("bounds is empty: name at least one figure, such as elbo")
    names = [text.partition(":")[0] for text in texts]
    wanted: dict[str, tuple[Estimator, tuple[int, ...]]] = {}
    for text, name in zip(texts, names, strict=True):
        _, colon, number = text.partition(":")
        if name not in BOUNDS:
            raise unknown("bound", name, BOUNDS)
        if colon and len(inspect.signature(BOUNDS[name]).parameters) < 2:
            raise InputError(f"bound {text!r}: {name} takes no number")
        if colon and (not number.isdecimal() or int(number) < 1):
            raise InputError(f"bound {text!r}: after the colon stands a number, 1 or more")
        label = name if names.count(name) == 1 else text
        wanted[label] = (BOUNDS[name], (int(number),) if colon else ())
    return wanted


def _figure(name: str, estimates: list[Estimate], rows: Rows, seconds: float) -> Figure:
    def documents(values: Iterable[Tensor]) -> Array:
        return by_document(torch.cat(list(values)), rows)

    first = estimates[0]
    variances = [e.variance for e in estimates if e.variance is not None]
    return Figure(
        name=name,
        protocol=first.protocol,
        nats=documents(e.nats for e in estimates),
        tokens=by_document(rows.lengths, rows),
        bytes=by_document(rows.bytes, rows),
        is_bound=first.is_bound,
        parts={part: documents(e.parts[part] for e in estimates) for part in first.parts},
        monte_carlo_variance=documents(variances) if len(variances) == len(estimates) else None,
        draws=first.draws,
        seconds=seconds,
        text=hashlib.sha256(rows.key.cpu().numpy().tobytes()).hexdigest()[:16],
    )
