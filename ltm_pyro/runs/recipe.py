"""What a new run is made of, as options of the command line: `ltm train`, and recipes of grids."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

import tyro
from tyro.conf import UseAppendAction

from ltm_pyro import guides
from ltm_pyro.config import (
    Architecture,
    Config,
    Data,
    Fast,
    Named,
    Objective,
    Slow,
    Thoughts,
    Training,
    Warm,
)
from ltm_pyro.config.sizes import PLAIN
from ltm_pyro.config.text import Vocabulary
from ltm_pyro.data import Corpus
from ltm_pyro.data.asked import FlatText, Text
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Guide
from ltm_pyro.inference.released import LOOPS, released_protocol
from ltm_pyro.models import decoders, priors
from ltm_pyro.models.decoders import Decoder
from ltm_pyro.models.priors import Prior
from ltm_pyro.options import Count, NotNegative, Whole
from ltm_pyro.parsing import given, named, named_options, read, value_of
from ltm_pyro.presets import PRESETS, grown_protocol, joint_protocol, preset, quick_protocol
from ltm_pyro.runs.build import build_callback, build_guide, check_named
from ltm_pyro.runs.checks import check_density
from ltm_pyro.runs.training import for_corpus

DEFAULTS = {"quick": quick_protocol, "joint": joint_protocol, "grown": grown_protocol}
"""Protocols that are other defaults of the options."""


@dataclass(frozen=True)
class Recipe:
    """Options of a new run.

    Attributes:
        given: the names of those that were given.
    """

    text: FlatText = field(default_factory=Text)
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
    protocol: Literal["fresh", "quick", "grown", "joint", "released", "fixed-noise", "leaking"] = (
        "fresh"
    )
    """"quick" takes at most 4 natural-gradient steps (mean-field and full covariance);
    "grown" is "quick" with two draws a step and one slot a layer, grown on a decoder that speaks,
    and heard slowly;
    "joint", for many epochs, starts warm and lets the slow step move thoughts too, alone;
    "released" repeats the authors' released code for comparison: its numbers are no bounds;
    "fixed-noise" and "leaking" have one each of the two things in which its loop differs."""
    warm_steps: Annotated[Whole | None, tyro.conf.arg(name="warm.steps")] = None
    """Begin a document's fast steps where they ended an epoch before, not at the prior, and take
    this many a visit (held-out text has --fast.steps)."""
    warm_lr: Annotated[NotNegative | None, tyro.conf.arg(name="warm.lr")] = None
    """With a warm start, let the slow step's backward pass move thoughts too, at this rate."""
    callback: UseAppendAction[tuple[str, ...]] = ()
    """What else happens after each iteration: tensor-board, wandb, or package.module:Class; may be
    given several times."""
    architecture: Architecture = PRESETS["tiny"].architecture
    thoughts: Thoughts = PRESETS["tiny"].thoughts
    fast: Fast = PRESETS["tiny"].fast
    slow: Slow = PRESETS["tiny"].slow
    objective: Objective = PRESETS["tiny"].objective
    given: tyro.conf.Suppress[frozenset[str]] = frozenset()

    @classmethod
    def parsed(cls, arguments: Sequence[str], **required: Any) -> Self:
        """From the command line: what is not given is as in the preset, under the protocol.

        Args:
            arguments: the words of the command line.
            required: what stands in place of options that have no default.

        Raises:
            InputError: for an option that is unknown or of a wrong kind.
        """
        rest, chosen = named_options(arguments, ("model", "prior", "guide", "decoder"))
        config = preset(value_of(rest, "--preset") or "tiny")
        protocol = value_of(rest, "--protocol")
        config = DEFAULTS[protocol](config) if protocol in DEFAULTS else config
        parts = ("architecture", "thoughts", "fast", "slow", "objective", "training")
        default = cls(
            **required,
            length=config.architecture.length,
            warm_steps=config.warm.steps if config.warm else None,
            warm_lr=config.warm.lr if config.warm else None,
            **{part: getattr(config, part) for part in parts},
        )
        made = read(cls, "train", rest, default)
        if "--no-baseline" in rest and made.training.control != "decoder":
            raise InputError(
                f"--control {made.training.control} asks for a control, and --no-baseline for "
                "none: leave one of them out"
            )
        lengths = made.length, made.architecture.length
        if {"length", "architecture.length"} <= given(arguments) and lengths[0] != lengths[1]:
            raise InputError(
                f"--length is {lengths[0]} and --architecture.length {lengths[1]}, which are one: "
                "give --length alone"
            )
        options = {f"{kind}_options": found for kind, found in chosen.items()}
        return dataclasses.replace(made, given=given(arguments), **options)

    def config(self, corpus: Corpus | None = None) -> Config:
        """The configuration of a new run; with its corpus, the vocabulary is the corpus's."""
        length = self.length if "length" in self.given else self.architecture.length
        architecture = dataclasses.replace(
            self.architecture, length=length, window=min(self.architecture.window, length)
        )
        self.text.check_used()
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
            slow=self._slow(),
            warm=self._warm(),
            objective=self.objective,
            training=self.training,
            callbacks=tuple(Named(name) for name in self.callback),
        )
        if self.training.control != "decoder":
            training = dataclasses.replace(self.training, baseline=True)
            config = config.replace(training=training)
        for one in config.callbacks:
            build_callback(one)  # a wrong name is told before the text is read
        if self.protocol == "released":
            config = released_protocol(config)
        elif self.protocol in LOOPS:
            config = config.replace(fast=LOOPS[self.protocol](**vars(config.fast)))
        return config if corpus is None else for_corpus(config, corpus)

    def check_names(self, config: Config) -> None:
        """Tell a wrong name or option of a configuration before the long part."""
        check_named(config)
        check_density(config, build_guide(config.guide))

    def _fast(self) -> Fast:
        """The fast loop, at the rate that suits the guide unless one was given."""
        if self.protocol in DEFAULTS:  # whose values were the options' defaults
            return self.fast
        guide: Any = build_guide(Named(self.guide, self.guide_options))
        rate = guide.func.rate
        if rate is None or "fast.lr" in self.given:
            return self.fast
        return dataclasses.replace(self.fast, lr=rate)

    def _slow(self) -> Slow:
        """The slow step; thoughts that are grown are heard at a quarter of a rate that is given."""
        rates = self.given & {"slow.lr", "slow.thoughts-lr"}
        if self.protocol == "grown" and rates == {"slow.lr"}:
            return dataclasses.replace(self.slow, thoughts_lr=self.slow.lr / 4)
        return self.slow

    def _warm(self) -> Warm | None:
        """The warm start, if any of its options was given, or the protocol has one."""
        if self.warm_steps is None and self.warm_lr is None:
            return None
        steps = self.fast.steps if self.warm_steps is None else self.warm_steps
        return Warm(steps, self.warm_lr or 0.0)
