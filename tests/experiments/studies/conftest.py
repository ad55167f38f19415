"""The run that studies look at."""

import dataclasses
import shutil
from pathlib import Path

import pytest

import ltm_pyro as ltm

from ...runs.conftest import documents, small
from ...runs.helpers import train, with_training


@pytest.fixture(scope="session")
def looked_at(tmp_path_factory) -> Path:
    """The folder of a run of two layers beside its control, trained once: to be copied."""
    place = tmp_path_factory.mktemp("looked-at")
    text = place / "documents.jsonl"
    text.write_text(documents())
    corpus = ltm.load_corpus(text, length=12, vocabulary=300)
    config = with_training(small(corpus.vocabulary, corpus.begin, text), baseline=True, steps=2)
    architecture = dataclasses.replace(config.architecture, layers=2, width=16, feedforward=24)
    config = config.replace(
        architecture=architecture, thoughts=ltm.Thoughts(2, 2, 3), fast=ltm.Fast(steps=3)
    )
    return train(config, place / "run", corpus=corpus).path


@pytest.fixture
def run(looked_at, tmp_path) -> ltm.Run:
    return ltm.load(shutil.copytree(looked_at, tmp_path / "run"))
