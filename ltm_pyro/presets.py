"""Named configurations: the paper's sizes and a tiny one; and protocols that change them."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from ltm_pyro.config import (
    Architecture,
    Config,
    Fast,
    Objective,
    Slow,
    Thoughts,
    Training,
    Warm,
)
from ltm_pyro.errors import unknown
from ltm_pyro.options import checked


@checked
def quick_protocol(config: Config) -> Config:
    """The configuration with `Fast.quick`, of no more steps than it had."""
    quick = Fast.quick()
    fast = dataclasses.replace(
        config.fast, steps=min(quick.steps, config.fast.steps), lr=quick.lr,
        optimizer=quick.optimizer,
    )  # fmt: skip
    return config.replace(fast=fast)


@checked
def joint_protocol(config: Config) -> Config:
    """The configuration with a warm start and no fast steps in training: one pass moves both.

    A document's local parameters take one natural-gradient step a visit, along the slow step's
    backward pass, so it is for training of many epochs. Held-out text has the loop of
    `quick_protocol`.
    """
    return quick_protocol(config).replace(warm=Warm(steps=0, lr=1.0))


@checked
def grown_protocol(config: Config) -> Config:
    """The configuration whose thoughts are grown on a decoder that speaks, and are heard slowly.

    The loop of `quick_protocol`, by two draws a step in a pair: one is noisier, and earned less.
    For half of the iterations the decoder learns alone; then the whole KL is charged at once, and
    the weights that read thoughts learn at a quarter of the rate of all others. Layers have one
    slot each: two earned less, eight nothing. Where thoughts earned most, they were made so
    (docs/results/tax.md).
    """
    config = quick_protocol(config)
    return config.replace(
        fast=config.fast.changed(particles=2, antithetic=True),
        thoughts=dataclasses.replace(config.thoughts, slots=1),
        training=dataclasses.replace(config.training, speak=0.5),
        objective=dataclasses.replace(config.objective, start=1.0),
        slow=dataclasses.replace(config.slow, thoughts_lr=config.slow.lr / 4),
    )


class HasVocabulary(Protocol):
    """What a preset needs to know of a corpus."""

    @property
    def vocabulary(self) -> int: ...  # noqa: D102
    @property
    def begin(self) -> int: ...  # noqa: D102
    @property
    def length(self) -> int: ...  # noqa: D102
    @property
    def columns(self) -> Mapping[str, tuple[str, ...]]: ...  # noqa: D102
    @property
    def numbers(self) -> tuple[str, ...]: ...  # noqa: D102


@checked
def preset(name: str, corpus: HasVocabulary | None = None) -> Config:
    """A named configuration, its vocabulary, row length and columns those of a `corpus`, if given.

    `small`, `medium` and `large` are the paper's LTM-S, LTM-M and LTM-L (38.4 M, 51.0 M and
    76.3 M parameters with GPT-2's vocabulary and a begin-of-text token); `tiny` learns on a
    laptop CPU in minutes.

    Raises:
        InputError: if there is no preset of that name.

    Example:
        >>> import ltm_pyro as ltm
        >>> config = ltm.preset("small")
        >>> config.thoughts.shape, config.fast.steps
        ((3, 8, 512), 16)
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    config = PRESETS[name]
    if corpus is None:
        return config
    architecture = dataclasses.replace(
        config.architecture,
        vocabulary=corpus.vocabulary,
        begin=corpus.begin,
        length=corpus.length,
        window=min(config.architecture.window, corpus.length),
    )
    data = dataclasses.replace(config.data, columns=corpus.columns, numbers=corpus.numbers)
    return config.replace(architecture=architecture, data=data)


def _paper(layers: int, slots: int, fast_steps: int) -> Config:
    return Config(
        Architecture(vocabulary=50_258, begin=50_257, layers=layers),
        Thoughts(layers, slots, dim=512),
        fast=Fast(steps=fast_steps),
        training=Training(steps=10_000, batch=32),
    )


PRESETS: dict[str, Config] = {
    "tiny": Config(
        Architecture(2048, 0, 64, window=16, layers=2, width=128, heads=4, feedforward=344),
        Thoughts(layers=2, slots=2, dim=16),
        fast=Fast(steps=4),
        slow=Slow(lr=2e-3, warmup=20),
        objective=Objective(start=0.1, warmup=0.6),
        training=Training(steps=500, batch=16, check_every=100),
    ),
    "small": _paper(layers=3, slots=8, fast_steps=16),
    "medium": _paper(layers=6, slots=4, fast_steps=16),
    "large": _paper(layers=12, slots=8, fast_steps=64),
}
