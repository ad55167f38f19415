"""`ltm demo`."""

from dataclasses import dataclass
from pathlib import Path

from ltm_pyro.experiments.demo import demo
from ltm_pyro.options import Whole


@dataclass(frozen=True)
class Demo:
    """The whole job on the embedded corpus, in minutes: train, score, sample, plot."""

    out: Path = Path("demo-run")
    """Folder of the run (replaced if it holds a demo already)."""
    steps: Whole | None = None
    """Iterations."""
    seed: Whole = 0
    """Every draw follows from it."""

    def run(self) -> None:
        """Run the demo."""
        demo(self.out, self.steps, self.seed)
