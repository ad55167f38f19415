"""What training spends, of a model and of its control: tokens, FLOPs and seconds.

FLOPs are counted once for each shape of batch (`runs.control.iteration_flops`) and summed over the
batches that training had, which follow from the seed; of two batches of one shape the one with more
tokens costs more in the decoder's head alone, by as much for each token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ltm_pyro.config import Config, Fast
from ltm_pyro.data import Corpus, Rows
from ltm_pyro.guides import NoGuide
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models import TextModel
from ltm_pyro.models.autoregressive import Speaking
from ltm_pyro.runs.build import build_guide, build_model, covering_shared
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.runs.control import build_control, iteration_flops


@dataclass
class Cost:
    """FLOPs of iterations of training.

    Attributes:
        svi: the training; it is left as it is.
        counted: FLOPs of an iteration, and the tokens that it was counted with, by the shape of its
            batch.
        per_token: what another token that counts adds to a batch of the same shape.
    """

    svi: DualRateSVI
    counted: dict[tuple[int, ...], tuple[float, int]] = field(default_factory=dict)
    per_token: float | None = None

    def of(self, rows: Rows) -> float:
        """FLOPs of an iteration on these rows."""
        shape, tokens = self._shape(rows), rows.token_count
        if shape not in self.counted:
            self.counted[shape] = (iteration_flops(self.svi, rows), tokens)
        flops, before = self.counted[shape]
        if tokens == before:
            return flops
        if self.per_token is None:
            self.per_token = (iteration_flops(self.svi, rows) - flops) / (tokens - before)
        return flops + (tokens - before) * self.per_token

    def _shape(self, rows: Rows) -> tuple[int, ...]:
        """Rows and longest of them, of each part that a step handles at once."""
        size = max(1, -(-len(rows) // self.svi.slow.accumulate))
        return tuple(n for one in rows.split(size) for n in (len(one), int(one.lengths.max())))


class Spending:
    """What a configuration spends on a text.

    Args:
        config: of the run.
        corpus: its text.
        model, guide, control: of the run.
    """

    work: float
    """FLOPs of a cell, looks and scores included, roughly."""

    def __init__(
        self, config: Config, corpus: Corpus, model: TextModel, guide: MakeGuide, control: TextModel
    ):
        self.config, self.corpus = config, corpus
        self.thinking = Cost(
            DualRateSVI(model, guide, config.fast, config.slow, config.objective, warm=config.warm)
        )
        self.speaking = Cost(DualRateSVI(Speaking(model), NoGuide, Fast(steps=0), config.slow))
        self.control = Cost(DualRateSVI(control, NoGuide, slow=config.slow))

    @classmethod
    def of(
        cls, config: Config, corpus: Corpus, rows: int, steps: int, device: str = "cpu"
    ) -> "Spending":
        """Of a run that is not trained yet, and is scored on some rows with so many fast steps."""
        model = build_model(config).to(device)
        guide = build_guide(config.guide, model, config.training.seed)
        guide = covering_shared(config.guide, guide, model, corpus.train[:2].to(device))
        made = cls(config, corpus, model, guide, build_control(config, model).to(device))
        training, batch = config.training, made.batch(0)
        each, spoken = made.thinking.of(batch), round(training.speak * training.steps)
        looks = training.steps / training.check_every * training.check_rows / training.batch
        scored = rows / training.batch * (1 + steps / (1 + config.fast.steps))
        made.work = (
            (training.steps - spoken) * (each + made.control.of(batch) * made.passes)
            + spoken * made.speaking.of(batch) + (looks + scored) * each
        )  # fmt: skip
        return made

    @property
    def passes(self) -> float:
        """Batches that the control sees for one of the model's, once that thinks."""
        if self.config.training.control != "flops":
            return 1.0
        rows = self.batch(0)
        return max(1.0, self.thinking.of(rows) / self.control.of(rows))

    def batch(self, step: int) -> Rows:
        """The batch of an iteration, from 0."""
        training = self.config.training
        return self.corpus.train.batch(step, training.batch, training.seed)

    def trial(self) -> None:
        """Two iterations of the model, and of its control."""
        for cost in (self.thinking, self.control):
            if cost.svi.warm is not None:
                cost.svi.remember(self.corpus.train)
            cost.svi.documents = len(self.corpus.train)
            for step in range(2):
                cost.svi.step(self.batch(step))

    @property
    def trial_work(self) -> float:
        """FLOPs of the trial."""
        return sum(c.of(self.batch(step)) for c in (self.thinking, self.control) for step in (0, 1))

    def until(self, looks: Sequence[int]) -> list[dict[str, float]]:
        """Tokens and FLOPs of training until each of some iterations, in rising order.

        `control_tokens` and `control_flops` are its own; while it follows the decoder that speaks
        they are that decoder's.
        """
        training = self.config.training
        spoken = round(training.speak * training.steps)
        spent = dict.fromkeys(("tokens", "flops", "control_tokens", "control_flops"), 0.0)
        passes, own, found = self.passes, 0, []
        follows = training.control != "parameters"
        for step in range(max(looks, default=0)):
            rows = self.batch(step)
            speaks = step < spoken
            flops = (self.speaking if speaks else self.thinking).of(rows)
            spent["tokens"] += rows.token_count
            spent["flops"] += flops
            if speaks and follows:
                spent["control_tokens"] += rows.token_count
                spent["control_flops"] += flops
                own = step + 1
            else:
                thought = min(spoken, step + 1)
                due = thought + int(passes * (step + 1 - thought))
                for i in range(own, due):
                    batch = rows if i == step else self.batch(i)
                    spent["control_tokens"] += batch.token_count
                    spent["control_flops"] += self.control.of(batch)
                own = due
            if step + 1 in looks:
                found.append(dict(spent))
        return found


def spent_at_looks(
    run: Run, corpus: Corpus, looks: Sequence[dict[str, Any]]
) -> list[dict[str, float]]:
    """Of each look of a finished run: its step, tokens, FLOPs and seconds, and the control's."""
    assert run.baseline is not None
    spending = Spending(run.config, corpus, run.model, run.guide, run.baseline)
    found = spending.until([int(look["step"]) for look in looks])
    return [
        {
            "step": look["step"], **one,
            **{name: look.get(name, float("nan")) for name in ("model_seconds", "control_seconds")},
        }
        for look, one in zip(looks, found, strict=True)
    ]  # fmt: skip
