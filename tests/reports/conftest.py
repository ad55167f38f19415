"""Runs whose texts, columns and names are those of a stranger who means no good."""

import dataclasses
import json
from pathlib import Path

import pytest

import ltm_pyro as ltm
from ltm_pyro.config import Data, Named

from ..runs.conftest import small
from ..runs.helpers import train, with_training

SCRIPT = "<script>alert(1)</script>"
AUTHORS = (SCRIPT, "$\\frac{austen", "\x1b[31m_red & 'blue'", None)


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory) -> tuple[Path, Path]:
    """Two runs beside controls, of one text and tokenizer: they differ in prior and seed."""
    place = tmp_path_factory.mktemp("runs & <b>more")
    text = place / "documents.jsonl"
    lines = [
        {"text": f"{i} {SCRIPT if i % 3 else 'wave'} " + "sea " * (i % 9), "author": AUTHORS[i % 4]}
        for i in range(240)
    ]
    text.write_text("\n".join(map(json.dumps, lines)) + "\n")
    data = Data(str(text), vocabulary=300, columns=("author",))
    corpus = ltm.load_corpus(data, length=12)
    first = with_training(
        small(corpus.vocabulary, corpus.begin, text).replace(data=data), baseline=True
    )
    second = with_training(first, seed=1).replace(prior=Named("learned-normal"))
    return (
        train(first, place / "one", corpus=corpus).path,
        train(second, place / "other", corpus=corpus).path,
    )


@pytest.fixture
def run(two_runs, tmp_path) -> ltm.Run:
    """The first of the runs."""
    return dataclasses.replace(ltm.load(two_runs[0]))
