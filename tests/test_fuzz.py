"""Whatever is given, a command ends in success or in the project's own error, never in a traceback.

A few of each kind always run; `make fuzz` (`python -m tests.test_fuzz N`) runs as many as are asked
for and counts how they ended.
"""

import contextlib
import copy
import dataclasses
import io
import json
import os
import random
import shutil
import string
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

import ltm_pyro as ltm
from ltm_pyro.commands import cli, command, commands
from ltm_pyro.config import Architecture, Config, Named, Thoughts
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.runs.build import build_callback, build_decoder, build_guide, build_prior
from ltm_pyro.runs.config_json import from_dict, to_dict

OWN = (InputError, NotFinite)
NUMBERS = [0, 1, -1, 2, 3, 7, 255, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**30, -(10**30)]
REALS = [0.0, -0.0, 0.5, 1.0, 1.5, -1.5, 1e-320, 1e308, float("nan"), float("inf"), -float("inf")]
WORDS = [
    "", " ", "no", "None", "true", "\x00", "\ud800", "\x1b[2J", "😀", "a" * 3000, "(", "a|b", "\\",
    "../..", "/dev/null", "/", "~", "%s", "{0}", "__main__:X", "json:loads", "x:", ":", "os:path",
    "mixture", "standard-normal", "Adam", "LBFGS", "bf16", "packed", "٣", "1e5", "0x10", "-", "--",
]  # fmt: skip


def value(draw, depth=0):
    """Anything that JSON holds."""
    kinds = [
        lambda: draw.choice(NUMBERS), lambda: draw.choice(REALS), lambda: draw.choice(WORDS),
        lambda: None, lambda: draw.random() < 0.5, lambda: draw.uniform(-2, 2),
        lambda: draw.randrange(-3, 300),
        lambda: "".join(draw.choices(string.printable, k=draw.randrange(9))),
        lambda: [], lambda: {},
    ]  # fmt: skip
    if depth < 2:
        kinds += [
            lambda: [value(draw, depth + 1) for _ in range(draw.randrange(4))],
            lambda: {draw.choice(WORDS[:9]): value(draw, depth + 1) for _ in range(2)},
        ]
    return draw.choice(kinds)()


def places(content, path=()):
    """Every place in nested objects and lists."""
    inner = content.items() if isinstance(content, dict) else enumerate(content)
    for key, one in list(inner):
        yield (*path, key)
        if isinstance(one, dict | list):
            yield from places(one, (*path, key))


def changed(draw, content, times=2):
    """JSON with some values exchanged, left out or added."""
    content = copy.deepcopy(content)
    for _ in range(draw.randrange(1, times + 1)):
        path = draw.choice(list(places(content)) or [()])
        at = content
        for key in path[:-1]:
            at = at[key]
        what = draw.random()
        if not path or what < 0.1:
            if isinstance(at, dict):
                at[draw.choice(WORDS)] = value(draw)
        elif what < 0.2:
            del at[path[-1]]
        else:
            at[path[-1]] = value(draw)
    return content


def tiny():
    """A configuration whose model takes a millisecond to make."""
    return Config(
        Architecture(300, 0, length=12, window=4, layers=1, width=8, heads=2, feedforward=8),
        Thoughts(1, 1, 2),
        fast=ltm.Fast(steps=1),
        training=ltm.Training(steps=1, batch=4, check_every=1, save_every=1),
    )


class Fuzz:
    """Inputs of every kind, made from one seed, and how each of them ended."""

    def __init__(self, seed, folder):
        self.draw, self.folder = random.Random(seed), Path(folder)
        self.ends: Counter[tuple[str, str]] = Counter()
        self.faults: list[str] = []
        self.whole = to_dict(tiny().replace(warm=ltm.Warm(1), callbacks=(Named("wandb"),)))

    def give(self, kind, what, call):
        """One input; anything but success and the project's own errors is a fault."""
        try:
            end = call()
        except OWN:
            end = "told"
        except (SystemExit, Exception) as error:
            end = "FAULT"
            self.faults.append(f"{kind}: {what!r:.400}: {type(error).__name__}: {error!s:.300}")
        self.ends[kind, str(end)] += 1

    def config(self):
        """A configuration in JSON, and what it names."""
        content = changed(self.draw, self.whole)

        def call():
            made = from_dict(Config, json.loads(json.dumps(content)), "run.json")
            from_dict(Config, to_dict(made), "again.json")
            return "taken"

        self.give("configuration", content, call)

    def named(self):
        """A prior, guide, decoder or callback by name, with options."""
        draw, config = self.draw, tiny()
        kinds = {
            "prior": lambda n: build_prior(n, config.thoughts, {"author": ("a", "b")}),
            "guide": build_guide,
            "decoder": lambda n: build_decoder(n, config.architecture, config.thoughts),
            "callback": build_callback,
        }
        known = "mixture horseshoe student-t conditional covariance langevin hamiltonian auto lstm"
        options = "components spread nodes learned degrees rank particles column hidden scale guide"
        kind = draw.choice(list(kinds))
        name = draw.choice([*known.split(), *WORDS])
        given = {
            draw.choice([*options.split(), *WORDS]): value(draw) for _ in range(draw.randrange(3))
        }

        def call():
            kinds[kind](Named(name, given))
            return "taken"

        self.give("part", (kind, name, given), call)

    def python(self):
        """Arguments of dataclasses in Python."""
        part = self.draw.choice([ltm.Fast, ltm.Slow, ltm.Warm, ltm.Objective, ltm.Training,
                                 ltm.Thoughts, ltm.Sampling, Architecture])  # fmt: skip
        fields = [field.name for field in dataclasses.fields(part)]
        given = {name: value(self.draw) for name in self.draw.sample(fields, 2 % (len(fields) + 1))}
        base = {"Warm": {"steps": 1}, "Thoughts": {"layers": 1, "slots": 1, "dim": 1},
                "Architecture": {"vocabulary": 9, "begin": 0}}.get(part.__name__, {})  # fmt: skip

        def call():
            part(**{**base, **given})
            return "taken"

        self.give("dataclass", (part.__name__, given), call)

    def argument(self):
        """What may stand on a command line."""
        draw = self.draw
        text = draw.choice([*map(str, NUMBERS), *map(str, REALS), *WORDS])
        return text if draw.random() < 0.8 else str(draw.randrange(-2, 40))

    def command_line(self, run="none"):
        """A command with options, up to where it would begin to train."""
        draw = self.draw
        name = draw.choice([*commands(), *WORDS[:4]])
        options = ["--out", "--json", "--help", "--seed", "--limit", "--prior.components"]
        if name in commands():
            cls = command(name)
            for field in dataclasses.fields(cls):
                inner = [k for k in (field.type, *getattr(field.type, "__args__", ()))
                         if dataclasses.is_dataclass(k)]  # fmt: skip
                options += [f"--{field.name.replace('_', '-')}"] if not inner else [
                    f"--{field.name}.{one.name.replace('_', '-')}"
                    for one in dataclasses.fields(inner[0])
                ]  # fmt: skip
        words = [name] if draw.random() < 0.95 else []
        if name in ("evaluate", "generate", "info") and draw.random() < 0.9:
            words.append(run)
        if name == "train" and draw.random() < 0.9:
            words += ["--out", "/dev/null/none"]
        for _ in range(draw.randrange(5)):
            option = draw.choice(options)
            words += draw.choice(
                [[option], [option, self.argument()], [f"{option}={self.argument()}"]]
            )
        if name == "demo":  # it would train for minutes
            words.append("--steps=x")
        self.run("command line", words)

    def run(self, kind, words):
        """One command, in process."""
        out, err = io.StringIO(), io.StringIO()

        def call():
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    code = cli.main(words)
                except SystemExit as stop:  # --help
                    code = stop.code or 0
            if code not in (0, 1, 2) or "Traceback" in err.getvalue():
                raise AssertionError(f"exit code {code}, {err.getvalue()[-300:]}")
            if code == 2 and not err.getvalue().strip().split("\n")[-1].startswith("ltm: error: "):
                raise AssertionError(f"no error in the last line: {err.getvalue()[-300:]}")
            return f"exit code {code}"

        self.give(kind, words, call)

    def damaged_run(self):
        """A run whose config.json, log, weights or tokenizer was changed, and a question to it."""
        draw, place = self.draw, self.folder / "damaged"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.folder / "run", place)
        name = draw.choice(["config.json"] * 4 + ["log.jsonl", "model.safetensors",
                            "tokenizer.json", "trainer.pt"])  # fmt: skip
        file = place / name
        content = file.read_bytes()
        if name == "config.json" or (name == "tokenizer.json" and draw.random() < 0.5):
            file.write_text(json.dumps(changed(draw, json.loads(content), 1)))
        elif name == "log.jsonl" and draw.random() < 0.7:
            lines = content.decode().splitlines()
            i = draw.randrange(len(lines))
            lines[i] = json.dumps(changed(draw, json.loads(lines[i]), 1))
            file.write_text("\n".join(lines))
        else:
            i = draw.randrange(len(content))
            cut = draw.choice([content[:i], content[:i] + bytes([draw.randrange(256)]) * 3
                               + content[i + 3 :], b""])  # fmt: skip
            file.write_bytes(cut)
        words = draw.choice([["info", str(place)], ["info", str(place), "--json"]])
        if draw.random() < 0.3:
            words = draw.choice([
                ["generate", str(place), "--length", "6"],
                ["evaluate", str(place), "--bounds", "prior:1", "--limit", "20"],
            ])  # fmt: skip
        self.run(f"damaged {name}", words)

    def prompt(self):
        """Prompts, stops and settings of writing."""
        draw = self.draw
        words = ["generate", str(self.folder / "run"), "--length", "8", "--fast.steps", "1"]
        for option in draw.sample(["--prompt", "--stop", "--temperature", "--top-k", "--top-p",
                                   "--seed", "--n", "--where"], draw.randrange(1, 4)):  # fmt: skip
            text = self.argument() if option not in ("--n",) else draw.choice(["0", "2", "x"])
            words.append(f"{option}={text}")
        self.run("prompt", words)

    def records(self):
        """A file of records, read as a corpus."""
        draw, file = self.draw, self.folder / "records.jsonl"
        lines = [json.dumps(changed(draw, {"text": "some words", "n": i, "of": {"a": [1]}}, 2))
                 if draw.random() < 0.3 else json.dumps({"text": f"some {i} words", "n": i})
                 for i in range(6)]  # fmt: skip
        if draw.random() < 0.2:
            lines.insert(2, draw.choice(["{", "[]", "3", '"a"', "nul", "\x00", "{}" * 3]))
        file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        columns = draw.choice([(), ("n",), ("of",), ("none",)])

        def call():
            with contextlib.redirect_stderr(io.StringIO()):
                ltm.load_corpus(file, length=8, vocabulary=260, columns=columns)
            return "read"

        self.give("records", lines, call)


def make_run(folder):
    """A run of a second to damage."""
    text = "\n\n".join(f"text {i} of {i % 7} words and more" for i in range(60))
    (folder / "text.txt").write_text(text)
    small = (
        "--steps 1 --batch 4 --length 12 --vocabulary 300 --check-every 1 --quiet --fast.steps 1 "
        "--architecture.width 16 --architecture.heads 2 --architecture.feedforward 24 "
        "--architecture.window 4 --thoughts.dim 2"
    )
    with contextlib.redirect_stderr(io.StringIO()):
        there = ["--data", str(folder / "text.txt"), "--out", str(folder / "run")]
        assert cli.main(["train", *there, *small.split()]) == 0


CHEAP = {"config": 100, "named": 20, "python": 200}
"""Kinds of inputs that take a millisecond or less, and how many of each for one of the others."""
COSTLY = {"command_line": 3, "damaged_run": 1, "prompt": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    make_run(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "times"),
    [("config", 300), ("named", 100), ("python", 600), ("command_line", 8), ("damaged_run", 10),
     ("prompt", 8)],
)  # fmt: skip
def test_every_input_ends_in_success_or_an_error_of_ours(folder, kind, times):
    fuzz = Fuzz(f"{kind} 0", folder)
    for _ in range(times):
        getattr(fuzz, kind)()
    assert not fuzz.faults, "\n".join(fuzz.faults[:5])
    assert fuzz.ends.total() == times
    assert any(end != "told" for _, end in fuzz.ends), "nothing was ever taken"


def test_the_fuzzer_sees_a_fault(folder, monkeypatch):
    def broken(*arguments):
        raise KeyError("architecture")

    monkeypatch.setattr(sys.modules[__name__], "from_dict", broken)
    fuzz = Fuzz("broken", folder)
    fuzz.config()
    assert fuzz.ends["configuration", "FAULT"] == 1
    assert "KeyError" in fuzz.faults[0]


def main(total, seed=0, kinds=None, seconds=None):
    """Give inputs until there are enough, and print how they ended."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        make_run(Path(name))
        fuzz, begun = Fuzz(f"{seed}", name), time.monotonic()
        shares = {**CHEAP, **COSTLY} if kinds is None else dict.fromkeys(kinds, 1)
        while fuzz.ends.total() < total:
            for kind, times in shares.items():
                for _ in range(times):
                    getattr(fuzz, kind)()
            if seconds is not None and time.monotonic() - begun > seconds:
                break
        for (kind, end), count in sorted(fuzz.ends.items()):
            sys.stdout.write(f"{kind:<28}{end:<14}{count:>10,}\n")
        sys.stdout.write(f"{fuzz.ends.total():,} inputs, {len(fuzz.faults)} faults, seed {seed}\n")
        for fault in fuzz.faults[:200]:
            sys.stdout.write(fault + "\n")
    return 1 if fuzz.faults else 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    arguments = sys.argv[1:]
    seconds = float(arguments[3]) if len(arguments) > 3 else None
    kinds = arguments[2].split(",") if len(arguments) > 2 and arguments[2] != "all" else None
    sys.exit(main(int(arguments[0]), arguments[1] if len(arguments) > 1 else 0, kinds, seconds))
