"""Cells of studies that train: a recipe with a seed, beside its control (`ltm study tax`).

A cell is one recipe with one seed: a run in a folder of its own, which can be resumed like any, and
`cell.json` beside it once it is scored. Errors over documents and over seeds are kept apart: the
first say what other text would change, the second what another start would.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ltm_pyro import files
from ltm_pyro.bounds import evaluate, taxes
from ltm_pyro.bounds.report import Report
from ltm_pyro.config import Config, Fast, Named
from ltm_pyro.data import Corpus
from ltm_pyro.errors import InputError
from ltm_pyro.guides import NoGuide
from ltm_pyro.inference import DualRateSVI, StepReport
from ltm_pyro.models.autoregressive import Speaking
from ltm_pyro.options import Count, Whole, take_fields
from ltm_pyro.runs import folder
from ltm_pyro.runs.build import build_guide
from ltm_pyro.runs.callbacks import Baseline, Callback, Line
from ltm_pyro.runs.checkpoint import Run, load
from ltm_pyro.runs.config_json import from_dict, to_dict
from ltm_pyro.runs.control import passes
from ltm_pyro.runs.record import read_config
from ltm_pyro.runs.trainer import Trainer
from ltm_pyro.runs.training import train

RUN, CELL = "run", "cell.json"


@dataclass(frozen=True)
class Score:
    """How a cell is scored: the first `rows` rows of a split, after `fast_steps` fast steps.

    A step takes `fast_particles` draws, or as many as in the recipe's training. Beside the guide
    that a run was trained with, `guides` are fitted too, by `elbo` alone.
    """

    bounds: str = "elbo:8,iwae:32,prior:8"
    rows: Count = 256
    fast_steps: Whole = 8
    split: str = "test"
    guides: tuple[Named, ...] = ()
    fast_particles: Count | None = None

    def __post_init__(self) -> None:
        take_fields(self)

    def fast(self, own: Fast) -> Fast:
        """How held-out rows are thought about, by a recipe that learns by `own`."""
        return own.changed(self.fast_steps, self.fast_particles)


@dataclass(frozen=True)
class Cell:
    """One recipe with one seed, in its folder."""

    recipe: str
    seed: int
    config: Config
    path: Path
    text: str = ""
    """Fingerprint of the text."""
    start: "Cell | None" = None
    """The cell on whose decoder thoughts are grown, if it begins with one."""

    def read(self, score: Score) -> dict[str, Any] | None:
        """What it found, if it is finished.

        Raises:
            InputError: if it was made by another configuration, of another text, or scored
                otherwise.
        """
        place = self.path / CELL
        if not place.exists():
            return None
        found: dict[str, Any] = json.loads(place.read_bytes())
        if _parsed(found["made"]) != _parsed(self.made(score)):
            raise InputError(
                f"{place} was made by another configuration of {self.recipe!r}, or scored "
                "otherwise: remove its folder, or give another --out"
            )
        if found["made"].get("text", self.text) != self.text:
            raise InputError(
                f"{place} is of another text ({found['corpus']}): give that, or another --out"
            )
        return found

    def made(self, score: Score) -> dict[str, Any]:
        """What a cell follows from, as plain JSON types."""
        config = json.loads(json.dumps(to_dict(self.config)))
        config["data"].pop("source")  # the same text may lie elsewhere
        scored = json.loads(json.dumps(dataclasses.asdict(score)))
        start = {} if self.start is None else {"start": self.start.made(score)}
        return {"config": config, "score": scored, "text": self.text, **start}

    def run(
        self,
        corpus: Corpus,
        score: Score,
        note: Callable[[str], Any],
        device: str = "cpu",
        trust: bool = False,
    ) -> dict[str, Any]:
        """Train, or go on training, and score, on a device.

        Raises:
            InputError: if the cell that it begins with is not finished, or it was begun on another
                decoder than that.
            KeyboardInterrupt: if a signal stopped it; what was done is saved.
        """
        out = self.path / RUN
        resume = (out / folder.CONFIG).exists()
        before = {} if self.start is None else self._before(score)
        decoder = None if self.start is None else self.start.trained(trust)
        if resume:
            self._check_begun_on(decoder)
        run = train(
            self.config, out, corpus, resume=resume, progress=False, note=note, device=device,
            callbacks=[OwnSeconds()], grow_on=decoder,
        )  # fmt: skip
        if run.stopped:
            raise KeyboardInterrupt(run.stopped)
        rows = corpus.rows(score.split)[: score.rows]
        fast = score.fast(self.config.fast)
        report = evaluate(
            run.model, rows, score.bounds, guide=run.guide, fast=fast, baseline=run.baseline,
            seed=0, repeat=0, progress=False,
        )  # fmt: skip
        figures = dict(report.figures)
        for named in score.guides:
            other = evaluate(
                run.model, rows, "elbo:8", guide=build_guide(named, run.model, self.seed),
                fast=fast, seed=0, repeat=0, progress=False,
            )  # fmt: skip
            figures[f"elbo, {named.name}"] = other["elbo"]
        report = Report(figures)
        log, control = run.log(), report["baseline"]
        assert run.baseline is not None
        found = {
            "recipe": self.recipe,
            "seed": self.seed,
            "parameters": {
                "model": run.model.parameter_count(),
                "control": run.baseline.parameter_count(),
            },
            "tokens_seen": sum(line["tokens"] for line in log),
            "rows_to_train_on": len(corpus.train),
            "figures": report.to_dict(),
            "tax": {name: tax.to_dict() for name, tax in taxes(report).items()},
            "by_document": {
                "tokens": control.tokens.astype(int).tolist(),
                "control": np.round(control.of_tokens, 4).tolist(),
                **({"stream": True} if control.stream else {}),
                **{
                    name: np.round(report[name].of_tokens - control.of_tokens, 4).tolist()
                    for name in taxes(report)
                },
            },
            "passes": self.passes(run, corpus),
            **({"before": before} if before else {}),
            "looks": looks_of(log),
            "corpus": str(corpus),
            "made": self.made(score),
        }  # fmt: skip
        files.write_json(self.path / CELL, found)
        return found

    def trained(self, trust: bool) -> Run:
        """Its run, to grow thoughts on.

        Raises:
            InputError: if it has not as many iterations as its recipe, whose cost is what is told.
        """
        run, steps = load(self.path / RUN, trust=trust), self.config.training.steps
        if run.step != steps:
            raise InputError(
                f"{run.path} has {run.step} iterations, where recipe {self.recipe!r} asks for "
                f"{steps}: remove {self.path}, which is then trained anew, or give another --out"
            )
        return run

    def _before(self, score: Score) -> dict[str, float]:
        """What the decoder had cost before thoughts were grown on it."""
        assert self.start is not None
        found = self.start.read(score)
        if found is None:
            raise InputError(
                f"{self.path} begins with {self.start.path}, which has no {CELL}: remove "
                f"parts/{self.start.recipe}-seed-{self.seed}.json, so that it is trained again"
            )
        spent = cost_of(found)
        assert spent is not None  # there is no bound to reach
        return spent

    def _check_begun_on(self, decoder: Run | None) -> None:
        """Raises InputError if a run that goes on was grown on something else."""
        record = read_config(self.path / RUN)[1]
        begun = record.get("grown_on", {}).get("id")
        if begun != (None if decoder is None else decoder.record.get("id")):
            raise InputError(
                f"{self.path / RUN} was begun on another decoder than recipe {self.recipe!r} "
                "begins with now: remove its folder, or give another --out"
            )

    def passes(self, run: Run, corpus: Corpus) -> float:
        """What an iteration costs once the model thinks, in iterations of its decoder alone."""
        batch = corpus.train.batch(0, self.config.training.batch, self.seed)
        svi = DualRateSVI(run.model, run.guide, self.config.fast, self.config.slow,
                          warm=self.config.warm)  # fmt: skip
        alone = DualRateSVI(Speaking(run.model), NoGuide, Fast(steps=0), self.config.slow)
        return round(passes(svi, alone, batch), 3)


class OwnSeconds(Callback):
    """Logs what the model and its control took apart, `model_seconds` and `control_seconds`."""

    def after(self, trainer: Trainer, report: StepReport, line: Line) -> None:
        """Add both to the line."""
        line["model_seconds"] = report.seconds
        controls = [one for one in trainer.callbacks if isinstance(one, Baseline)]
        line["control_seconds"] = sum(one.seconds for one in controls)


def looks_of(log: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The looks at held-out text, each with the seconds and tokens of training until then.

    `seconds` are of everything, `model_seconds` and `control_seconds` of the iterations alone.
    """
    found, spent = [], dict.fromkeys(("seconds", "model_seconds", "control_seconds", "tokens"), 0.0)
    for line in log:
        spent = {name: before + line.get(name, 0.0) for name, before in spent.items()}
        if "held_out_elbo" in line:
            figures = {
                k.removeprefix("held_out_"): round(v, 5) for k, v in line.items()
                if k.startswith("held_out_")
            }  # fmt: skip
            at = {name: round(value, 3) for name, value in spent.items()}
            found.append({"step": line["step"], **at, **figures})
    return found


def cost_of(cell: Mapping[str, Any], bound: float = math.inf) -> dict[str, float] | None:
    """What a cell spent until the first look at which its bound was that low; None if it was never.

    Until its end, if there is no bound. `iterations`, `seconds` (the control's own, and looks, are
    among them), `model_seconds` (they are not) and `passes`: iterations of the decoder alone that
    cost as many FLOPs. What a decoder cost that thoughts were grown on is among them.
    """
    looks = cell["looks"]
    spoken = round(cell["made"]["config"]["training"]["speak"] * looks[-1]["step"])
    for look in looks[-1:] if bound == math.inf else looks:
        if look["elbo"] <= bound:
            thinking = max(0, look["step"] - spoken)
            spent = look["step"] - thinking + cell["passes"] * thinking
            found = {
                "iterations": look["step"], "passes": spent, "seconds": look["seconds"],
                "model_seconds": look.get("model_seconds", math.nan),
            }  # fmt: skip
            before = cell.get("before", {})
            return {name: value + before.get(name, 0) for name, value in found.items()}
    return None


def _parsed(made: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a cell follows from; of one made by an earlier version, with the defaults of this."""
    start = _parsed(made["start"]) if "start" in made else None
    return from_dict(Config, made["config"]), from_dict(Score, made["score"]), start


def cells_of(
    recipes: Mapping[str, Config], seeds: Sequence[int], out: Path, text: str = "",
    begins: Mapping[str, str] = MappingProxyType({}),
) -> list[Cell]:  # fmt: skip
    """A cell for each recipe and seed, those of the first seed first; `text` is its fingerprint.

    `begins` says of recipes on which other's decoder thoughts are grown; it stands before them.
    """
    found: list[Cell] = []
    for seed in seeds:
        of_seed: dict[str, Cell] = {}
        for name, config in recipes.items():
            training = dataclasses.replace(config.training, seed=seed, baseline=True)
            place = out / name / f"seed-{seed}"
            start = of_seed[begins[name]] if name in begins else None
            of_seed[name] = Cell(name, seed, config.replace(training=training), place, text, start)
        found += of_seed.values()
    return found
