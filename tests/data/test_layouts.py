"""Thoughts belong to a document, or to a packed window: what agrees and what does not."""

import json

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel

from ..conftest import strong

FAST = Fast(steps=5, lr=0.1)


@pytest.fixture
def layouts(text_file, corpus):
    """The same documents both ways, under one tokenizer."""
    return tuple(
        ltm.load_corpus(text_file, length=12, layout=layout, tokenizer=corpus.tokenizer)
        for layout in ("document", "packed")
    )


@pytest.fixture
def models(run_config):
    return strong(LatentThoughtModel(run_config)), AutoregressiveModel(run_config)


def test_both_hold_the_same_text(layouts):
    document, packed = layouts
    for split in ("train", "valid", "test"):
        a, b = document.rows(split), packed.rows(split)
        assert a.token_count == b.token_count
        assert int(a.bytes.sum()) == int(b.bytes.sum())
        assert a.tokens[a.mask].tolist() == b.tokens[b.mask].tolist()
    assert document.fingerprint == packed.fingerprint
    rows = packed.train
    assert (rows.lengths[:-1] == 12).all()
    assert len(torch.unique(rows.document)) == len(rows)  # a window counts as a document
    assert len(rows) < len(document.train)


def full_documents(text_file, corpus, count=9):
    """Documents of a full row each: where the two layouts are the same thing."""
    texts = []
    for i in range(400):
        text = f"sea {i}: wave fish sail salt wave fish sail"
        while len(corpus.tokenizer.encode(text)) > 11:
            text = text[:-1]
        if len(corpus.tokenizer.encode(text)) == 11:  # and the end of text
            texts.append(text)
    path = text_file.with_name("full.jsonl")
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:count]))
    return [
        ltm.load_corpus(path, length=12, layout=layout, tokenizer=corpus.tokenizer).rows("all")
        for layout in ("document", "packed")
    ]


def test_documents_of_a_full_row_give_the_same_figures(text_file, corpus, models):
    model, baseline = models
    rows = full_documents(text_file, corpus)
    assert torch.equal(rows[0].tokens, rows[1].tokens)
    reports = [
        ltm.evaluate(
            model, r, ["elbo:4", "iwae:8", "prior:4", "predictive:4"], fast=FAST,
            baseline=baseline, repeat=0, progress=False,
        )
        for r in rows
    ]  # fmt: skip
    for name in reports[0].figures:
        assert np.array_equal(reports[0][name].nats, reports[1][name].nats)
        assert reports[0][name].bits_per_byte == reports[1][name].bits_per_byte


def test_elsewhere_a_window_sees_its_neighbours_and_a_document_does_not(layouts, models):
    """The figures of short documents differ, and each says what its unit is."""
    model, _ = models
    document, packed = (
        ltm.evaluate(model, c.train, ["elbo:4"], fast=FAST, repeat=0, progress=False)["elbo"]
        for c in layouts
    )
    assert document.tokens.sum() == packed.tokens.sum()
    assert document.documents == len(layouts[0].train.document.unique())
    assert packed.documents == len(layouts[1].train)
    assert document.nats_per_token != pytest.approx(packed.nats_per_token, abs=1e-3)


def test_a_document_longer_than_a_row_has_thoughts_for_each_row_and_one_score(
    text_file, corpus, models
):
    model, _ = models
    path = text_file.with_name("long.txt")
    path.write_text("wave fish sail salt " * 6 + "\n\nsea 3: wave")
    rows = ltm.load_corpus(path, length=12, tokenizer=corpus.tokenizer).rows("all")
    options = {"fast": FAST, "repeat": 0, "progress": False}
    figure = ltm.evaluate(model, rows, ["elbo:4"], **options)["elbo"]
    assert figure.documents == 2
    assert len(rows) > 2
    alone = [
        ltm.evaluate(model, rows[[i]], ["elbo:4"], **options)["elbo"].nats[0]
        for i in range(len(rows))
    ]
    totals = np.zeros(2)
    np.add.at(totals, rows.document.numpy(), alone)
    assert figure.nats == pytest.approx(totals, abs=2e-3)
