"""`ltm train`."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro
from tyro.conf import UseAppendAction

import ltm_pyro as ltm
from ltm_pyro import guides
from ltm_pyro.commands.beside import check_options, shared_out
from ltm_pyro.commands.parsing import given, named, named_options, read, value_of
from ltm_pyro.commands.text import say
from ltm_pyro.config import (
    PLAIN,
    Architecture,
    Config,
    Data,
    Fast,
    Named,
    Objective,
    Slow,
    Thoughts,
    Training,
    Vocabulary,
    Warm,
)
from ltm_pyro.data.asked import FlatText, Text
from ltm_pyro.data.prepared import check_given, is_prepared
from ltm_pyro.errors import InputError
from ltm_pyro.files import storage
from ltm_pyro.guides import Guide
from ltm_pyro.inference.processes import here
from ltm_pyro.inference.released import LOOPS
from ltm_pyro.models import decoders, priors
from ltm_pyro.models.decoders import Decoder
from ltm_pyro.models.priors import Prior
from ltm_pyro.options import Count, NotNegative, Whole
from ltm_pyro.presets import PRESETS
from ltm_pyro.runs import checkpoint, folder
from ltm_pyro.runs.build import build_callback, build_guide, check_named
from ltm_pyro.runs.checks import check_density, check_fits
from ltm_pyro.runs.copies import fetch, folder_of
from ltm_pyro.runs.copying import CopyTo
from ltm_pyro.runs.devices import device_named
from ltm_pyro.runs.record import config_from, read_config
from ltm_pyro.runs.repeating import unlike
from ltm_pyro.runs.training import for_corpus, is_restarted
from ltm_pyro.runs.trust import check_code, check_data, explain

DEFAULTS = {"quick": ltm.quick_protocol, "joint": ltm.joint_protocol}
"""Protocols that are other defaults of the options."""


@dataclass(frozen=True)
class Train:
    """Train a latent-thought model on text."""

    many: ClassVar[bool] = True  # processes may do it together

    out: Path
    """Folder of the run."""
    text: FlatText = field(default_factory=Text)
    repeat: Annotated[str | None, tyro.conf.arg(name="config", metavar="JSON")] = None
    """Repeat a run from its config.json, its folder or a copy's URL, or train a configuration
    written as JSON; may stand beside --out, --steps, --seed, --overwrite, --resume, --quiet,
    --device and the options of the text."""
    grow_on: Annotated[str | None, tyro.conf.arg(name="from", metavar="RUN")] = None
    """Grow thoughts on a trained decoder, on its text unless --data is given: its control's, if the
    run has one, else its model's, whose own thoughts are left behind. It sets the architecture."""
    preset: str = "tiny"
    """tiny, small, medium or large."""
    training: Annotated[Training, tyro.conf.arg(name="")] = PRESETS["tiny"].training
    layout: Literal["document", "packed"] = "document"
    """Thoughts belong to a document, or to a packed window of a full row as in the paper."""
    length: Count = PRESETS["tiny"].architecture.length
    """Tokens in a row."""
    tokenizer: str | None = None
    """A tokenizer.json or a name on the Hugging Face hub (default: train one on the text)."""
    vocabulary: Vocabulary = 2048
    """Tokens of the tokenizer trained here."""
    model: str = PLAIN
    """package.module:Class of a model of one's own, with other sites; its options are
    --model.NAME VALUE."""
    decoder: Annotated[str, named("decoder", decoders, Decoder)] = "transformer"
    prior: Annotated[str, named("prior", priors, Prior)] = "standard-normal"
    guide: Annotated[str, named("guide", guides, Guide)] = "mean-field"
    model_options: tyro.conf.Suppress[Mapping[str, Any]] = field(default_factory=dict)
    decoder_options: tyro.conf.Suppress[Mapping[str, Any]] = field(default_factory=dict)
    prior_options: tyro.conf.Suppress[Mapping[str, Any]] = field(default_factory=dict)
    guide_options: tyro.conf.Suppress[Mapping[str, Any]] = field(default_factory=dict)
    protocol: Literal["fresh", "quick", "joint", "released", "fixed-noise", "leaking"] = "fresh"
    """"quick" takes at most 4 natural-gradient steps (mean-field and full covariance);
    "joint", for many epochs, starts warm and lets the slow step move thoughts too, alone;
    "released" repeats the authors' released code for comparison: its numbers are no bounds;
    "fixed-noise" and "leaking" have one each of the two things in which its loop differs."""
    warm_steps: Annotated[Whole | None, tyro.conf.arg(name="warm.steps")] = None
    """Begin a document's fast steps where they ended an epoch before, not at the prior, and take
    this many a visit (held-out text has --fast.steps)."""
    warm_lr: Annotated[NotNegative | None, tyro.conf.arg(name="warm.lr")] = None
    """With a warm start, let the slow step's backward pass move thoughts too, at this rate."""
    copy_to: str | None = None
    """A URL (s3://bucket/runs/one) or folder where a copy of the run is kept as it was saved last;
    commands take it in place of RUN, and --resume begins with it where --out holds no run."""
    callback: UseAppendAction[tuple[str, ...]] = ()
    """What else happens after each iteration: tensor-board, wandb, or package.module:Class; may be
    given several times."""
    resume: bool = False
    """Go on from the last checkpoint as the run was configured; --steps and --data may be given."""
    overwrite: bool = False
    """Replace the run that the folder holds."""
    trust: bool = False
    """With --config or --resume: import classes outside ltm_pyro that it names, and read its text
    wherever that lies."""
    quiet: bool = False
    """No progress bar."""
    device: str = "cpu"
    """Where it is computed: cpu, cuda, cuda:1; a run goes on anywhere."""
    architecture: Architecture = PRESETS["tiny"].architecture
    thoughts: Thoughts = PRESETS["tiny"].thoughts
    fast: Fast = PRESETS["tiny"].fast
    slow: Slow = PRESETS["tiny"].slow
    objective: Objective = PRESETS["tiny"].objective
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()

    @classmethod
    def parsed(cls, arguments: list[str]) -> "Train":
        """From the command line: what is not given is as in the preset, under the protocol."""
        rest, chosen = named_options(arguments, ("model", "prior", "guide", "decoder"))
        config = ltm.preset(value_of(rest, "--preset") or "tiny")
        protocol = value_of(rest, "--protocol")
        config = DEFAULTS[protocol](config) if protocol in DEFAULTS else config
        parts = ("architecture", "thoughts", "fast", "slow", "objective", "training")
        default = cls(
            out=tyro.MISSING,
            length=config.architecture.length,
            warm_steps=config.warm.steps if config.warm else None,
            warm_lr=config.warm.lr if config.warm else None,
            **{part: getattr(config, part) for part in parts},
        )
        made = read(cls, "train", rest, default)
        names = given(arguments)
        check_options(names)
        options = {f"{kind}_options": found for kind, found in chosen.items()}
        return dataclasses.replace(made, given=names, **options)

    def config(self, corpus: ltm.Corpus | None = None) -> Config:
        """The configuration of a new run; with its corpus, the vocabulary is the corpus's."""
        length = self.length if "length" in self.given else self.architecture.length
        architecture = dataclasses.replace(
            self.architecture, length=length, window=min(self.architecture.window, length)
        )
        data = Data(layout=self.layout, tokenizer=self.tokenizer, vocabulary=self.vocabulary)
        config = Config(
            architecture=architecture,
            thoughts=self.thoughts,
            data=self.text.over(data),
            model=Named(self.model, self.model_options),
            decoder=Named(self.decoder, self.decoder_options),
            prior=Named(self.prior, self.prior_options),
            guide=Named(self.guide, self.guide_options),
            fast=self._fast(),
            slow=self.slow,
            warm=self._warm(),
            objective=self.objective,
            training=self.training,
            callbacks=tuple(Named(name) for name in self.callback),
        )
        if self.training.control != "decoder" and "no-baseline" not in self.given:
            training = dataclasses.replace(self.training, baseline=True)
            config = config.replace(training=training)
        for one in config.callbacks:
            build_callback(one)  # a wrong name is told before the text is read
        if self.protocol == "released":
            config = ltm.released_protocol(config)
        elif self.protocol in LOOPS:
            config = config.replace(fast=LOOPS[self.protocol](**vars(config.fast)))
        return config if corpus is None else for_corpus(config, corpus)

    def grown(self, run: ltm.Run) -> Config:
        """The configuration of new thoughts on a run's decoder."""
        architecture = run.config.architecture
        shared = "thoughts.layers" in self.given and self.thoughts.layers == 1
        thoughts = dataclasses.replace(self.thoughts, layers=1 if shared else architecture.layers)
        before = run.config.data
        columns = dict.fromkeys(before.columns, ())  # whose values are those of the text
        data = self.text.over(dataclasses.replace(before, columns=columns))
        check_data(run.path, data, run.record, self.trust, self.given)
        # Made as of any other sizes, so that what is wrong with it is told by its name.
        made = dataclasses.replace(self, architecture=architecture, thoughts=thoughts)
        return made.config().replace(
            architecture=architecture, data=data, decoder=run.config.decoder
        )

    def repeated(self, file: Path) -> tuple[Config, ltm.Tokenizer | None, Mapping[str, Any] | None]:
        """The configuration in a file; of a run, its tokenizer and its record too."""
        config, record = config_from(file)
        check_code(file, config, record or {}, self.trust)
        asked = {name: getattr(self.training, name) for name in ("steps", "seed")
                 if name in self.given}  # fmt: skip
        training = dataclasses.replace(config.training, **asked)
        before = config.data
        config = config.replace(data=self.text.over(before), training=training)
        config = shared_out(config, self.slow, self.given)
        beside = file if file.is_dir() else file.parent
        own = record is not None and config.data == before  # not for other text
        if record is not None:
            check_data(file, config.data, record, self.trust, self.given)
        if own and (beside / folder.TOKENIZER).exists():
            return config, checkpoint.load_tokenizer(beside), record
        if record is not None:  # the values of its columns belong to its text, as its tokenizer did
            data = dataclasses.replace(config.data, columns=dict.fromkeys(config.data.columns, ()))
            config = config.replace(data=data)
            if data.tokenizer is not None and not self.trust:
                raise InputError(
                    f"{file} has its tokenizer from {data.tokenizer}, which would be read, or the "
                    "hub asked for it: say --trust for that"
                )
        return config, None, record

    def resumed(self) -> tuple[Config, ltm.Tokenizer]:
        """The run's own configuration; only the number of steps and the text's place may change."""
        config, record = read_config(self.out)
        check_code(self.out, config, record, self.trust, self.names())
        say(f"resuming {self.out} with its own configuration")
        steps = (self if "steps" in self.given else config).training.steps
        training = dataclasses.replace(config.training, steps=steps)
        config = config.replace(data=self.text.over(config.data), training=training)
        config = shared_out(config, self.slow, self.given)
        check_data(self.out, config.data, record, self.trust, self.given)
        return config, checkpoint.load_tokenizer(self.out)

    def names(self) -> set[str]:
        """The names of classes that stand on the command line."""
        optimizers = {self.fast.optimizer, self.slow.optimizer}
        return {self.model, self.decoder, self.prior, self.guide, *self.callback, *optimizers}

    def run(self) -> int:
        """Train, and say where the run is and how to go on; 128 + N if signal N stopped it."""
        world = here()
        if not self.resume and is_restarted(self.out, world):
            return dataclasses.replace(self, resume=True).run()
        copies = [CopyTo(self.copy_to)] if self.copy_to else []
        if world.first:
            if self.resume and self.copy_to and not folder.holds_run(self.out):
                fetch(storage.place(self.copy_to), self.out)
                say(f"fetched {self.out} from {self.copy_to}")
            ltm.check_folder(self.out, self.resume, self.overwrite)
        world.wait()
        tokenizer = record = source = None
        if self.resume:
            config, tokenizer = self.resumed()
        elif self.repeat is not None:
            config, tokenizer, record = self.repeated(folder_of(self.repeat))
        elif self.grow_on is not None:
            source = ltm.load(self.grow_on, trust=self.trust)
            config, tokenizer = self.grown(source), source.tokenizer
        else:
            config = self.config()
        device_named(world.device(self.device))
        check_fits(config)
        self.check_names(config)
        with world.in_turn():
            corpus = ltm.load_data(config, tokenizer)
        given = {"layout": self.layout, "vocabulary": self.vocabulary}
        if is_prepared(config.data.source):
            check_given(corpus, {n: v for n, v in given.items() if n in self.given})
        say(f"data: {corpus}")
        for note in (*corpus.notes, held_out(corpus)):
            say(f"data: {note}")
        if record is not None:
            for difference in unlike(record, corpus):
                say(f"not the same as {self.repeat}: {difference}")
        run = ltm.train(
            config if self.resume else for_corpus(config, corpus),
            self.out,
            corpus,
            resume=self.resume,
            overwrite=self.overwrite,
            progress=not self.quiet,
            note=say,
            device=self.device,
            grow_on=source,
            callbacks=copies,
        )
        if run.step < config.training.steps:
            on = folder.resume_command(run.path)
            say(f"stopped and saved after {run.step} iterations; {on} goes on")
            return 128 + run.stopped if run.stopped else 0
        say(f"run: {run.path}, {run.step} iterations; next: ltm evaluate {run.path}")
        return 0

    def check_names(self, config: Config) -> None:
        """Tell a wrong name or option before the long part."""
        try:
            check_named(config)
            check_density(config, build_guide(config.guide))
        except InputError as error:
            if not self.resume:
                raise
            raise explain(error, self.out, read_config(self.out)[1]) from None

    def _fast(self) -> Fast:
        """The fast loop, at the rate that suits the guide unless one was given."""
        if self.protocol in DEFAULTS:  # whose values were the options' defaults
            return self.fast
        guide: Any = build_guide(Named(self.guide, self.guide_options))
        rate = guide.func.rate
        if rate is None or "fast.lr" in self.given:
            return self.fast
        return dataclasses.replace(self.fast, lr=rate)

    def _warm(self) -> Warm | None:
        """The warm start, if any of its options was given, or the protocol has one."""
        if self.warm_steps is None and self.warm_lr is None:
            return None
        steps = self.fast.steps if self.warm_steps is None else self.warm_steps
        return Warm(steps, self.warm_lr or 0.0)


def held_out(corpus: ltm.Corpus) -> str:
    """How much of a corpus is trained on, and how much is kept back."""
    parts = {split: corpus.rows(split) for split in ("train", "valid", "test")}
    whole = sum(rows.token_count for rows in parts.values())
    said = (f"{rows.token_count / whole:.1%} ({len(rows):,} rows)" for rows in parts.values())
    return "trained on {} of the tokens; held out {} for validation, {} for test".format(*said)
