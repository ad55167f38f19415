"""What a program holds already: texts, tables, data sets; and texts where rows are expected."""

import dataclasses
import json

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Data
from ltm_pyro.data.documents import read_documents
from ltm_pyro.data.given import rows_of
from ltm_pyro.errors import InputError
from ltm_pyro.runs.build import build_model

TEXTS = [f"Story {i}: a fox met {i % 7} owls by the river." for i in range(60)]
SPLITS = {"train": TEXTS[:40], "Val": TEXTS[40:50], "test": TEXTS[50:]}


@pytest.mark.parametrize(
    "given",
    [
        TEXTS,
        tuple(TEXTS),
        iter(TEXTS),
        pd.Series(TEXTS),
        np.array(TEXTS),
        [{"text": text, "n": 1} for text in TEXTS],
        pd.DataFrame({"n": range(60), "text": TEXTS}),
        datasets.Dataset.from_dict({"text": TEXTS, "n": list(range(60))}),
    ],
    ids=lambda given: type(given).__name__,
)
def test_every_way_to_hold_texts(given):
    corpus = ltm.load_corpus(given, length=16, vocabulary=300)
    assert sum(len(corpus.rows(s).digests) for s in ("train", "valid", "test")) == 60
    assert corpus.fingerprint == ltm.load_corpus(TEXTS, length=8, vocabulary=300).fingerprint


def test_splits_in_memory_are_kept():
    data_set = datasets.DatasetDict(
        {name: datasets.Dataset.from_dict({"text": some}) for name, some in SPLITS.items()}
    )
    for given in (SPLITS, data_set):
        found = read_documents(given)
        assert found == {"train": TEXTS[:40], "valid": TEXTS[40:50], "test": TEXTS[50:]}
    with pytest.raises(InputError, match="data under 'extra': expected one each under train"):
        read_documents({**SPLITS, "extra": TEXTS})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a", 3], r"text 1 \(counted from 0\) is int: expected str"),
        (["a", None], r"text 1 .* is nothing: expected str"),
        ([b"a"], "is bytes: expected str"),
        (b"abc", "data of type bytes: expected a name"),
        (3, "data of type int"),
        ([], "holds no text: 0 documents read"),
        (["", " "], "every one of the 2 documents read is blank"),
        ({}, "an empty mapping"),
        (pd.DataFrame({"n": [1, 2]}), "no field that holds text; its fields: n"),
        (["half \ud83d"], "has half a letter in it"),
    ],
)
def test_what_is_no_text_is_named(given, message):
    with pytest.raises(InputError, match=message):
        ltm.load_corpus(given)


@pytest.mark.parametrize(
    ("given", "fields", "note"),
    [
        ([*TEXTS, "", " \n"], (), "left out: 2 document(s) without text"),
        (
            [{"a": text, "b": "x"} for text in TEXTS] + [{"a": None, "b": "y"}, {"b": "z"}],
            ("a",), "left out: 2 document(s) without text in a",
        ),
    ],
)  # fmt: skip
def test_documents_without_text_are_counted(given, fields, note):
    if fields:
        given = pd.DataFrame(given)
    corpus = ltm.load_corpus(given, fields=fields, length=8)
    assert [one for one in corpus.notes if "without text" in one] == [note]
    whole = ltm.load_corpus(TEXTS, length=8)
    assert not any("without text" in one for one in whole.notes)
    assert corpus.fingerprint == whole.fingerprint


def test_names_of_files_are_no_texts(tmp_path):
    paths = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    for path in paths:
        (tmp_path / path).write_text("\n\n".join(TEXTS[:20]))
    with pytest.raises(InputError, match="these 2 texts are names of files"):
        ltm.load_corpus(paths)
    both = ltm.load_corpus(Data(source=tuple(paths), vocabulary=300))
    assert sum(len(both.rows(s).digests) for s in ("train", "valid", "test")) == 40
    assert both.source == tuple(paths)


def test_a_run_of_texts_in_memory_says_that_they_are_not_saved():
    corpus = ltm.load_corpus(TEXTS, vocabulary=300)
    assert corpus.name == "<60 texts>"
    with pytest.raises(InputError, match="60 texts that a program held, which are not saved"):
        ltm.load_corpus(corpus.source)


@pytest.fixture
def trained(config):
    corpus = ltm.load_corpus(TEXTS, length=12, vocabulary=300)
    architecture = dataclasses.replace(
        config.architecture, vocabulary=corpus.vocabulary, begin=corpus.begin
    )
    return build_model(config.replace(architecture=architecture)), corpus


def test_texts_are_scored_as_their_rows_are(trained):
    model, corpus = trained
    texts = TEXTS[:3]
    rows = rows_of(texts, model, corpus.tokenizer)
    asked = {"fast": ltm.Fast(steps=1), "progress": False}
    a = ltm.evaluate(model, rows, ["elbo:2"], **asked)["elbo"]
    b = ltm.evaluate(model, texts, ["elbo:2"], tokenizer=corpus.tokenizer, **asked)["elbo"]
    assert a.nats.tolist() == b.nats.tolist()
    assert a.bytes.tolist() == [len(text) for text in texts]
    svi = ltm.DualRateSVI(model, fast=ltm.Fast(steps=1))
    assert torch.equal(svi.infer(texts, tokenizer=corpus.tokenizer).rows.key, rows.key)
    assert len(rows_of(TEXTS[0], model, corpus.tokenizer)) == len(
        rows_of(TEXTS[:1], model, corpus.tokenizer)
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (TEXTS[:2], "texts need the tokenizer"),
        (torch.zeros(2, 3), "rows is a Tensor: expected Rows"),
        ([1, 2], r"rows\[0\] is 1: expected text"),
        (None, "rows is None: expected Rows"),
    ],
)
def test_what_are_no_rows_is_named(trained, given, message):
    model, corpus = trained
    with pytest.raises(InputError, match=message):
        ltm.evaluate(model, given, ["elbo:2"], progress=False)
    with pytest.raises(InputError, match="there are no rows"):
        ltm.DualRateSVI(model).infer(corpus.test[:0])
    other = ltm.load_corpus(TEXTS, vocabulary=280).tokenizer
    with pytest.raises(InputError, match="the tokenizer has 280 tokens, the model 300"):
        ltm.evaluate(model, TEXTS[:1], ["elbo:2"], tokenizer=other, progress=False)


def test_options_of_other_files_are_refused_where_they_are_given(tmp_path):
    """A configuration of before may hold one, and its text is read as it was."""
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    with pytest.raises(InputError, match="separator is 'line', which says how a text file is read"):
        ltm.load_corpus(path, separator="line")
    kept = ltm.load_corpus(ltm.config.Data(str(path), separator="line"), length=8)
    assert kept.fingerprint == ltm.load_corpus(path, length=8).fingerprint
