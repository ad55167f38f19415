"""A small corpus and a small model that every test can afford."""

import dataclasses
import json
import os
import sys
from pathlib import Path

import pyro
import pytest
import torch
from hypothesis import settings

import ltm_pyro as ltm
from ltm_pyro.config import Architecture, Config, Data, Fast, Slow, Thoughts, Training
from ltm_pyro.data.rows import Rows
from ltm_pyro.models import LatentThoughtModel

settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.load_profile("same")
torch.set_num_threads(1)  # tensors here are too small to share
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, too


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """No test leaves a corpus in the user's cache, or finds one there."""
    monkeypatch.setenv("LTM_PYRO_CACHE", str(tmp_path / "cache-of-corpora"))


@pytest.fixture(autouse=True)
def _own_modules(tmp_path):
    """What a test wrote and imported is forgotten: another may give its module the same name."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)
    yield
    assert len(pyro.get_param_store()) == 0, "nothing may enter the global ParamStore"


@pytest.fixture
def config() -> Config:
    return Config(
        Architecture(
            vocabulary=20, begin=0, length=12, window=4, layers=2, width=16, heads=2, feedforward=24
        ),
        Thoughts(layers=2, slots=2, dim=3),
        fast=Fast(steps=3),
        slow=Slow(warmup=2),
        training=Training(steps=4, batch=4, check_every=2, check_rows=6, save_every=2),
    )


@pytest.fixture
def model(config: Config) -> LatentThoughtModel:
    return strong(LatentThoughtModel(config))


def strong(model: LatentThoughtModel) -> LatentThoughtModel:
    """Larger random weights, so that thoughts and tokens matter to the likelihood."""
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if parameter.dim() == 2:
                scale = 1.0 if "embedding" in name else parameter.shape[1] ** -0.5
                parameter.normal_(std=scale)
    return model


def some_rows(
    rows: int = 5, length: int = 12, vocabulary: int = 20, seed: int = 0, full: bool = False
) -> Rows:
    """Random tokens in rows of various lengths, one document a row."""
    source = torch.Generator().manual_seed(seed)
    tokens = torch.randint(vocabulary, (rows, length), generator=source)
    lengths = torch.randint(3, length + 1, (rows,), generator=source)
    lengths[0] = length
    if full:
        lengths[:] = length
    return Rows(tokens, lengths, torch.arange(rows), lengths * 4)


@pytest.fixture
def rows() -> Rows:
    return some_rows()


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """Sixty short documents on two topics, as JSON lines."""
    things = {"sea": ["wave", "fish", "sail", "salt"], "wood": ["tree", "leaf", "root", "moss"]}
    lines = []
    for i in range(60):
        topic = list(things)[i % 2]
        words = [things[topic][(i // 2 + j * (i % 5 + 1)) % 4] for j in range(4 + i % 7)]
        lines.append(json.dumps({"text": f"{topic} {i}: " + " ".join(words), "label": i}))
    path = tmp_path / "documents.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def corpus(text_file: Path) -> ltm.Corpus:
    return ltm.load_corpus(text_file, length=12, vocabulary=300)


@pytest.fixture
def run_config(config: Config, corpus: ltm.Corpus, text_file: Path) -> Config:
    """A configuration that trains on `text_file` in a second."""
    architecture = dataclasses.replace(
        config.architecture, vocabulary=corpus.vocabulary, begin=corpus.begin
    )
    data = Data(source=str(text_file), vocabulary=300)
    return config.replace(architecture=architecture, data=data)
