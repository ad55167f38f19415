"""What every estimator is given, and what it gives back."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import Guide
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.inference.posterior import Posterior, infer, with_density
from ltm_pyro.models import TextModel
from ltm_pyro.models.priors import Prior

E = TypeVar("E", bound=Callable[..., Any])


@dataclass(frozen=True)
class Estimate:
    """An estimate of -log p(x) for each row of a chunk.

    Attributes:
        nats: shape (rows,).
        protocol: in words, how it was made.
        draws: draws of z for each row.
        variance: of `nats` over those draws, the fit given, shape (rows,), if it is known.
        parts: named parts that `nats` is the sum of, shape (rows,) each.
        is_bound: whether the expectation of `nats` is at least -log p(x); for `predictive`, whose
            p(x) is that of the left-to-right predictor, whether it is a code length.
        holds_prior_density: whether log p(z) stands in it, and so the error of that density's
            constant, if it has one.
        values: of each draw, (draws, rows), where `nats` is their mean.
        log_weights: of the draws, (draws, rows), where `nats` is -log of the mean of weights.
        shared_weights: log weights of draws that all rows share, (draws, rows), where -log of their
            mean is a part of `nats`: its error does not average out over rows.
        row_perplexities: whether the mean over rows of each one's perplexity is to be told too,
            which is no corpus's perplexity but what the released code reports.
        observed: the sites that `nats` is of; all that the model observes if None.
    """

    nats: Tensor
    protocol: str
    draws: int = 0
    variance: Tensor | None = None
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    is_bound: bool = True
    holds_prior_density: bool = True
    values: Tensor | None = None
    log_weights: Tensor | None = None
    shared_weights: Tensor | None = None
    row_perplexities: bool = False
    observed: tuple[str, ...] | None = None

    def cpu(self) -> "Estimate":
        """The same, on the CPU."""
        held = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        moved: dict[str, Any] = {
            name: one.cpu() for name, one in held.items() if isinstance(one, Tensor)
        }
        parts = {name: part.cpu() for name, part in self.parts.items()}
        return dataclasses.replace(self, **moved, parts=parts)


Estimator = Callable[..., Estimate]
"""From a `Task` to an `Estimate`; a second argument is the number behind the figure's name."""

BOUNDS: dict[str, Estimator] = {}
"""The figures there are, by name."""
WITH_SHARED: list[str] = []
"""Those of them that models with sites shared by all documents may be asked for."""


def figure(estimator: E) -> E:
    """Make an estimator a figure that `evaluate` knows by the function's name."""
    BOUNDS[estimator.__name__] = estimator
    return estimator


def with_shared(estimator: E) -> E:
    """Say of a figure that models with sites shared by all documents may be asked for it."""
    WITH_SHARED.append(estimator.__name__)
    return estimator


@dataclass
class Task:
    """A chunk of rows to score under a model.

    The guide is fitted when the first estimator asks for `posterior`, and shared by the others.
    `said` is what a protocol says of all chunks alike, found once.
    """

    model: TextModel
    rows: Rows
    guide: MakeGuide
    fast: Fast
    seed: int
    baseline: TextModel | None = None
    progress: bool = False
    said: dict[str, str] = field(default_factory=dict)
    fit_seconds: float = 0.0
    asked: bool = False
    _posterior: Posterior | None = None

    @property
    def posterior(self) -> Posterior:
        """q(z | x) of the chunk, fitted under `fast`."""
        self.asked = True
        if self._posterior is None:
            start = time.perf_counter()
            self._posterior = infer(
                self.model, self.rows, self.guide, self.fast, self.seed, len(self.rows)
            )
            self.fit_seconds = time.perf_counter() - start
        return self._posterior

    @property
    def how(self) -> str:
        """The guide and the loop that fits it; see `how`."""
        return how(self.guide, self.fast)

    def fitted(self) -> tuple[Guide, Rows]:
        """The chunk's fitted guide, and its rows.

        Raises:
            InputError: if the guide has no density, so that no bound can be made of it.
        """
        guide, rows = self.posterior.chunks[0]
        return with_density(guide, rows), rows


def how(guide: MakeGuide, fast: Fast) -> str:
    """A guide and the loop that fits it, in words: "MeanField, 16 fast steps of Adam at 0.3".

    With the draws a step, where they are more than one.
    """
    cls: Any = getattr(guide, "func", guide)
    bound = getattr(guide, "keywords", {})
    options = [f"{k}={v}" for k, v in bound.items() if isinstance(v, int | float | str | bool)]
    name = getattr(cls, "__name__", str(cls)) + (f"({', '.join(options)})" if options else "")
    named = fast.optimizer
    optimizer = named if isinstance(named, str) else getattr(named, "__name__", str(named))
    fit = f"{fast.steps} fast steps of {optimizer} at {fast.lr:g}"
    pairs = " in pairs" if fast.antithetic else ""
    fit += f" by {fast.particles} draws each{pairs}" if fast.particles > 1 else ""
    return f"{name}, {fit}" if fast.steps else f"{name}, no fast steps"


def constant_of(model: TextModel) -> tuple[float, float]:
    """What the constant in a prior's density leaves open, nats for each row.

    (how far apart its two ends are, the standard error of the worse one); (0, 0) where it is known.
    """
    prior = getattr(model, "prior", None)
    if not isinstance(prior, Prior):
        return 0.0, 0.0
    gap, error = prior.constant_gap()
    return gap, max(error, prior.constant_error())
