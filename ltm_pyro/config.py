"""What a run is made of, as frozen dataclasses; `ltm_pyro.runs.config_json` saves them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le
from torch import Tensor

from ltm_pyro.errors import InputError
from ltm_pyro.options import (
    Count,
    Fraction,
    Names,
    NotNegative,
    Positive,
    Whole,
    check_optimizer,
    names_of,
    take_fields,
)
from ltm_pyro.seeds import Noise

Vocabulary = Annotated[Count, Le(2**22)]  # of a tokenizer that is trained here
UpToOne = Annotated[float, Ge(0), Le(1)]
MOST_LAYERS = 4096
"""Deeper than any decoder; each is a module, which takes time to make."""
PLAIN = "latent-thought-model"
"""The model that samples its prior, observes its tokens, and does nothing else."""


@dataclass(frozen=True)
class Architecture:
    """The sizes of a decoder p(x | z), whichever it is.

    `length` counts a row's tokens, `begin` is the id of the token it starts from, `heads` are those
    of the attention to thoughts, and of a Transformer to text, `window` counts the input tokens a
    position may attend to (itself included), where a decoder has one.
    """

    vocabulary: Count
    begin: Whole
    length: Count = 1024
    window: Count = 256
    layers: Annotated[Count, Le(MOST_LAYERS)] = 3
    width: Count = 512
    heads: Count = 8
    feedforward: Count = 1376

    def __post_init__(self) -> None:
        take_fields(self)
        if self.width % self.heads or self.width // self.heads % 2:
            raise InputError(
                f"width {self.width} with {self.heads} heads: rotary attention needs a width "
                "that the heads divide into even parts"
            )
        if self.begin >= self.vocabulary:
            raise InputError(f"begin {self.begin} lies outside the vocabulary of {self.vocabulary}")


@dataclass(frozen=True)
class Thoughts:
    """A document's latent thought vectors: `slots` of size `dim` for each layer, or 1 for all."""

    layers: Annotated[Count, Le(MOST_LAYERS)]
    slots: Count
    dim: Count

    def __post_init__(self) -> None:
        take_fields(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one document's z: (layers, slots, dim)."""
        return (self.layers, self.slots, self.dim)

    @property
    def count(self) -> int:
        """Number of latent vectors over all layers (N_z in the paper)."""
        return self.layers * self.slots


@dataclass(frozen=True)
class Named:
    """A model, prior, guide or decoder by name (or `package.module:Class`), with its options."""

    EXPECTED: ClassVar[str] = (
        "a Named, such as Named('mixture', {'components': 4}) or Named('package.module:Class'); an "
        "object itself is for LatentThoughtModel and DualRateSVI"
    )

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        take_fields(self)


@dataclass(frozen=True)
class Data:
    """Where documents come from and how they are laid out; see `ltm_pyro.load_corpus`.

    Attributes:
        source: "python-docs" (embedded), a file or folder, or a Hugging Face data set; or several.
        fields, separator, delimiter, subset, streaming, limit: as in `documents.read_documents`.
        layout: "document" or "packed"; see `ltm_pyro.Corpus`.
        tokenizer: a file or a name on the hub; not given, one is trained on the training documents.
        columns: names of the columns that documents keep, with the values that are known, () for
            those of the training documents; names alone will do. A column is a field of a record;
            `folder` for files in folders, `module` for "python-docs".
        numbers: names of columns that are numbers (a rating, a time), nan where one is missing.
        dedup: whether near-duplicates fall into one split, whatever their hashes; None for the
            embedded documentation alone, which has many.
    """

    source: str | Names = "python-docs"
    fields: Names = ()
    separator: str | None = None
    delimiter: str | None = None
    subset: str | None = None
    streaming: bool = False
    limit: Count | None = None
    layout: Literal["document", "packed"] = "document"
    tokenizer: str | None = None
    vocabulary: Vocabulary = 2048
    columns: Mapping[str, Names] = field(default_factory=dict)
    numbers: Names = ()
    dedup: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", names_of("data.fields", self.fields))
        if not isinstance(self.columns, Mapping):
            names = names_of("data.columns", self.columns)
            object.__setattr__(self, "columns", dict.fromkeys(names, ()))
        object.__setattr__(self, "numbers", names_of("data.numbers", self.numbers))
        take_fields(self)

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of all columns that documents keep."""
        return (*self.columns, *self.numbers)


@dataclass(frozen=True)
class Fast:
    """The fast loop: `steps` gradient steps on the local variational parameters of a batch.

    The rate falls along a cosine from `lr` to `lr * final`. `optimizer` names a `torch.optim`
    class (from Python, any callable from parameters and lr to an optimizer). `tokens` is the share
    of a document's tokens that a step scores, another draw each step, scaled so that the gradient
    stays unbiased; figures are always of all tokens. `precision` is that of the decoder's linear
    layers and head; log-probabilities and figures are fp32. `compile` (its layers) and `recompute`
    (them again in the backward pass) change speed and memory alone. The released code's loop is a
    class of its own, `ltm_pyro.inference.released.Released`.
    """

    leaks: ClassVar[bool] = False
    """Whether decoder gradients of training's fast steps are left for the slow step."""

    steps: Whole = 16
    lr: NotNegative = 0.3
    final: NotNegative = 0.1
    particles: Count = 1
    tokens: Fraction = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    recompute: bool = False
    optimizer: Any = "Adam"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        take_fields(self)
        check_optimizer("fast.optimizer", self.optimizer)

    def draws(self, seed: int, keys: Tensor) -> Noise:
        """What a fit of the rows with these keys draws: something else at every step."""
        return Noise(seed, keys)

    @classmethod
    def quick(cls, steps: int = 4) -> "Fast":
        """A few natural-gradient steps of a Gaussian guide, the first as long as Newton's.

        Whether the bound is as low is measured: `same_bound`, `fast_steps` of `experiments`.
        """
        return cls(steps=steps, lr=1.0, optimizer="NaturalGradient")


@dataclass(frozen=True)
class Slow:
    """The slow step: `steps` gradient steps on the decoder (and a learned prior) for each batch.

    The rate rises linearly over `warmup` iterations, then falls along a cosine to `lr * final`. A
    `warmup` that is not given follows training: a tenth of it, at most 1,000 iterations.
    Gradients are of nats per token, clipped to norm `clip`; `accumulate` cuts a batch into that
    many parts whose gradients are summed. `precision`, `compile` and `recompute` are as in `Fast`;
    the weights are fp32. `decay` is weight decay on matrices; AdamW's betas are 0.9 and 0.95, as in
    the paper, unless `options` says otherwise. With `importance` K above 1 the step ascends the
    bound that `iwae:K` reports. `shared_lr` is the rate of what guides share, without decay,
    `thoughts_lr` that of weights that read thoughts (`Decoder.hearing`); `lr` if not given. If
    it is `sharded` a process has the optimizer's state of its part of each matrix alone.
    """

    steps: Count = 1
    lr: NotNegative = 4e-4
    final: NotNegative = 0.1
    warmup: Whole | None = None
    clip: Positive = 1.0
    accumulate: Count = 1
    importance: Count = 1
    decay: NotNegative = 0.1
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    recompute: bool = False
    optimizer: Any = "AdamW"
    options: Mapping[str, Any] = field(default_factory=dict)
    shared_lr: NotNegative | None = None
    thoughts_lr: NotNegative | None = None
    sharded: bool = False

    def __post_init__(self) -> None:
        take_fields(self)
        check_optimizer("slow.optimizer", self.optimizer, self.sharded)


@dataclass(frozen=True)
class Warm:
    """A warm start: a document's fast loop begins where it ended an epoch before, not at the prior.

    A visit in training takes `steps` fast steps; held-out text starts at the prior, with
    `Fast.steps`. With `lr` above 0 the slow step's backward pass also moves local parameters, at
    that rate, by the fast loop's optimizer: a fast step at no cost.
    """

    steps: Whole
    lr: NotNegative = 0.0

    def __post_init__(self) -> None:
        take_fields(self)


@dataclass(frozen=True)
class Objective:
    """What training ascends: E_q[log p(x | z)] - weight * KL(q || p), in both loops.

    The weight rises linearly from `start` to `beta` over the first `warmup` (a fraction, 0 to 1)
    of training; a start below 1 lets thoughts be useful before they are paid for. The first
    `free_bits` (nats, of each row) of the KL are not charged (Kingma et al. 2016). Logs and figures
    give the ELBO itself, whatever is set here.
    """

    start: NotNegative = 1.0
    warmup: NotNegative = 0.0
    beta: NotNegative = 1.0
    free_bits: NotNegative = 0.0

    def __post_init__(self) -> None:
        take_fields(self)
        if self.warmup > 1:
            raise InputError(
                f"objective.warmup is {self.warmup}: a fraction of training, at most 1; a warm-up "
                "that outlasts training leaves a model that was never trained on the ELBO"
            )

    def weight(self, step: int, total: int | None) -> float:
        """The KL's weight at a step (from 0) of `total`; `beta` where the total is not known."""
        if total is None or step >= self.warmup * total:
            return self.beta
        return self.start + (self.beta - self.start) * step / (self.warmup * total)


@dataclass(frozen=True)
class Training:
    """How long, on how much at a time, from which seed, and how often to look.

    The `baseline` is what the price of thoughts is measured against (`ltm_pyro.bounds.tax`).
    """

    steps: Whole = 1000
    """Iterations."""
    batch: Count = 16
    """Rows in a batch."""
    seed: Whole = 0
    """Every draw follows from it."""
    speak: UpToOne = 0.0
    """Speak, then think: for this share of the iterations the decoder is trained without thoughts,
    which are then grown on it."""
    baseline: bool = False
    """Also train a decoder without latents, on the same batches."""
    control: Literal["decoder", "parameters", "flops"] = "decoder"
    """The same decoder; a wider one, of as many parameters; or more batches, for equal FLOPs."""
    check_every: Count = 100
    """Iterations between looks at held-out text."""
    check_rows: Count = 64
    """Rows that a look scores."""
    save_every: Count = 100
    """Iterations between checkpoints."""

    def __post_init__(self) -> None:
        take_fields(self)


@dataclass(frozen=True)
class Config:
    """A whole run: model, data, decoder, prior, guide, both rates, training."""

    architecture: Architecture
    thoughts: Thoughts
    data: Data = field(default_factory=Data)
    model: Named = field(default_factory=lambda: Named(PLAIN))
    decoder: Named = field(default_factory=lambda: Named("transformer"))
    prior: Named = field(default_factory=lambda: Named("standard-normal"))
    guide: Named = field(default_factory=lambda: Named("mean-field"))
    fast: Fast = field(default_factory=Fast)
    slow: Slow = field(default_factory=Slow)
    warm: Warm | None = None
    objective: Objective = field(default_factory=Objective)
    training: Training = field(default_factory=Training)
    callbacks: tuple[Named, ...] = ()

    def __post_init__(self) -> None:
        take_fields(self)
        thoughts, layers = self.thoughts.layers, self.architecture.layers
        if thoughts not in (1, layers):
            told = f"thoughts for {thoughts} layers, but the decoder has {layers}"
            raise InputError(f"{told}: each attends to its own, or all to the same (1)")

    def replace(self, **changes: Any) -> "Config":
        """A copy with some parts exchanged."""
        return dataclasses.replace(self, **changes)
