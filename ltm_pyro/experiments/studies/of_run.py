"""What studies of a trained run have in common."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from ltm_pyro.data import Corpus
from ltm_pyro.data.asked import FlatText, Text
from ltm_pyro.experiments.studies.base import Study
from ltm_pyro.runs.asked import AskedRun
from ltm_pyro.runs.checkpoint import CHECKPOINTS
from ltm_pyro.runs.manifest import Seal
from ltm_pyro.runs.training import load_data


@dataclass(frozen=True, kw_only=True)
class OfRun(AskedRun, Study):
    """Options of a study of one run, and the text that it is studied on."""

    text: FlatText = field(default_factory=Text)

    ELSEWHERE: ClassVar[frozenset[str]] = Study.ELSEWHERE | {"device", "trust", "run_folder"}

    @cached_property
    def corpus(self) -> Corpus:
        """The run's own text, or the one that is given, with the columns that are asked for."""
        run = self.loaded
        return load_data(run.config.replace(data=self.data_of(self.text)), run.tokenizer)

    def follows(self) -> dict[str, Any]:
        """The run's weights: where its folder lies does not matter."""
        weights = self.loaded.path / CHECKPOINTS[self.checkpoint]
        return {"weights": Seal.of(weights.read_bytes()).sha256, "iteration": self.loaded.step}
