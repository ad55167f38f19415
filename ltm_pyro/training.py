"""Training a run: the loop, a log, looks at held-out text, checkpoints."""

import json
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ltm_pyro import checkpoint
from ltm_pyro.bounds import evaluate
from ltm_pyro.build import build_guide, build_model
from ltm_pyro.checkpoint import Run
from ltm_pyro.config import Config
from ltm_pyro.data import Corpus, Rows, Tokenizer, load_corpus
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.guides import NoGuide
from ltm_pyro.inference import DualRateSVI, StepReport, StopTraining
from ltm_pyro.models import AutoregressiveModel
from ltm_pyro.seeds import seeded


class Trainer:
    """One run in its folder, from its configuration and a corpus.

    `run()` trains to `config.training.steps`; what it needs to go on is saved every
    `save_every` iterations and at the end.
    """

    def __init__(self, corpus: Corpus, config: Config, out: str | Path):
        self.corpus, self.config, self.out = corpus, config, Path(out)
        seed = config.training.seed
        self.svi = DualRateSVI(
            build_model(config),
            build_guide(config.guide),
            config.fast,
            config.slow,
            config.objective,
            seed,
        )
        self.baseline: DualRateSVI | None = None
        if config.training.baseline:
            with seeded(seed):
                model = AutoregressiveModel(config)
            self.baseline = DualRateSVI(model, NoGuide, slow=config.slow, seed=seed)

    def resume(self) -> None:
        """Go on from the folder's last checkpoint.

        Raises:
            InputError: if there is none, or the text or the configuration are not those of the run.
        """
        _, kept = checkpoint.read_config(self.out)
        if kept["data_fingerprint"] != self.corpus.fingerprint:
            raise InputError(
                f"{self.out} was trained on other text than {self.corpus.name}: resume with the "
                "data it began with, or train into another folder"
            )
        state = checkpoint.load_trainer(self.out)
        if self.baseline is not None and "baseline" not in state:
            raise InputError(f"{self.out} was trained without a baseline; it cannot gain one")
        try:
            self.svi.model.load_state_dict(state["model"])
            self.svi.load_state_dict(state["svi"])
            if self.baseline is not None:
                self.baseline.model.load_state_dict(state["baseline"])
                self.baseline.load_state_dict(state["baseline_svi"])
        except (RuntimeError, ValueError, KeyError):
            raise InputError(
                f"{self.out} was trained with another configuration: resume with that of its "
                "config.json"
            ) from None
        log = self.out / checkpoint.LOG
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        kept_lines = [line for line in lines if json.loads(line)["step"] <= self.svi.done]
        checkpoint.write(log, lambda place: place.write_text("".join(kept_lines)))

    def run(self, progress: bool = True, note: Callable[[str], Any] | None = None) -> Run:
        """Train to the end and return the run as loaded from its folder.

        SIGINT and SIGTERM end it early, after the iteration in hand is saved.

        Args:
            progress: whether to show a progress bar.
            note: called with a line of text for each look at held-out text.
        """
        training = self.config.training
        checkpoint.start(self.out, self.config, self.corpus.tokenizer, self.corpus.fingerprint)
        left = training.steps - self.svi.done
        total = training.steps

        def after(svi: DualRateSVI, report: StepReport) -> None:
            line: dict[str, Any] = report.record()
            if self.baseline is not None:
                rows = self.corpus.train.batch(svi.done - 1, training.batch, training.seed)
                line["baseline_nats_per_token"] = self.baseline.step(rows, total).nats_per_token
            if svi.done % training.check_every == 0 or svi.done == total:
                line |= self.check()
                if note is not None:
                    note(describe(line))
            with open(self.out / checkpoint.LOG, "a") as log:
                log.write(json.dumps(line) + "\n")
            stop = bool(asked)
            if svi.done % training.save_every == 0 or svi.done == total or stop:
                self.save()
            if stop:
                raise StopTraining

        if left > 0:
            try:
                with stop_signals() as asked:
                    self.svi.fit(self.corpus.train, left, training.batch, [after], progress)
            except NotFinite as error:
                raise NotFinite(f"{error}; {self._last_good()}") from None
        elif not (self.out / checkpoint.MODEL).exists():
            self.save()
        return checkpoint.load(self.out)

    def check(self) -> dict[str, float]:
        """Figures of held-out rows: the bound, its error and KL, the prior, the baseline."""
        rows = self._held_out()
        if not len(rows):
            return {}
        report = evaluate(
            self.svi.model,
            rows,
            ("elbo:4", "prior:4"),
            guide=self.svi.guide,
            fast=self.config.fast,
            baseline=self.baseline.model if self.baseline is not None else None,
            seed=self.config.training.seed,
            progress=False,
        )
        found = {f"held_out_{k}": v.nats_per_token for k, v in report.figures.items()}
        found["held_out_standard_error"] = report["elbo"].standard_error
        found["held_out_kl"] = float(report["elbo"].parts["kl"].sum() / report["elbo"].tokens.sum())
        return {k: v for k, v in found.items() if not math.isnan(v)}

    def save(self) -> None:
        """Write the weights, and what a resumed run needs."""
        state = {"model": self.svi.model.state_dict(), "svi": self.svi.state_dict()}
        if self.baseline is not None:
            state["baseline"] = self.baseline.model.state_dict()
            state["baseline_svi"] = self.baseline.state_dict()
        checkpoint.save_trainer(self.out, state)
        checkpoint.save_weights(self.out / checkpoint.MODEL, self.svi.model, self.svi.done)
        if self.baseline is not None:
            checkpoint.save_weights(
                self.out / checkpoint.BASELINE, self.baseline.model, self.svi.done
            )

    def _last_good(self) -> str:
        if not (self.out / checkpoint.TRAINER).exists():
            return "no checkpoint was saved yet"
        step = checkpoint.load_trainer(self.out)["svi"]["done"]
        return f"the last good checkpoint, of iteration {step}, is in {self.out}"

    def _held_out(self) -> Rows:
        rows = self.corpus.valid if len(self.corpus.valid) else self.corpus.test
        return rows[: self.config.training.check_rows]


def describe(line: dict[str, Any]) -> str:
    """A look at held-out text, in a line."""
    text = f"step {line['step']}: held-out bound {line.get('held_out_elbo', math.nan):.3f}"
    if "held_out_standard_error" in line:
        text += f" ± {line['held_out_standard_error']:.3f}"
    text += f" (KL {line.get('held_out_kl', math.nan):.3f})"
    text += f", prior {line.get('held_out_prior', math.nan):.3f}"
    if "held_out_baseline" in line:
        text += f", without latents {line['held_out_baseline']:.3f}"
    return text + " nats/token"


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A block in which SIGINT and SIGTERM only add to a list, to be acted on between iterations.

    A second signal interrupts at once. Outside the main thread signals are left alone.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(
    config: Config,
    out: str | Path,
    corpus: Corpus | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    note: Callable[[str], Any] | None = None,
) -> Run:
    """Train the configuration's model in a folder, and return the run.

    Args:
        config: what to train, on what, for how long.
        out: the run's folder.
        corpus: the corpus of `config.data`, if it is loaded already.
        resume: go on from the folder's last checkpoint; the run ends as if it had never stopped.
        overwrite: replace a run that the folder holds.
        progress, note: see `Trainer.run`.

    Raises:
        InputError: if the folder holds a run and neither `resume` nor `overwrite` is given.
    """
    out = Path(out)
    check_folder(out, resume, overwrite)
    if corpus is None:
        corpus = load_data(config)
    trainer = Trainer(corpus, config, out)
    if resume:
        trainer.resume()
    elif overwrite:
        for name in checkpoint.FILES:
            (out / name).unlink(missing_ok=True)
    return trainer.run(progress, note)


def check_folder(out: Path, resume: bool, overwrite: bool) -> None:
    """Raises InputError if a run cannot go into this folder."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: a run needs a folder")
    holds = (out / checkpoint.CONFIG).exists()
    if holds and not (resume or overwrite):
        raise InputError(f"{out} already holds a run: add --resume to go on, or --overwrite")
    if resume and not holds:
        raise InputError(f"{out} holds no run to resume")


def load_data(config: Config, tokenizer: Tokenizer | None = None) -> Corpus:
    """The corpus a configuration names, in rows of its decoder's length.

    A `tokenizer` given here stands in for the configuration's.
    """
    data = config.data
    return load_corpus(
        data.source,
        length=config.architecture.length,
        layout=data.layout,
        tokenizer=tokenizer or data.tokenizer,
        vocabulary=data.vocabulary,
        fields=data.fields,
        separator=data.separator,
        subset=data.subset,
        streaming=data.streaming,
        limit=data.limit,
    )
