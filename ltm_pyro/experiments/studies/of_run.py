"""What studies of a trained run have in common."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import tyro
from tyro.conf import Positional

from ltm_pyro.config import Fast
from ltm_pyro.experiments.studies.base import Study
from ltm_pyro.options import Whole
from ltm_pyro.runs.checkpoint import CHECKPOINTS, Run, load
from ltm_pyro.runs.manifest import Seal


@dataclass(frozen=True, kw_only=True)
class OfRun(Study):
    """Options of a study of one run, and the run."""

    run_folder: Positional[Annotated[str, tyro.conf.arg(metavar="RUN")]]
    """Folder of a run."""
    checkpoint: Literal["best", "last"] = "last"
    """The last weights, or those of the look with the lowest held-out bound."""
    fast_steps: Annotated[Whole | None, tyro.conf.arg(name="fast.steps")] = None
    """Fast steps for each document (default: as in training)."""
    seed: Whole = 0
    """Every draw follows from it."""
    device: str = "cpu"
    """Where it is computed: cpu, cuda, cuda:1."""
    trust: bool = False
    """Import classes outside ltm_pyro that the run names, and read its text wherever it lies."""

    ELSEWHERE: ClassVar[frozenset[str]] = Study.ELSEWHERE | {"device", "trust", "run_folder"}

    @cached_property
    def loaded(self) -> Run:
        """The run."""
        return load(self.run_folder, self.checkpoint, self.trust, self.device)

    @property
    def fast(self) -> Fast:
        """The fast loop that the run was trained with, with the steps that were asked for."""
        fast = self.loaded.config.fast
        return fast if self.fast_steps is None else dataclasses.replace(fast, steps=self.fast_steps)

    def follows(self) -> dict[str, Any]:
        """The run's weights: where its folder lies does not matter."""
        weights = self.loaded.path / CHECKPOINTS[self.checkpoint]
        return {"weights": Seal.of(weights.read_bytes()).sha256, "iteration": self.loaded.step}
