"""The commands of `ltm`, each a dataclass whose fields are its options."""

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm.auto import tqdm
from tyro.conf import Positional, UseAppendAction

import ltm_pyro as ltm
from ltm_pyro.build import build_guide, build_prior
from ltm_pyro.config import (
    Architecture,
    Config,
    Data,
    Fast,
    Named,
    Objective,
    Slow,
    Thoughts,
)
from ltm_pyro.demo import demo
from ltm_pyro.errors import unknown
from ltm_pyro.info import info_preset, info_run, presets_table
from ltm_pyro.presets import PRESETS


def say(text: str) -> None:
    """A line for the person at the terminal; standard output is for results."""
    tqdm.write(text, file=sys.stderr)


@dataclass(frozen=True)
class Text:
    """Which text, and how it becomes documents."""

    data: str | None = None
    """python-docs, a file (.txt .jsonl .csv .parquet), a folder, or a Hugging Face data set."""
    field: UseAppendAction[tuple[str, ...]] = ()
    """A field of each record that is part of its text; may be given several times."""
    separator: str | None = None
    """Regular expression between the documents of a .txt file (default: a blank line)."""
    subset: str | None = None
    """Configuration of a Hugging Face data set."""
    streaming: bool = False
    """Read a Hugging Face data set as a stream."""
    limit: int | None = None
    """Read at most this many documents of each split."""

    def over(self, data: Data) -> Data:
        """`data` with what was given here."""
        given: dict[str, Any] = {
            "source": self.data,
            "fields": self.field or None,
            "separator": self.separator,
            "subset": self.subset,
            "streaming": self.streaming or None,
            "limit": self.limit,
        }
        return dataclasses.replace(data, **{k: v for k, v in given.items() if v is not None})


FlatText = Annotated[Text, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class Train:
    """Train a latent-thought model on text."""

    out: Path
    """Folder of the run."""
    text: FlatText = field(default_factory=Text)
    preset: str = "tiny"
    """tiny, small, medium or large."""
    steps: int | None = None
    """Iterations."""
    batch: int | None = None
    """Rows in a batch."""
    seed: int = 0
    """Every draw follows from it."""
    layout: Literal["document", "packed"] = "document"
    """Thoughts belong to a document, or to a packed window of a full row as in the paper."""
    length: int | None = None
    """Tokens in a row."""
    tokenizer: str | None = None
    """A tokenizer.json or a name on the Hugging Face hub (default: train one on the text)."""
    vocabulary: int = 2048
    """Tokens of the tokenizer trained here."""
    prior: str = "standard-normal"
    """A prior's name, or package.module:Class."""
    guide: str = "mean-field"
    """A guide's name, or package.module:Class."""
    protocol: Literal["fresh", "released"] = "fresh"
    """"released" repeats the authors' released code for comparison: its numbers are no bounds."""
    baseline: bool = False
    """Also train the same decoder without latents, on the same batches."""
    check_every: int | None = None
    """Iterations between looks at held-out text."""
    resume: bool = False
    """Go on from the folder's last checkpoint."""
    overwrite: bool = False
    """Replace the run that the folder holds."""
    quiet: bool = False
    """No progress bar."""
    architecture: Architecture = PRESETS["tiny"].architecture
    thoughts: Thoughts = PRESETS["tiny"].thoughts
    fast: Fast = PRESETS["tiny"].fast
    slow: Slow = PRESETS["tiny"].slow
    objective: Objective = PRESETS["tiny"].objective

    def config(self, corpus: ltm.Corpus | None = None) -> Config:
        """The run's configuration; with its corpus, the vocabulary is the corpus's."""
        of_preset = ltm.preset(self.preset)
        training: dict[str, Any] = {
            "steps": self.steps,
            "batch": self.batch,
            "check_every": self.check_every,
            "seed": self.seed,
            "baseline": self.baseline,
        }
        length = self.length or self.architecture.length
        architecture = dataclasses.replace(
            self.architecture, length=length, window=min(self.architecture.window, length)
        )
        if corpus is not None:
            architecture = dataclasses.replace(
                architecture, vocabulary=corpus.vocabulary, begin=corpus.begin
            )
        data = Data(layout=self.layout, tokenizer=self.tokenizer, vocabulary=self.vocabulary)
        config = Config(
            architecture=architecture,
            thoughts=self.thoughts,
            data=self.text.over(data),
            prior=Named(self.prior),
            guide=Named(self.guide),
            fast=self.fast,
            slow=self.slow,
            objective=self.objective,
            training=dataclasses.replace(
                of_preset.training, **{k: v for k, v in training.items() if v is not None}
            ),
        )
        return ltm.released_protocol(config) if self.protocol == "released" else config

    def run(self) -> None:
        """Train, and say where the run is and how to go on."""
        config = self.config()
        build_prior(config.prior, config.thoughts)  # a wrong name is told before the long part
        build_guide(config.guide)
        ltm.check_folder(self.out, self.resume, self.overwrite)
        corpus = ltm.load_data(config)
        say(f"data: {corpus}")
        run = ltm.train(
            self.config(corpus),
            self.out,
            corpus,
            resume=self.resume,
            overwrite=self.overwrite,
            progress=not self.quiet,
            note=say,
        )
        say(f"run: {run.path}, {run.step} iterations; next: ltm evaluate {run.path}")


@dataclass(frozen=True)
class Evaluate:
    """Score text under a trained model: valid bounds, with errors."""

    run_folder: Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """Folder of a run."""
    text: FlatText = field(default_factory=Text)
    split: Literal["train", "valid", "test", "all"] | None = None
    """Default: the test split of the text the run was trained on, or all of another text."""
    bounds: str = "elbo,prior"
    """Figures, comma-separated, each `name` or `name:number` (elbo:64 takes 64 draws)."""
    fast_steps: int | None = None
    """Fast steps for each document (default: as in training)."""
    chunk: int = 64
    """Rows handled at once; bounds the memory."""
    seed: int = 0
    """Every draw follows from it."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Score and print."""
        run = ltm.load(self.run_folder)
        config = run.config.replace(data=self.text.over(run.config.data))
        corpus = ltm.load_data(config, run.tokenizer)
        own = corpus.fingerprint == run.record["data_fingerprint"]
        split = self.split or ("test" if own else "all")
        rows = corpus.rows(split)
        say(f"data: {corpus.name}, split {split}: {len(rows)} rows")
        fast = run.config.fast
        if self.fast_steps is not None:
            fast = dataclasses.replace(fast, steps=self.fast_steps)
        report = ltm.evaluate(
            run.model,
            rows,
            self.bounds.split(","),
            guide=run.guide,
            fast=fast,
            baseline=run.baseline,
            seed=self.seed,
            chunk=self.chunk,
        )
        print(json.dumps(report.to_dict(), indent=2) if self.json else report)


@dataclass(frozen=True)
class Generate:
    """Write text: from the prior, or on from a prompt whose thoughts are inferred."""

    run_folder: Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """Folder of a run."""
    prompt: str | None = None
    """A text to go on from."""
    n: int = 1
    """How many texts."""
    length: int | None = None
    """Tokens, prompt included (default: a full row)."""
    temperature: float = 1.0
    """Logits are divided by it; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together hold this probability."""
    fast_steps: int | None = None
    """Fast steps on the prompt (default: as in training)."""
    seed: int = 0
    """Every draw follows from it."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Generate and print."""
        run = ltm.load(self.run_folder)
        fast = run.config.fast
        if self.fast_steps is not None:
            fast = dataclasses.replace(fast, steps=self.fast_steps)
        found = ltm.generate(
            run.model,
            run.tokenizer,
            self.prompt,
            self.n,
            length=self.length,
            temperature=self.temperature,
            top_p=self.top_p,
            guide=run.guide,
            fast=fast,
            seed=self.seed,
        )
        if self.json:
            samples = [
                {"prompt": p, "continuation": c, "text": p + c}
                for p, c in zip(found.prompts, found.continuations, strict=True)
            ]
            print(json.dumps({"samples": samples, "seed": self.seed}, indent=2))
        else:
            print(found)


@dataclass(frozen=True)
class Info:
    """What a preset is, or what a run is; without a name, all presets."""

    name: Positional[str | None] = None
    """A preset, or the folder of a run."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Look it up and print."""
        if self.name is None:
            facts: dict[str, Any] = {name: info_preset(name) for name in PRESETS}
            print(json.dumps(facts, indent=2) if self.json else presets_table(facts))
            return
        if self.name in PRESETS:
            facts = info_preset(self.name)
        elif Path(self.name).exists():
            facts = info_run(ltm.load(self.name))
        else:
            raise unknown("preset or run", self.name, PRESETS)
        if self.json:
            print(json.dumps(facts, indent=2))
        else:
            width = max(map(len, facts))
            print("\n".join(f"{key:<{width}}  {value}" for key, value in facts.items()))


@dataclass(frozen=True)
class Demo:
    """The whole job on the embedded corpus, in minutes: train, score, sample, plot."""

    out: Path = Path("demo-run")
    """Folder of the run (replaced if it holds a demo already)."""
    steps: int | None = None
    """Iterations."""
    seed: int = 0
    """Every draw follows from it."""

    def run(self) -> None:
        """Run the demo."""
        demo(self.out, self.steps, self.seed)
