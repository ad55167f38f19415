"""`ltm train` and `ltm demo`."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ltm_pyro as ltm
from ltm_pyro import checkpoint
from ltm_pyro.build import build_guide, build_prior
from ltm_pyro.commands.text import FlatText, Text, say
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
from ltm_pyro.presets import PRESETS


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
    """Go on from the last checkpoint as the run was configured; --steps and --data may be given."""
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

    def resumed(self) -> Config:
        """The run's own configuration; only the number of steps and the text's place may change."""
        config, _ = checkpoint.read_config(self.out)
        say(f"resuming {self.out} with its own configuration")
        training = config.training
        if self.steps is not None:
            training = dataclasses.replace(training, steps=self.steps)
        return config.replace(data=self.text.over(config.data), training=training)

    def run(self) -> None:
        """Train, and say where the run is and how to go on."""
        ltm.check_folder(self.out, self.resume, self.overwrite)
        config = self.resumed() if self.resume else self.config()
        build_prior(config.prior, config.thoughts)  # a wrong name is told before the long part
        build_guide(config.guide)
        corpus = ltm.load_data(config, ltm.Tokenizer.load(self.out) if self.resume else None)
        say(f"data: {corpus}")
        run = ltm.train(
            config if self.resume else self.config(corpus),
            self.out,
            corpus,
            resume=self.resume,
            overwrite=self.overwrite,
            progress=not self.quiet,
            note=say,
        )
        if run.step < config.training.steps:
            say(f"stopped and saved after {run.step} iterations; the same with --resume goes on")
        say(f"run: {run.path}, {run.step} iterations; next: ltm evaluate {run.path}")


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
