"""`ltm evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
import tyro

import ltm_pyro as ltm
from ltm_pyro.bounds import Report, certify, differences, sandwich, taxes
from ltm_pyro.bounds.evaluation import usual
from ltm_pyro.commands.text import as_json, say, show
from ltm_pyro.data.asked import FlatText, Text
from ltm_pyro.data.store import AnyRows
from ltm_pyro.errors import InputError
from ltm_pyro.inference.processes import here
from ltm_pyro.options import Count, Whole
from ltm_pyro.runs.asked import AskedRun
from ltm_pyro.runs.scored import check_comparable, to_score


@dataclass(frozen=True)
class Evaluate(AskedRun):
    """Score text under a trained model: valid bounds, with errors."""

    many: ClassVar[bool] = True  # processes may do it together

    text: FlatText = field(default_factory=Text)
    split: Literal["train", "valid", "test", "all"] | None = None
    """Default: the test split, or, of text given with --data, all that was not trained on."""
    bounds: str | None = None
    """Figures, comma-separated, each `name` or `name:number` (elbo:64 takes 64 draws); default:
    elbo,prior, or elbo alone of a model with sites that all documents share."""
    tax: bool = False
    """Also what thoughts cost: each bound less the run's control, paired (below 0 they earn)."""
    against: str | None = None
    """Another run with the same tokenizer: paired differences on the same documents."""
    sandwich: Whole = 0
    """Also enclose log p(x) from both sides on this many documents that the model writes."""
    certify: bool = False
    """Also enclose log p(x) of each document of the text itself, where weights allow it."""
    certify_chains: Annotated[Count, tyro.conf.arg(name="certify.chains")] = 256
    """Weights of each of the certificate's runs; half of it where they are annealed."""
    certify_particles: Annotated[Count, tyro.conf.arg(name="certify.particles")] = 1
    """Chains behind each annealed weight, resampled (sequential Monte Carlo)."""
    certify_simulated: Annotated[Whole, tyro.conf.arg(name="certify.simulated")] = 32
    """Documents that the model writes, to tell whether the guide misses posteriors."""
    temperatures: Count | None = None
    """Annealing steps of the sandwich (100), the most of them of the certificate (16)."""
    keep: Path | None = None
    """A folder for what is found, as it is found: the same command goes on after a kill, and
    documents.parquet holds the nats of each document in the end."""
    chunk: Count = 64
    """Rows handled at once; bounds the memory."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Score and print."""
        world, run = here(), self.loaded
        other = None if self.against is None else self.rival(run, self.against)
        with world.in_turn():
            data = self.data_of(self.text)
            corpus = ltm.load_data(run.config.replace(data=data), run.tokenizer)
        own = corpus.fingerprint == run.record["data"]["fingerprint"]
        runs = [run] if other is None else [run, other]
        text = to_score(corpus, runs, self.split, "test" if own or not self.text.data else "all")
        split, rows = text.split, text.rows
        if self.tax and run.baseline is None:
            raise InputError(
                f"{run.path} has no control to tax thoughts against: train it with --baseline, or "
                "--control parameters or flops"
            )
        say(f"run: {run.path}, the {self.checkpoint} checkpoint, of iteration {run.step}")
        say(f"data: {corpus.name}, split {split}: {len(rows)} rows")
        if text.left_out:
            who = "the run" if other is None else "either run"
            say(
                f"data: {text.left_out} documents that {who} was trained on are left out (--split "
                "all scores them)"
            )
        for note in corpus.notes:
            say(f"data: {note}")
        report = self.score(run, rows, self.keep)
        trained = sum(line.get("tokens", 0) for line in run.log() if line["step"] <= run.step)
        if run.baseline is not None:
            seen = f"{trained:,} tokens, in {run.step:,} iterations"
            if run.config.training.control == "flops":
                say(f"baseline: trained for as many FLOPs as the model, which saw {seen}")
            else:
                say(f"baseline: trained on the same {seen}")
        found, texts = report.to_dict(), [str(report)]
        found["data"] = {
            "source": corpus.name, "split": split, "rows": len(rows),
            "documents": len(rows.document.unique()), "left_out_as_trained_on": text.left_out,
            "trained_tokens": trained,
            "notes": list(corpus.notes),
        }  # fmt: skip
        if self.tax:
            prices = taxes(report)
            found["tax"] = {name: price.to_dict() for name, price in prices.items()}
            texts += [str(price) for price in prices.values()]
        if other is not None:
            gaps = differences(report, self.score(other, text.read_by(other)))
            found["against"] = {"run": str(self.against), **gaps}
            texts += [
                f"{name}: {gap['difference']:+.4f} ± {gap['standard_error']:.4f} nats/token below "
                f"{self.against} (paired)"
                for name, gap in gaps.items()
            ]
        if not world.first:  # what is left is computed by one
            return
        if self.sandwich:
            like = rows[torch.arange(self.sandwich) % len(rows)]
            certificate = sandwich(
                run.model,
                like.lengths,
                [name for name in self.figures(run, rows) if name != "baseline"],
                temperatures=self.temperatures or 100,
                guide=run.guide,
                fast=self.fast,
                columns=like.columns,
                seed=self.seed,
            )
            found["sandwich"] = certificate.to_dict()
            texts += ["", str(certificate)]
        if self.certify:
            enclosed = certify(
                run.model,
                rows[:],
                guide=run.guide,
                fast=self.fast,
                temperatures=self.temperatures or 16,
                chains=self.certify_chains,
                particles=self.certify_particles,
                simulated=self.certify_simulated,
                seed=self.seed,
                chunk=self.chunk,
            )
            found["certificate"] = enclosed.to_dict()
            texts += ["", str(enclosed)]
        show(as_json(found) if self.json else "\n".join(texts))

    def rival(self, run: ltm.Run, path: str) -> ltm.Run:
        """Another run, if it can score the same rows."""
        other = ltm.load(path, self.checkpoint, self.trust, here().device(self.device))
        check_comparable(run, other, f"evaluate {path} --against {run.path}")
        return other

    def figures(self, run: ltm.Run, rows: AnyRows) -> Sequence[str]:
        """The names of the figures."""
        return usual(run.model, rows) if self.bounds is None else self.bounds.split(",")

    def score(self, run: ltm.Run, rows: AnyRows, keep: Path | None = None) -> Report:
        """The figures of one run."""
        return ltm.evaluate(
            run.model,
            rows,
            self.figures(run, rows),
            guide=run.guide,
            fast=self.loop_of(run),
            baseline=run.baseline,
            seed=self.seed,
            chunk=self.chunk,
            keep=keep,
            world=here(),
        )
