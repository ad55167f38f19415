"""Runs here are about files and processes, so their model is as small as can be."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import ltm_pyro as ltm
from ltm_pyro.config import Config

from .helpers import train


def documents() -> str:
    """Sixty short documents on two topics, as JSON lines."""
    things = {"sea": ["wave", "fish", "sail", "salt"], "wood": ["tree", "leaf", "root", "moss"]}
    lines = []
    for i in range(60):
        topic = list(things)[i % 2]
        words = [things[topic][(i // 2 + j * (i % 5 + 1)) % 4] for j in range(4 + i % 7)]
        lines.append(json.dumps({"text": f"{topic} {i}: " + " ".join(words), "label": i}))
    return "\n".join(lines) + "\n"


def small(vocabulary: int, begin: int, source: Path) -> Config:
    """A configuration that trains in a moment."""
    return Config(
        ltm.config.Architecture(
            vocabulary, begin, length=12, window=4, layers=1, width=8, heads=2, feedforward=8
        ),
        ltm.Thoughts(1, 2, 3),
        fast=ltm.Fast(steps=1),
        slow=ltm.Slow(warmup=2),
        training=ltm.Training(steps=4, batch=4, check_every=2, check_rows=6, save_every=2),
        data=ltm.config.Data(source=str(source), vocabulary=300),
    )


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "documents.jsonl"
    path.write_text(documents())
    return path


@pytest.fixture
def config(config: Config) -> Config:
    architecture = dataclasses.replace(config.architecture, layers=1, width=8, feedforward=8)
    thoughts = dataclasses.replace(config.thoughts, layers=1)
    return config.replace(architecture=architecture, thoughts=thoughts, fast=ltm.Fast(steps=1))


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> Path:
    """The folder of a run of `run_config`, trained once for all tests: to be copied."""
    place = tmp_path_factory.mktemp("whole-run")
    text = place / "documents.jsonl"
    text.write_text(documents())
    corpus = ltm.load_corpus(text, length=12, vocabulary=300)
    return train(small(corpus.vocabulary, corpus.begin, text), place / "run").path


@pytest.fixture
def trained(whole_run: Path, tmp_path: Path) -> Callable[[], ltm.Run]:
    """Makes what `train(run_config, tmp_path / "run")` makes, of text that lies elsewhere."""
    return lambda: ltm.load(shutil.copytree(whole_run, tmp_path / "run"))
