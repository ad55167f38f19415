"""Runs whose files somebody has changed, with a manifest that agrees or without; and prompts."""

import io
import json
import shutil
from typing import ClassVar

import numpy as np
import torch

import ltm_pyro as ltm
from ltm_pyro.errors import Damaged
from ltm_pyro.generation import Sampling
from ltm_pyro.inference.memory import ARRAY, Memory
from ltm_pyro.runs import folder
from ltm_pyro.runs.info import info_run
from ltm_pyro.runs.info_words import run_text
from ltm_pyro.runs.manifest import Manifest
from ltm_pyro.runs.record import CONFIG, read_config
from ltm_pyro.runs.seen import seen
from ltm_pyro.runs.trainer import Trainer
from ltm_pyro.runs.verify import verify

from .drawing import WORDS, argument, changed, damaged, value
from .ends import Kind
from .settings import ran

STEPS = 6


def make_run(place):
    """A run of a second, with a warm start, to be changed."""
    text = place / "text.txt"
    text.write_text("\n\n".join(f"text {i} of {i % 7} words and more" for i in range(40)))
    data = ltm.config.Data(source=str(text), vocabulary=270)
    corpus = ltm.load_corpus(data, length=12)
    config = ltm.config.Config(
        ltm.config.Architecture(
            corpus.vocabulary, corpus.begin, length=12, window=4, layers=1, width=8, heads=2,
            feedforward=8,
        ),
        ltm.Thoughts(1, 1, 2), data=data, fast=ltm.Fast(steps=1), warm=ltm.Warm(1),
        training=ltm.Training(steps=STEPS, batch=16, check_every=2, check_rows=4, save_every=1,
                              baseline=True),
    )  # fmt: skip
    return ltm.train(config, place / "run", corpus, progress=False)


class OfARun(Kind):
    """A question to a run of which a file was changed; its files are put back afterwards."""

    def __init__(self, place):
        super().__init__(place)
        self.run = place / "run"
        shutil.copytree(place.parent / "run", self.run)
        self.kept = {file.name: file.read_bytes() for file in self.run.iterdir()}

    def change(self, name, data, seal=True):
        """Put the run back, then give a file of it other content."""
        for file in self.run.iterdir():
            if file.name not in self.kept:
                file.unlink()
        for other, kept in self.kept.items():
            if not (self.run / other).exists() or (self.run / other).read_bytes() != kept:
                (self.run / other).write_bytes(kept)
        (self.run / name).write_bytes(data)
        if seal:
            named = [n for n in self.kept if n not in (folder.MANIFEST, folder.LOCK, ARRAY)]
            Manifest.seal(self.run, Manifest.read(self.run).run, named)


class Record(OfARun):
    """What its config.json says."""

    share = 8
    name = CONFIG

    def make(self, draw):
        content = changed(draw, json.loads(self.kept[self.name]), 2)
        data = json.dumps(content).encode("utf-8", "surrogatepass")
        ask = draw.choice([self.info, self.info, self.info, self.load])
        self.change(self.name, data)
        return content, ask

    def info(self):
        """What is told of it."""
        run_text(info_run(self.run))
        return "told of"

    def load(self):
        """What is loaded of it."""
        ltm.load(self.run)
        return "loaded"


class Log(Record):
    """What its log says."""

    share = 8
    name = folder.LOG

    def make(self, draw):
        lines = self.kept[self.name].decode().splitlines()
        i = draw.randrange(len(lines))
        lines[i] = json.dumps(changed(draw, json.loads(lines[i]), 2))
        data = "\n".join(lines).encode("utf-8", "surrogatepass")
        data = damaged(draw, data) if draw.random() < 0.2 else data
        self.change(self.name, data)
        return data, self.info


class Manifests(Record):
    """What its manifest says, with a checksum that is right."""

    share = 10
    name = folder.MANIFEST

    def make(self, draw):
        content = changed(draw, json.loads(self.kept[self.name]), 2)
        data = json.dumps(content, indent=2)
        try:  # as a stranger would, who knows how it is made
            found = Manifest(self.run, content["run"])
            found = found._render({n: [type("S", (dict,), {})(s) for s in may]
                                   for n, may in content["files"].items()})  # fmt: skip
            data = found.decode()
        except Exception:
            import hashlib

            kept = {key: content[key] for key in ("run", "files") if key in content}
            digest = hashlib.sha256(json.dumps(kept).encode()).hexdigest()
            data = json.dumps({**kept, "sha256": digest}, indent=2) + "\n"
        self.change(self.name, data.encode("utf-8", "surrogatepass"), seal=False)

        def call():
            found = verify(self.run)
            return "whole" if set(found.values()) == {"whole"} else "seen"

        return content, draw.choice([call, self.info, self.load])


class Weights(Record):
    """Its weights: the header, or any byte."""

    share = 6
    name = folder.MODEL

    def make(self, draw):
        data = self.kept[self.name]
        size = int.from_bytes(data[:8], "little")
        if draw.random() < 0.6:
            header = json.dumps(changed(draw, json.loads(data[8 : 8 + size]), 2)).encode()
            data = len(header).to_bytes(8, "little") + header + data[8 + size :]
        else:
            data = damaged(draw, data)
        self.change(self.name, data)
        return data[:700], draw.choice([self.load, self.info])


def odd(draw):
    """What may stand in a trainer's state in place of something else."""
    return draw.choice([
        lambda: value(draw), lambda: torch.zeros(draw.choice([(), (0,), (1,), (3, 2), (8, 8)])),
        lambda: torch.tensor(float("nan")), lambda: torch.zeros(1).expand(10**9),
        lambda: torch.zeros(4, dtype=draw.choice([torch.int64, torch.bool, torch.float64,
                                                  torch.complex64, torch.bfloat16])),
        lambda: torch.arange(6.0)[::2], lambda: torch.zeros(3, 3).to_sparse(),
        lambda: torch.zeros(2, device="meta"), lambda: torch.nn.Parameter(torch.zeros(2)),
        lambda: {0: torch.zeros(1)}, lambda: (torch.zeros(1),), lambda: b"bytes",
    ])()  # fmt: skip


class Resume(OfARun):
    """A resume from a trainer's state that was changed, up to where it would train."""

    share = 8
    state_of = folder.TRAINER

    def __init__(self, place):
        super().__init__(place)
        self.state = torch.load(io.BytesIO(self.kept[self.state_of]), weights_only=True)
        self.config, _ = read_config(self.run)
        self.corpus = ltm.load_data(self.config, ltm.Tokenizer.load(self.run / folder.TOKENIZER))

    def make(self, draw):
        if draw.random() < 0.8:
            state = changed(draw, self.state, 2, odd)
            held = io.BytesIO()
            torch.save(state, held)
            data, what = held.getvalue(), state
        else:
            data = what = damaged(draw, self.kept[self.state_of])
        self.change(self.state_of, data)
        if draw.random() < 0.8:
            (self.run / folder.PREVIOUS).unlink()

        def call():
            Trainer(self.corpus, self.config, self.run).resume()
            return "resumed"

        return what, call


ODD_ARRAYS = [
    np.zeros(0), np.zeros((3, 0)), np.array(3), np.array([1.5]), np.array([2**62]),
    np.array([-1]), np.array(["a"]), np.zeros((2, 3), "f4"), np.array([1 + 2j]),
    np.array([True]), np.zeros((1, 1, 1)), np.array(["2020"], "M8[D]"), np.zeros(2, "i1,f4"),
]  # fmt: skip


class Remembered(OfARun):
    """What a warm start remembers: the array, and what was staged."""

    share = 20

    def __init__(self, place):
        super().__init__(place)
        state = torch.load(io.BytesIO(self.kept[folder.TRAINER]), weights_only=True)
        self.record = state["memory"]
        with np.load(io.BytesIO(self.kept[folder.STAGED])) as staged:
            self.staged = dict(staged)

    def make(self, draw):
        name = draw.choice([ARRAY, folder.STAGED, folder.STAGED])
        if name == folder.STAGED and draw.random() < 0.7:
            parts = dict(self.staged)
            part = draw.choice(list(parts))
            if draw.random() < 0.2:
                del parts[part]
            else:
                parts[part] = draw.choice(ODD_ARRAYS)
            held = io.BytesIO()
            np.savez(held, **parts)
            data, what = held.getvalue(), parts
        else:
            data = what = damaged(draw, self.kept[name])
        self.change(name, data, seal=False)

        def call():
            try:
                Memory.check(self.run, STEPS, {**self.record})
            except Damaged:
                return "told"
            return "as it was"

        return (name, what), call


class Seen(Record):
    """Which documents it was trained on."""

    share = 5
    name = folder.SEEN

    def make(self, draw):
        held = io.BytesIO()
        np.save(held, draw.choice(ODD_ARRAYS))
        data = held.getvalue() if draw.random() < 0.4 else damaged(draw, self.kept[self.name])
        self.change(self.name, data)

        def call():
            seen(self.run)
            return "read"

        return data, call


class Prompt(OfARun):
    """Prompts, stops and settings of writing."""

    share = 2

    def __init__(self, place):
        super().__init__(place)
        self.loaded = ltm.load(self.run)

    def make(self, draw):
        some = [argument(draw) for _ in range(draw.randrange(3))]
        given = {
            "prompt": draw.choice([None, some, argument(draw), value(draw)]),
            "n": draw.choice([1, 1, 2, value(draw)]),
            "length": draw.choice([4, 6, 12, value(draw)]),
            "stop": draw.choice([(), some, argument(draw)]),
            "seed": draw.choice([0, 1, value(draw)]),
            "where": draw.choice([None, None, {}, {argument(draw): argument(draw)}, value(draw)]),
        }
        if isinstance(given["n"], int | float) and given["n"] and abs(given["n"]) > 40:
            given["n"] = 3
        cooled = [draw.choice([1.0, 0.0, value(draw)]), draw.choice([None, 3, value(draw)]),
                  draw.choice([1.0, 0.5, value(draw)])]  # fmt: skip

        def call():
            ltm.generate(
                self.loaded.model, self.loaded.tokenizer, fast=self.loaded.config.fast,
                sampling=Sampling(*cooled), **given,
            )  # fmt: skip
            return "written"

        return (given, cooled), call


class Question(OfARun):
    """A command about a run, with options."""

    share = 1
    options: ClassVar = {
        "generate": ["--prompt", "--stop", "--temperature", "--top-k", "--top-p", "--seed", "--n",
                     "--where", "--length", "--fast.steps", "--device", "--prompts-file"],
        "evaluate": ["--bounds", "--limit", "--seed", "--chunk", "--split", "--fast.steps",
                     "--checkpoint", "--data", "--field", "--separator", "--against", "--device"],
        "info": ["--json", "--verify"],
        "train": ["--steps", "--data", "--limit", "--device", "--separator", "--seed"],
    }  # fmt: skip

    def make(self, draw):
        name = draw.choice(list(self.options))
        words = [name, str(self.run)] if name != "train" else [
            "train", "--resume", "--quiet", "--out", str(self.run)
        ]  # fmt: skip
        for option in draw.sample(self.options[name], draw.randrange(1, 3)):
            given = argument(draw).lstrip("/~.")  # not all files of this machine
            if option in ("--n", "--fast.steps", "--steps", "--length"):
                given = draw.choice(["0", "2", "x", "-1", "٣", str(10**30)])
            words += [option] if name == "info" else [f"{option}={given}"]
        if name == "evaluate" and "--bounds" not in " ".join(words):
            words += ["--bounds", draw.choice(["prior:1", "elbo:1", "elbo,prior:x", *WORDS])]
        self.change(folder.LOG, self.kept[folder.LOG], seal=False)
        return words, lambda: ran(words)
