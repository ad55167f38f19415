"""Speak, then think: a decoder learns to speak alone before thoughts are grown on it."""

from typing import Any

from ltm_pyro.config import Fast
from ltm_pyro.config.run import UpToOne
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.guides.base import NoGuide
from ltm_pyro.inference.dual_rate import DualRateSVI
from ltm_pyro.inference.history import StepReport
from ltm_pyro.models.autoregressive import Speaking
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import Count, Whole, taken
from ltm_pyro.seeds import Stream, seeded


class SpeakThenThink(DualRateSVI):
    """Dual-rate inference whose decoder learns without thoughts for the first share of training.

    A decoder that learns under thoughts that mean nothing yet learns to speak under noise, which
    costs it more than it is told. Here what reads z is silent at first (`Decoder.silence`): p(x) is
    the decoder's own for every z, and an iteration costs one pass. Then both learn, from the
    optimizer's state as it stands; the rise of the KL's weight begins there.

    Args:
        model: as for `DualRateSVI`.
        speak: the share of iterations before thoughts are grown.
        rest: as for `DualRateSVI`.

    Attributes:
        spoken: iterations so far in which the decoder learned alone.
    """

    def __init__(self, model: TextModel, *rest: Any, speak: float = 0.0, **more: Any):
        super().__init__(model, *rest, **more)
        self.speak, self.spoken = taken("speak", speak, UpToOne), 0
        self._alone: DualRateSVI | None = None

    @property
    def speaking(self) -> bool:
        """Whether the decoder has learned alone so far."""
        return self.spoken == self.done and self.speak > 0

    def step(self, batch: Rows, total: Count | None = None) -> StepReport:
        """One iteration on a batch, of `total`; see `DualRateSVI.step`."""
        if not self.speaking:
            return super().step(batch, total)
        if total is None:
            raise InputError(
                f"speak is {self.speak:g}, a share of training: say step(batch, total) of how many"
            )
        if self.done == 0:
            silence(self.model, self.seed)
        if self.done >= round(self.speak * total):
            return super().step(batch, total)
        alone = self._speaker()
        alone.done = self.done
        report = alone.step(batch, total)
        self.done = self.spoken = alone.done
        return report

    def kl_weight(self, total: int | None) -> float:
        """The KL's weight in the next step, of `total`."""
        left = None if total is None else total - self.spoken
        return self.objective.weight(self.done - self.spoken, left)

    def _speaker(self) -> DualRateSVI:
        """The training of the decoder alone, by the same optimizer."""
        if self._alone is None:
            self._alone = DualRateSVI(
                Speaking(self.model), NoGuide, Fast(steps=0), self.slow, seed=self.seed,
                world=self.world,
            )  # fmt: skip
            self._alone.slowly = self.slowly
        return self._alone

    def state_dict(self) -> dict[str, Any]:
        """Everything but the model's weights that the next step depends on."""
        return {**super().state_dict(), "spoken": self.spoken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        super().load_state_dict(state)
        self.spoken = taken("spoken", state.get("spoken", 0), Whole)


def silence(model: TextModel, seed: int) -> None:
    """Let a model begin where its thoughts are not heard; see `Decoder.silence`."""
    with seeded(seed, Stream.GROWN):
        model.decoder.silence()
