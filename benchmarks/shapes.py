"""What is measured: a configuration, and how much of everything fits into the time."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.plain import PlainDecoder, PlainTraining
from ltm_pyro.config import Architecture, Config, Fast, Slow, Thoughts, Warm
from ltm_pyro.data.rows import Rows
from ltm_pyro.experiments.base import DEVICE, LTM_S, SMALL
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.seeds import generator, seeded

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Shape:
    """A configuration, `batch` full rows of `tokens`, and how often iterations are repeated.

    Before the `repeats` that count come `warm` others. `lengths` are the row lengths of the length
    exponent, `generated` the tokens of a generation; `memory` is the (rows, tokens) whose peak
    memory is measured, `target` the bound (nats per token) of `time_to_bound`, `seeds` its runs.
    """

    name: str
    config: Config
    batch: int
    tokens: int
    repeats: int
    warm: int
    lengths: tuple[int, ...]
    generated: int
    memory: tuple[int, int]
    target: float
    seeds: int

    @property
    def fast(self) -> Fast:
        """The fast loop of the exact iteration."""
        return self.config.fast

    def rows(self, batch: int | None = None, tokens: int | None = None, seed: int = 0) -> Rows:
        """Full rows of random tokens; times do not depend on what they say."""
        shape = (batch or self.batch, tokens or self.tokens)
        vocabulary = self.config.architecture.vocabulary
        found = torch.randint(vocabulary, shape, generator=generator(seed))
        lengths = torch.full(shape[:1], shape[1])
        return Rows(found, lengths, torch.arange(shape[0]), 4 * lengths)

    def model(self, length: int | None = None, seed: int = 0) -> LatentThoughtModel:
        """A new model, the same for the same seed."""
        length = length or max(self.tokens, self.generated, self.memory[1])
        architecture = dataclasses.replace(self.config.architecture, length=length)
        with seeded(seed):
            return LatentThoughtModel(self.config.replace(architecture=architecture)).to(DEVICE)

    def ours(
        self, fast: Fast | None = None, slow: Slow | None = None, warm: Warm | None = None
    ) -> DualRateSVI:
        """The library's training of `model()`."""
        fast, slow = fast or self.fast, slow or self.config.slow
        return DualRateSVI(self.model(), fast=fast, slow=slow, warm=warm)

    def plain(self) -> PlainTraining:
        """The yardstick's training of the same weights."""
        return plain_like(self.model(), self.fast, self.config.slow)


def plain_like(model: LatentThoughtModel, fast: Fast, slow: Slow) -> PlainTraining:
    """The yardstick with a model's weights."""
    decoder = PlainDecoder(model.config)
    decoder.load_state_dict(model.decoder.state_dict())
    return PlainTraining(decoder.to(DEVICE), fast, slow, model.thoughts.shape)


def to_ours(plain: PlainDecoder, model: LatentThoughtModel) -> LatentThoughtModel:
    """Gives a model the yardstick's weights."""
    state: dict[str, Tensor] = plain.state_dict()
    model.decoder.load_state_dict(state)
    return model


SHAPES = {
    "tiny": Shape(
        "tiny",
        Config(
            Architecture(60, 0, 16, window=4, layers=2, width=16, heads=2, feedforward=24),
            Thoughts(2, 2, 4),
            fast=Fast(steps=2),
        ),
        batch=2, tokens=12, repeats=1, warm=0, lengths=(8, 16), generated=12, memory=(2, 12),
        target=3.4, seeds=1,
    ),
    "small": Shape(
        "small",
        SMALL.replace(slow=Slow()),
        batch=4, tokens=128, repeats=3, warm=0, lengths=(1024, 2048, 4096, 8192), generated=1024,
        memory=(8, 256), target=3.1, seeds=1,
    ),
    "ltm-s": Shape(
        "ltm-s",
        LTM_S,
        batch=2, tokens=256, repeats=3, warm=1, lengths=(1024, 2048, 4096, 8192), generated=1024,
        memory=(8, 1024), target=2.98, seeds=3,
    ),
}  # fmt: skip
"""`tiny` is for tests, `small` takes under a minute, `ltm-s` is the paper's LTM-S."""
