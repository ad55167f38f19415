"""One call from a model and rows to a table of figures."""

import dataclasses
import hashlib
import inspect
import math
import time
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ltm_pyro.bounds.estimate import BOUNDS, WITH_SHARED, Estimate, Estimator, Task
from ltm_pyro.bounds.figures import Figure
from ltm_pyro.bounds.repetition import over_repetitions, repeated_rows, rounds, shared_error
from ltm_pyro.bounds.report import Report
from ltm_pyro.bounds.tails import FEWEST, pareto_khat
from ltm_pyro.bounds.weights import Array, effective_sample_size
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
            that error is of the draws alone, the fit given, and too small where a bound is loose.
        progress: whether to show a progress bar.
        tokenizer: the model's, for texts.

    Raises:
        InputError: for an unknown figure or a bad number, if there are no rows, for a prior or a
            guide without a density on the reals, or for a bound that says that text is more
            probable than certain.
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
    chosen = repeated_rows(len(rows), repeat, seed)
    times = rounds(len(chosen))
    device = next(model.parameters()).device
    parts = list(rows.to(device).split(chunk))
    again = list(rows[chosen].to(device).split(chunk)) if times else []
    said: dict[str, str] = {}
    steps = (len(parts) + times * len(again)) * len(wanted)
    with progress_bar(None, "scoring", total=steps, unit="part", shown=progress) as bar:

        def score(labels: Iterable[str], parts: list[Rows], seed: int) -> Scored:
            found: Scored = {label: [] for label in labels}
            for part in parts:
                task = Task(model, part, guide, fast or Fast(), seed, baseline, progress, said)
                for label in found:
                    bar.set_postfix_str(label)
                    estimator, numbers = wanted[label]
                    found[label].append(_timed(estimator, task, numbers))
                    bar.update()
            return found

        first = score(wanted, parts, derive(seed, Stream.TASK))
        # What is exact, or no bound, has no error that repetitions would show.
        drawn = [n for n, ((one, _), *_) in first.items() if one.draws and one.is_bound]
        repeated = [score(drawn, again, derive(seed, Stream.REPETITION, i)) for i in range(times)]
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
        figure = _figure(label, estimates, others, chosen, rows, seconds, of)
        if estimates[0].holds_prior_density and constant:
            figure = dataclasses.replace(figure, constant_error=constant * len(rows))
        if shared and label != "baseline":
            figure = _of_shared(figure, estimates, others, chosen, shared)
        figures[label] = dataclasses.replace(figure, known=known)
    return Report(figures)


def usual(model: TextModel, rows: AnyRows) -> tuple[str, ...]:
    """What a model is scored by where nothing else is asked for: `elbo` and `prior`.

    Of one with sites that all documents share, those of the two that it may be asked for.
    """
    shared = Sites.of(model, rows).of_kind("shared")
    return tuple(name for name in ("elbo", "prior") if not shared or name in WITH_SHARED)


def _of_shared(
    figure: Figure,
    estimates: Sequence[Estimate],
    repetitions: list[list[Estimate]],
    chosen: Tensor,
    shared: list[str],
) -> Figure:
    """A figure that averages over the guide of shared sites, with the error that they add to it.

    Documents are scored with the same draws of them, so their errors go together: what the sums of
    repetitions vary by beyond the documents' own errors is one number for all.
    """
    told = f"{figure.protocol}; of new documents, averaged over q({', '.join(shared)})"
    error = figure.constant_error
    if repetitions and figure.monte_carlo_variance is not None:
        first = torch.cat([e.nats for e in estimates]).cpu()[chosen]
        again = [torch.cat([e.nats for e in one]).cpu() for one in repetitions]
        sums = torch.stack([first, *again]).double().sum(1)
        own = float(figure.monte_carlo_variance.mean()) * len(chosen)
        common = math.sqrt(max(0.0, float(sums.var()) - own)) / len(chosen)
        error = math.hypot(error, common * figure.documents)
    return dataclasses.replace(figure, protocol=told, constant_error=error)


def blocks_of(rows: Rows) -> Array | None:
    """Which block each document counts in, (documents,), where rows are windows of one stream.

    In the packed layout neighbouring windows share a document, and are alike. Blocks are of as many
    neighbours as there are blocks (batch means, Flegal & Jones 2010), with ten of them or more
    where there are windows enough, and of two at least.
    """
    number = len(rows.document.unique())
    if not rows.packed or number < 4:
        return None
    size = max(2, min(round(math.sqrt(number)), number // 10))
    return np.minimum(np.arange(number) // size, number // size - 1).astype(np.float64)


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


def _figure(
    name: str,
    estimates: Sequence[Estimate],
    repetitions: list[list[Estimate]],
    chosen: Tensor,
    rows: Rows,
    seconds: float,
    observed: tuple[str, ...],
) -> Figure:
    """A figure from its estimate of each chunk, and from repetitions for the chosen rows."""
    text = observed == ("tokens",)  # of other sites a density may be above one

    def documents(values: Iterable[Tensor]) -> Array:
        return by_document(torch.cat([value.cpu() for value in values]), rows)

    first = estimates[0]
    known = [e.variance for e in estimates if e.variance is not None]
    variance = torch.cat(known).cpu() if len(known) == len(estimates) else None
    freedom, khat, ess = math.inf, None, None
    if repetitions:
        again = torch.stack([torch.cat([e.nats for e in one]).cpu() for one in repetitions])
        once = torch.cat([e.nats for e in estimates]).cpu()
        variance, freedom = over_repetitions(once, again, chosen, variance)
    weights = [e.log_weights for e in estimates if e.log_weights is not None]
    if weights and len(weights[0]) > 1:
        log_w = torch.cat(weights, 1).double().cpu().numpy()
        ess = effective_sample_size(log_w)
        khat = pareto_khat(log_w) if len(log_w) >= FEWEST else None
    nats = documents(e.nats for e in estimates)
    if first.is_bound and text and not rows.tokens.is_floating_point():
        error = 0.0 if variance is None else math.sqrt(float(variance.sum()))
        if nats.sum() < -5 * error - 1e-4 * rows.token_count:
            raise InputError(
                f"{name} gives {nats.sum():.1f} nats for {len(nats)} documents, but -log p(x) of "
                "discrete text cannot be negative: what the prior or the guide calls a log density "
                "is none (ltm_pyro.testing.check_prior and check_guide find out)"
            )
    shared = [e.shared_weights for e in estimates if e.shared_weights is not None]
    mean_perplexity = None
    if first.row_perplexities:
        each = torch.cat([e.nats.cpu() for e in estimates]).double() / rows.lengths.cpu()
        mean_perplexity = float(each.exp().mean())
    return Figure(
        name=name,
        protocol=first.protocol,
        nats=nats,
        tokens=by_document(rows.lengths, rows),
        bytes=by_document(rows.bytes, rows),
        block=blocks_of(rows),
        is_bound=first.is_bound,
        parts={part: documents(e.parts[part] for e in estimates) for part in first.parts},
        monte_carlo_variance=None if variance is None else by_document(variance, rows),
        monte_carlo_freedom=freedom,
        shared_error=shared_error(torch.cat(shared, 1)) if shared else 0.0,
        repeated=len(chosen) if repetitions else 0,
        draws=first.draws,
        khat=khat,
        ess=ess,
        mean_perplexity=mean_perplexity,
        seconds=seconds,
        observed=observed,
        text=hashlib.sha256(rows.key.cpu().numpy().tobytes()).hexdigest()[:16],
    )
