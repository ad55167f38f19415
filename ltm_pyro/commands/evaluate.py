"""`ltm evaluate`."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from tyro.conf import Positional

import ltm_pyro as ltm
from ltm_pyro.bounds import Report, differences, sandwich
from ltm_pyro.commands.text import FlatText, Text, say
from ltm_pyro.config import (
    Fast,
)
from ltm_pyro.errors import InputError


@dataclass(frozen=True)
class Evaluate:
    """Score text under a trained model: valid bounds, with errors."""

    run_folder: Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """Folder of a run."""
    text: FlatText = field(default_factory=Text)
    checkpoint: Literal["best", "last"] = "last"
    """The last weights, or those of the look with the lowest held-out bound."""
    split: Literal["train", "valid", "test", "all"] | None = None
    """Default: the test split of the text the run was trained on, or all of another text."""
    bounds: str = "elbo,prior"
    """Figures, comma-separated, each `name` or `name:number` (elbo:64 takes 64 draws)."""
    fast_steps: Annotated[int | None, tyro.conf.arg(name="fast.steps")] = None
    """Fast steps for each document (default: as in training)."""
    against: Path | None = None
    """Another run with the same tokenizer: paired differences on the same documents."""
    sandwich: int = 0
    """Also enclose log p(x) from both sides on this many documents that the model writes."""
    temperatures: int = 100
    """Annealing steps of the sandwich."""
    chunk: int = 64
    """Rows handled at once; bounds the memory."""
    seed: int = 0
    """Every draw follows from it."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Score and print."""
        for name, least in (("seed", 0), ("chunk", 1), ("sandwich", 0), ("temperatures", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}: expected {least} or more")
        run = ltm.load(self.run_folder, self.checkpoint)
        config = run.config.replace(data=self.text.over(run.config.data))
        corpus = ltm.load_data(config, run.tokenizer)
        own = corpus.fingerprint == run.record["data"]["fingerprint"]
        split = self.split or ("test" if own else "all")
        rows = corpus.rows(split)
        say(f"run: {run.path}, the {self.checkpoint} checkpoint, of iteration {run.step}")
        say(f"data: {corpus.name}, split {split}: {len(rows)} rows")
        fast = self.fast(run)
        other = None if self.against is None else self.other(run)
        report = self.score(run, rows)
        found, texts = report.to_dict(), [str(report)]
        if other is not None:
            known = other.config.data.columns
            if known != corpus.columns:  # the other run's prior has codes of its own
                data = dataclasses.replace(config.data, columns=known)
                rows = ltm.load_data(config.replace(data=data), run.tokenizer).rows(split)
            gaps = differences(report, self.score(other, rows))
            found["against"] = {"run": str(self.against), **gaps}
            texts += [
                f"{name}: {gap['difference']:+.4f} ± {gap['standard_error']:.4f} nats/token below "
                f"{self.against} (paired)"
                for name, gap in gaps.items()
            ]
        if self.sandwich:
            like = corpus.rows(split)[torch.arange(self.sandwich) % len(rows)]
            certificate = sandwich(
                run.model,
                like.lengths,
                [name for name in self.bounds.split(",") if name != "baseline"],
                temperatures=self.temperatures,
                guide=run.guide,
                fast=fast,
                columns=like.columns,
                seed=self.seed,
            )
            found["sandwich"] = certificate.to_dict()
            texts += ["", str(certificate)]
        print(json.dumps(found, indent=2) if self.json else "\n".join(texts))

    def other(self, run: ltm.Run) -> ltm.Run:
        """The run to compare with, if it can score the same rows."""
        assert self.against is not None
        other = ltm.load(self.against, self.checkpoint)
        if other.tokenizer.fingerprint() != run.tokenizer.fingerprint():
            raise InputError(f"{self.against} has another tokenizer than {self.run_folder}")
        reads, needed = (r.config.architecture.length for r in (other, run))
        if reads < needed:
            raise InputError(
                f"{self.against} reads rows of {reads} tokens, {self.run_folder} has rows of "
                f"{needed}: evaluate {self.against} --against {self.run_folder} instead, which "
                "cuts documents into rows that both read"
            )
        return other

    def fast(self, run: ltm.Run) -> Fast:
        """A run's own fast loop, with the steps that were asked for."""
        steps = run.config.fast.steps if self.fast_steps is None else self.fast_steps
        return dataclasses.replace(run.config.fast, steps=steps)

    def score(self, run: ltm.Run, rows: ltm.Rows) -> Report:
        """The figures of one run."""
        return ltm.evaluate(
            run.model,
            rows,
            self.bounds.split(","),
            guide=run.guide,
            fast=self.fast(run),
            baseline=run.baseline,
            seed=self.seed,
            chunk=self.chunk,
        )
