"""The training of one run: the loop, a log, looks at held-out text, checkpoints."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ltm_pyro import files
from ltm_pyro.runs import checkpoint
from ltm_pyro.runs import folder
from ltm_pyro.runs.build import build_guide, build_model
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.runs.checks import check_corpus, check_guide, try_guide
from ltm_pyro.config import Config
from ltm_pyro.data import Corpus
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.guides import NoGuide
from ltm_pyro.runs.looks import BOUND, describe, held_out, look
from ltm_pyro.inference import DualRateSVI, StepReport, StopTraining
from ltm_pyro.inference.memory import Memory
from ltm_pyro.models import AutoregressiveModel
from ltm_pyro.seeds import seeded
from ltm_pyro.runs.signals import stop_signals


class Trainer:
    """One run in its folder, from its configuration and a corpus.

    `run()` trains to `config.training.steps`; what it needs to go on is saved every `save_every`
    iterations, at each look at held-out text that is the best so far, and at the end.

    Attributes:
        best: `step` of the look with the lowest held-out bound, and that bound in nats per token.
        saved: the iteration of the last checkpoint, or None.
    """

    def __init__(self, corpus: Corpus, config: Config, out: str | Path):
        check_corpus(corpus, config)
        self.corpus, self.config, self.out = corpus, config, Path(out)
        seed = config.training.seed
        model = build_model(config)
        guide = build_guide(config.guide, model, seed)
        check_guide(config, guide)
        try_guide(config, model, guide, corpus.train[:1])
        self.svi = DualRateSVI(
            model, guide, config.fast, config.slow, config.objective, seed,
            visit_steps=config.training.visit_steps,
        )  # fmt: skip
        self.baseline: DualRateSVI | None = None
        if config.training.baseline:
            with seeded(seed):
                plain = AutoregressiveModel(config)
            slow = dataclasses.replace(config.slow, local_lr=0.0)  # it has nothing local
            self.baseline = DualRateSVI(plain, NoGuide, slow=slow, seed=seed)
        self.best: dict[str, Any] | None = None
        self.saved: int | None = None
        self._resumed = False

    def resume(self) -> None:
        """Go on from the folder's last checkpoint; from the beginning if it was not that far yet.

        Raises:
            InputError: if it is damaged, or the text or the configuration are not those of the run.
        """
        _, record = folder.read_config(self.out)
        if record["data"]["fingerprint"] != self.corpus.fingerprint:
            raise InputError(
                f"{self.out} was trained on other text than {self.corpus.name}: resume with the "
                f"data it began with ({record['data']['source']}), or train into another folder"
            )
        state = checkpoint.load_trainer(self.out)
        if state is not None:
            self._load(state)
        self._remember()
        lines = files.json_lines(self.out / folder.LOG)
        kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= self.svi.done]
        files.write(self.out / folder.LOG, "".join(kept).encode())
        folder.note_resume(self.out, self.config, self.svi.done)
        if state is not None:
            self._save_weights()  # it may have been killed after trainer.pt, before the others
            self.saved = self.svi.done
        self._resumed = True

    def _load(self, state: dict[str, Any]) -> None:
        if self.baseline is not None and "baseline" not in state:
            raise InputError(f"{self.out} was trained without a baseline; it cannot gain one")
        try:
            self.svi.model.load_state_dict(state["model"])
            self.svi.load_state_dict(state["svi"])
            if self.baseline is not None:
                self.baseline.model.load_state_dict(state["baseline"])
                self.baseline.load_state_dict(state["baseline_svi"])
            if self.svi.shared is not None:
                self.svi.shared.load_state_dict(state["shared"])
        except (RuntimeError, ValueError, KeyError):
            raise InputError(
                f"{self.out} was trained with another configuration: resume with that of its "
                f"{folder.CONFIG}"
            ) from None
        self.best = state.get("best")
        if self.svi.done > self.config.training.steps:
            raise InputError(
                f"{self.out} has done {self.svi.done} iterations, more than the "
                f"{self.config.training.steps} asked for: give more --steps, or another --out"
            )

    def run(self, progress: bool = True, note: Callable[[str], Any] | None = None) -> Run:
        """Train to the end and return the run as loaded from its folder.

        SIGINT and SIGTERM end it early, after the iteration in hand is saved.

        Args:
            progress: whether to show a progress bar.
            note: called with a line of text for each look at held-out text.
        """
        training, total = self.config.training, self.config.training.steps
        if not self._resumed:
            folder.start(self.out, self.config, self.corpus)
            self._remember()
        self._tick = time.perf_counter()

        def after(svi: DualRateSVI, report: StepReport) -> None:
            line = self._line(report)
            if note is not None and BOUND in line:
                note(describe(line))
            better = self._better(line)
            files.append(self.out / folder.LOG, json.dumps(line))
            stop = bool(asked)
            if better or svi.done % training.save_every == 0 or svi.done == total or stop:
                self.save()
            if stop:
                raise StopTraining

        try:
            if self.svi.done < total:
                with stop_signals() as asked:
                    left = total - self.svi.done
                    self.svi.fit(self.corpus.train, left, training.batch, [after], progress)
            elif self.saved is None:
                self.save()
        except NotFinite as error:
            raise NotFinite(f"{error}; {self._last_good()}") from None
        except files.CannotWrite as error:
            raise InputError(f"{error}; {self._last_good()}") from None
        return checkpoint.load(self.out)

    def save(self) -> None:
        """Write what a resumed run needs, then the weights.

        Raises:
            NotFinite: if a weight is not finite; the checkpoint before is untouched.
        """
        for name, parameter in self.svi.model.named_parameters():
            if not torch.isfinite(parameter).all():
                raise NotFinite(f"parameter {name} is not finite after iteration {self.svi.done}")
        state = {
            "model": self.svi.model.state_dict(),
            "svi": self.svi.state_dict(),
            "best": self.best,
        }
        if self.svi.shared is not None:
            state["shared"] = self.svi.shared.state_dict()
        memory = self.svi.memory
        if memory is not None:
            memory.stage(self.svi.done)
        if self.baseline is not None:
            state["baseline"] = self.baseline.model.state_dict()
            state["baseline_svi"] = self.baseline.state_dict()
        checkpoint.save_trainer(self.out, state)
        if memory is not None:
            memory.settle(self.svi.done)
        self._save_weights()
        self.saved = self.svi.done

    def _save_weights(self) -> None:
        modules = {
            "": self.svi.model,
            checkpoint.BASELINE: self.baseline.model if self.baseline is not None else None,
            checkpoint.SHARED: self.svi.shared,
        }
        checkpoint.save_weights(self.out / folder.MODEL, modules, {"step": self.svi.done})
        if self.best is not None and self.best["step"] == self.svi.done:
            checkpoint.save_weights(self.out / folder.BEST, modules, self.best)

    def _remember(self) -> None:
        """Open the warm start's memory, as it was at the last checkpoint."""
        if self.config.training.warm_start:
            self.svi.memory = Memory(self.corpus.train, self.out)
            self.svi.memory.settle(self.svi.done)

    def _line(self, report: StepReport) -> dict[str, Any]:
        """The log's line: the iteration, the baseline's step, a look if it is time for one.

        `seconds` covers them all, and the saving since the line before.
        """
        training, total = self.config.training, self.config.training.steps
        line: dict[str, Any] = report.record()
        if self.baseline is not None:
            rows = self.corpus.train.batch(self.svi.done - 1, training.batch, training.seed)
            line["baseline_nats_per_token"] = self.baseline.step(rows, total).nats_per_token
        if self.svi.done % training.check_every == 0 or self.svi.done == total:
            line |= look(
                self.svi,
                held_out(self.corpus, training.check_rows),
                self.baseline.model if self.baseline is not None else None,
                training.seed,
            )
        now = time.perf_counter()
        line["seconds"], self._tick = now - self._tick, now
        return line

    def _better(self, line: dict[str, Any]) -> bool:
        """Whether a look is the best so far. The test split never chooses a checkpoint."""
        if BOUND not in line or not len(self.corpus.valid):
            return False
        if self.best is not None and line[BOUND] >= self.best[BOUND]:
            return False
        self.best = {"step": line["step"], BOUND: line[BOUND]}
        return True

    def _last_good(self) -> str:
        if self.saved is None:
            return "no checkpoint was saved yet"
        return (
            f"the last good checkpoint, of iteration {self.saved}, is in {self.out}; "
            f"{folder.resume_command(self.out)} goes on from there"
        )
