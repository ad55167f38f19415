"""Settings: configurations in JSON, parts by name, dataclasses in Python, command lines."""

import dataclasses
import io
import json
import sys
from typing import ClassVar

import ltm_pyro as ltm
from ltm_pyro.commands import cli, command, commands
from ltm_pyro.config import Architecture, Config, Data, Named, Thoughts
from ltm_pyro.runs.build import build_callback, build_decoder, build_guide, build_prior
from ltm_pyro.runs.config_json import from_dict, to_dict

from .drawing import WORDS, argument, changed, value
from .ends import Kind


def tiny():
    """A configuration whose model takes a millisecond to make."""
    return Config(
        Architecture(300, 0, length=12, window=4, layers=1, width=8, heads=2, feedforward=8),
        Thoughts(1, 1, 2),
        fast=ltm.Fast(steps=1),
        training=ltm.Training(steps=1, batch=4, check_every=1, save_every=1),
    )


class Configuration(Kind):
    """A configuration in JSON, and what it names."""

    share = 300

    def __init__(self, folder):
        super().__init__(folder)
        self.whole = to_dict(tiny().replace(warm=ltm.Warm(1), callbacks=(Named("wandb"),)))

    def make(self, draw):
        content = changed(draw, self.whole, draw.choice([1, 2]))

        def call():
            made = from_dict(Config, json.loads(json.dumps(content)), "run.json")
            from_dict(Config, to_dict(made), "again.json")
            return "taken"

        return content, call


NAMES = [
    "mixture", "horseshoe", "student-t", "conditional", "covariance", "langevin", "hamiltonian",
    "auto", "lstm", "semi-amortized", "energy", "layerwise", "point", "flow", "mean-field",
]  # fmt: skip
OPTIONS = [
    "components", "spread", "nodes", "learned", "degrees", "rank", "particles", "column", "hidden",
    "scale", "guide", "base", "width", "name", "samples", "log_variance", "scope",
]  # fmt: skip


class Part(Kind):
    """A prior, guide, decoder or callback by name, with options."""

    share = 60

    def make(self, draw):
        config = tiny()
        kinds = {
            "prior": lambda n: build_prior(n, config.thoughts, {"author": ("a", "b")}),
            "guide": build_guide,
            "decoder": lambda n: build_decoder(n, config.architecture, config.thoughts),
            "callback": build_callback,
        }
        kind = draw.choice(list(kinds))
        name = draw.choice([*NAMES, *WORDS])
        given = {draw.choice([*OPTIONS, *WORDS]): value(draw) for _ in range(draw.randrange(3))}

        def call():
            kinds[kind](Named(name, given))
            return "taken"

        return (kind, name, given), call


class Dataclass(Kind):
    """Arguments of dataclasses in Python."""

    share = 300
    parts: ClassVar = [ltm.Fast, ltm.Slow, ltm.Warm, ltm.Objective, ltm.Training, ltm.Thoughts,
                       ltm.Sampling, Architecture, Data]  # fmt: skip
    needed: ClassVar = {"Warm": {"steps": 1}, "Thoughts": {"layers": 1, "slots": 1, "dim": 1},
                        "Architecture": {"vocabulary": 9, "begin": 0}}  # fmt: skip

    def make(self, draw):
        part = draw.choice(self.parts)
        fields = [field.name for field in dataclasses.fields(part)]
        given = {
            name: value(draw) for name in draw.sample(fields, draw.choice([1, min(len(fields), 2)]))
        }

        def call():
            part(**{**self.needed.get(part.__name__, {}), **given})
            return "taken"

        return (part.__name__, given), call


def options_of(name):
    """The options of a command."""
    options = ["--out", "--json", "--help", "--seed", "--limit", "--prior.components", "--trust"]
    for field in dataclasses.fields(command(name)) if name in commands() else ():
        inner = [k for k in (field.type, *getattr(field.type, "__args__", ()))
                 if dataclasses.is_dataclass(k)]  # fmt: skip
        own = [f"--{field.name.replace('_', '-')}"]
        options += own if not inner else [
            f"--{field.name}.{one.name.replace('_', '-')}" for one in dataclasses.fields(inner[0])
        ]  # fmt: skip
    return options


ENDLESS = {"demo": "--steps=x", "audit": "--documents=x", "evaluate": "--chunk=x"}
"""What keeps a command from computing for minutes."""


class CommandLine(Kind):
    """A command with options, up to where it would begin to compute."""

    share = 2

    def __init__(self, folder):
        super().__init__(folder)
        self.options = {name: options_of(name) for name in [*commands(), *WORDS[:4]]}

    def words(self, draw):
        name = draw.choice(list(self.options))
        words = [name] if draw.random() < 0.95 else []
        if name in ("evaluate", "generate", "info") and draw.random() < 0.9:
            words.append(str(self.folder.parent / "run"))
        if name == "train" and draw.random() < 0.9:
            words += ["--out", "/dev/null/none"]
        for _ in range(draw.randrange(5)):
            option = draw.choice(self.options[name])
            given = argument(draw).lstrip("/~")  # not all files of this machine
            words += draw.choice([[option], [option, given], [f"{option}={given}"]])
        return [*words, ENDLESS[name]] if words[:1] == [name] and name in ENDLESS else words

    def make(self, draw):
        words = self.words(draw)
        return words, lambda: ran(words)


def ran(words):
    """One command, in process: its exit code, if that and what it says are right."""
    try:
        code = cli.main(words)
    except SystemExit as stop:  # --help
        code = stop.code or 0
    told = sys.stderr.getvalue() if isinstance(sys.stderr, io.StringIO) else ""
    if code not in (0, 1, 2) or "Traceback" in told:
        raise AssertionError(f"exit code {code}, {told[-300:]}")
    if code == 2 and not told.strip().split("\n")[-1].startswith("ltm: error: "):
        raise AssertionError(f"no error in the last line: {told[-300:]}")
    return f"exit code {code}"
