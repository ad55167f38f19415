"""One call from a model and rows to a table of figures."""

import dataclasses
import inspect
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import torch

from ltm_pyro import __version__
from ltm_pyro.bounds.estimate import BOUNDS, WITH_SHARED, Estimate, Estimator, Task
from ltm_pyro.bounds.fingerprint import fingerprint
from ltm_pyro.bounds.gathering import by_document, figure_of, of_shared, text_of
from ltm_pyro.bounds.kept import Kept
from ltm_pyro.bounds.repetition import repeated_rows, rounds
from ltm_pyro.bounds.report import Report
from ltm_pyro.config import Fast
from ltm_pyro.data.given import rows_of
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.display.progress import bar as progress_bar
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.checks import check_model, with_gradients
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.inference.world import ALONE, World
from ltm_pyro.models import TextModel
from ltm_pyro.models.priors import Prior
from ltm_pyro.options import Count, Whole, checked, taken
from ltm_pyro.programs.elbo import check_weights
from ltm_pyro.programs.proper import check_prior_proper
from ltm_pyro.programs.reading import Sites, known_of, warn_of_cut_documents
from ltm_pyro.seeds import Stream, derive

Scored = dict[str, list[tuple[Estimate, float]]]
"""The estimates of each figure, chunk by chunk, with their seconds."""


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
    repeat: Whole = 64,
    progress: bool = True,
    tokenizer: Tokenizer | None = None,
    keep: str | Path | None = None,
    world: World = ALONE,
) -> Report:
    """Score rows of text under a model, each figure with its protocol and its errors.

    Args:
        model: what is scored.
        rows: the text: rows of a corpus, or texts as they are, with their `tokenizer`.
        bounds: names of figures, `name` or `name:number` (`elbo:64` takes 64 draws); see `BOUNDS`.
        guide: the guide class whose fit the bounds use. Nothing is known here of the one that the
            model was trained with (a run's is `run.guide`, of `DualRateSVI` `svi.guide`): each
            figure's protocol says which guide and loop made it.
        fast: the fast loop that fits it (`run.config.fast`, `svi.fast`).
        baseline: a decoder without latents to score on the same rows, exactly.
        seed: where every draw comes from.
        chunk: rows handled at once; bounds the memory.
        repeat: at most so many rows, chosen by lot, are fitted and scored once more (few rows more
            often) to learn what a repetition would give: the figures' Monte Carlo error. With 0
            that error is of the draws alone, the fit given, and too small where a bound is loose;
            of a model with sites that all documents share both errors are, for these move the
            fits of all documents alike.
        progress: whether to show a progress bar.
        tokenizer: the model's, for texts.
        keep: a folder for what is found, as it is found: the same call goes on after a kill.
            `parts/` has a Parquet file for each figure and chunk, `documents.parquet` in the end
            the nats of each document.
        world: processes that score parts of the rows, all called with the same arguments, each of
            which is given the whole report (`ltm_pyro.inference.processes.here`).

    Raises:
        InputError: for an unknown figure or a bad number, if there are no rows, for a prior or a
            guide without a density on the reals, for a bound that says that text is more probable
            than certain, or if `keep` holds another evaluation.
        NotFinite: for weights that are not, or a figure that becomes so.

    Example:
        >>> import torch
        >>> import ltm_pyro as ltm
        >>> from ltm_pyro.config import Thoughts
        >>> from ltm_pyro.models import LinearGaussianModel
        >>> from ltm_pyro.programs.densities import simulate
        >>> model = LinearGaussianModel(Thoughts(1, 1, 3), torch.eye(3), scale=1.0)
        >>> rows, _ = simulate(model, torch.full((50,), 3))
        >>> report = ltm.evaluate(model, rows, ["elbo", "prior"], progress=False)
        >>> report["elbo"].is_bound, report["elbo"].nats.shape
        (True, (50,))
        >>> gain, error = report.difference("prior", "elbo")
        >>> gain > 2 * error
        True
    """
    check_model(model)
    rows = rows_of(rows, model, tokenizer)
    check_weights(model, baseline)
    wanted = _wanted(bounds)
    if baseline is not None:
        wanted.setdefault("baseline", (BOUNDS["baseline"], ()))
    check_prior_proper(model, rows[:1])
    sites = Sites.of(model, rows)
    observed, shared = tuple(sites.of_kind("observed")), list(sites.of_kind("shared"))
    for name, (estimator, _) in wanted.items() if shared else ():
        if estimator.__name__ not in WITH_SHARED:
            raise InputError(
                f"{name}: the model samples {', '.join(shared)} once for all documents, and this "
                f"figure has no draws of their guide: choose of {', '.join(WITH_SHARED)}"
            )
    warn_of_cut_documents(sites, rows, type(model).__name__)
    text, whole = text_of(rows), None if keep is None else fingerprint(rows)
    rows = rows[torch.argsort(rows.lengths, stable=True)]  # rows of like length together
    chosen = repeated_rows(len(rows), repeat, seed)
    times = rounds(len(chosen), bool(shared))
    device = next(model.parameters()).device
    parts = list(rows.to(device).split(chunk))
    again = list(rows[chosen].to(device).split(chunk)) if times else []
    kept = None if keep is None else Kept(keep, {
        "model": fingerprint(model), "baseline": fingerprint(baseline),
        "text": whole,
        "figures": {name: [one.__name__, *number] for name, (one, number) in wanted.items()},
        "guide": f"{_name(guide)} {fingerprint(guide)}", "fast": fingerprint(fast or Fast()),
        "seed": seed, "chunk": chunk, "repeat": repeat, "version": __version__,
    })  # fmt: skip
    said: dict[str, str] = {}
    steps = (len(parts) + times * len(again)) * len(wanted) // world.size
    with progress_bar(None, "scoring", total=steps, unit="part", shown=progress) as bar:

        def score(labels: Collection[str], parts: list[Rows], seed: int, turn: int = 0) -> Scored:
            own: dict[tuple[str, int], tuple[Estimate, float]] = {}
            for number in world.take(len(parts)):
                part = parts[number]
                task = Task(model, part, guide, fast or Fast(), seed, baseline, progress, said)
                for label in labels:
                    bar.set_postfix_str(label)
                    estimator, numbers = wanted[label]
                    known = None if kept is None else kept.read(turn, number, label)
                    estimate, seconds = known or _timed(estimator, task, numbers)
                    if kept is not None and known is None:
                        kept.write(turn, number, label, part, (estimate, seconds))
                    own[label, number] = (estimate.cpu(), seconds)
                    bar.update()
            found = {place: one for some in world.gather(own) for place, one in some.items()}
            return {label: [found[label, i] for i in range(len(parts))] for label in labels}

        first = score(wanted, parts, derive(seed, Stream.TASK))
        # What is exact, or no bound, has no error that repetitions would show.
        drawn = [n for n, ((one, _), *_) in first.items() if one.draws and one.is_bound]
        repeated = [score(drawn, again, derive(seed, Stream.REPETITION, i), i + 1)
                    for i in range(times)]  # fmt: skip
    known: dict[str, int] = {}
    if observed != ("tokens",):
        seen = [known_of(model, part) for part in parts]
        known = {
            site: int((by_document(torch.cat([one[site] for one in seen]), rows) > 0).sum())
            for site in seen[0]
        }
    figures = {}
    prior = getattr(model, "prior", None)
    constant = prior.constant_error() if isinstance(prior, Prior) else 0.0
    for label, found in first.items():
        estimates = [one for one, _ in found]
        others = [[one for one, _ in each[label]] for each in repeated if label in each]
        seconds = sum(spent for _, spent in found)
        of = estimates[0].observed or observed
        figure = figure_of(label, estimates, others, chosen, rows, seconds, of)
        if estimates[0].holds_prior_density and constant:
            figure = dataclasses.replace(figure, constant_error=constant * len(rows))
        if shared and label != "baseline":
            figure = of_shared(figure, estimates, others, chosen, shared)
        figures[label] = dataclasses.replace(figure, known=known, text=text)
    if kept is not None and world.first:
        one = next(iter(figures.values()))
        nats = {label: figure.nats for label, figure in figures.items()}
        kept.finish({
            "document": rows.document.unique().cpu().numpy(), "tokens": one.tokens,
            "bytes": one.bytes, **nats,
        })  # fmt: skip
    return Report(figures)


def usual(model: TextModel, rows: AnyRows) -> tuple[str, ...]:
    """What a model is scored by where nothing else is asked for: `elbo` and `prior`.

    Of one with sites that all documents share, those of the two that it may be asked for.
    """
    shared = Sites.of(model, rows).of_kind("shared")
    return tuple(name for name in ("elbo", "prior") if not shared or name in WITH_SHARED)


def _name(guide: MakeGuide) -> str:
    """Of a guide class, or of the class that makes it."""
    return getattr(getattr(guide, "func", guide), "__name__", type(guide).__name__)


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
            raise InputError(f"bound {text!r}: after the colon stands a whole number, 1 or more")
        label = name if names.count(name) == 1 else text
        wanted[label] = (BOUNDS[name], (int(number),) if colon else ())
    return wanted
