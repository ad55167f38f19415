"""Which run a command is given, as options that several commands and studies share."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from ltm_pyro.config import Data, Fast
from ltm_pyro.data.asked import Text
from ltm_pyro.inference.processes import here
from ltm_pyro.options import Count, Whole
from ltm_pyro.runs.checkpoint import Run, load
from ltm_pyro.runs.trust import check_data


@dataclass(frozen=True, kw_only=True)
class AskedRun:
    """A run, the weights of it, and how it is computed with."""

    run_folder: Positional[Annotated[str, tyro.conf.arg(metavar="RUN")]]
    """Folder of a run, or the URL of a copy (ltm train --copy-to)."""
    checkpoint: Literal["best", "last"] = "last"
    """The last weights, or those of the look with the lowest held-out bound."""
    fast_steps: Annotated[Whole | None, tyro.conf.arg(name="fast.steps")] = None
    """Fast steps for each text (default: as in training)."""
    fast_particles: Annotated[Count | None, tyro.conf.arg(name="fast.particles")] = None
    """Draws of z a fast step (default: as in training); more fit a tighter bound."""
    fast_antithetic: Annotated[bool | None, tyro.conf.arg(name="fast.antithetic")] = None
    """Whether these draws come in pairs, whose errors cancel (default: as in training)."""
    seed: Whole = 0
    """Every draw follows from it."""
    device: str = "cpu"
    """Where it is computed: cpu, cuda, cuda:1."""
    trust: bool = False
    """Import classes outside ltm_pyro that the run names, and read its text wherever it lies."""

    @cached_property
    def loaded(self) -> Run:
        """The run."""
        device = here().device(self.device)
        return load(self.run_folder, self.checkpoint, self.trust, device)

    @property
    def fast(self) -> Fast:
        """Its own fast loop, with the steps and draws that were asked for."""
        return self.loop_of(self.loaded)

    def loop_of(self, run: Run) -> Fast:
        """A run's own fast loop, with the steps and draws that were asked for."""
        return run.config.fast.changed(self.fast_steps, self.fast_particles, self.fast_antithetic)

    def data_of(self, text: Text) -> Data:
        """The run's own text, or what is given over it.

        Raises:
            InputError: if the run would read what its user did not name.
        """
        run = self.loaded
        data = text.over(run.config.data)
        check_data(run.path, data, run.record, self.trust, text.typed())
        return data
