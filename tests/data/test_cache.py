"""Large corpora are kept on disk, by their text and by what made rows of it."""

import dataclasses
import json
import random

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.data import cache, kept
from ltm_pyro.data import loading as making
from ltm_pyro.data.laying import Laying, lay_end_to_end, rows_of_documents, smallest


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FROM_BYTES", 1000)
    draw = random.Random(0)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(
        json.dumps({"text": f"naïve {i} " + "fox " * draw.randrange(30), "kind": "ab"[i % 2]})
        + "\n" for i in range(300)
    ))  # fmt: skip
    return path


def same(a, b):
    for split in ("train", "valid", "test"):
        one, other = a.rows(split)[:], b.rows(split)[:]
        for name in ("tokens", "lengths", "document", "bytes", "key"):
            assert torch.equal(getattr(one, name), getattr(other, name)), (split, name)
        assert one.columns.keys() == other.columns.keys()
        assert all(torch.equal(one.columns[n], other.columns[n]) for n in one.columns)
        assert np.array_equal(a.rows(split).digests, b.rows(split).digests)
        assert one.packed == other.packed == (a.layout == "packed")
    assert a.tokenizer.fingerprint() == b.tokenizer.fingerprint()
    assert (a.fingerprint, a.columns, a.notes) == (b.fingerprint, b.columns, b.notes)


@pytest.mark.parametrize("asked", [{}, {"layout": "packed"}, {"columns": "kind"}, {"limit": 50}])
def test_what_is_kept_is_what_was_made(text, monkeypatch, asked):
    made = ltm.load_corpus(text, length=16, vocabulary=300, **asked)
    monkeypatch.setattr(making, "survey", None)  # it is not read again
    again = ltm.load_corpus(text, length=16, vocabulary=300, **asked)
    same(made, again)
    monkeypatch.undo()
    monkeypatch.setattr(cache, "FROM_BYTES", 10**9)
    same(made, ltm.load_corpus(text, length=16, vocabulary=300, **asked))  # in memory


def test_whatever_changes_a_corpus_has_a_corpus_of_its_own(text):
    asked = {"length": 16, "vocabulary": 300}
    ltm.load_corpus(text, **asked)
    tokenizer = ltm.load_corpus(text, **asked).tokenizer
    for other in (
        {"length": 8},
        {"vocabulary": 320},
        {"layout": "packed"},
        {"columns": "kind"},
        {"limit": 70},
        {"fields": "kind"},
        {"dedup": True},
        {"tokenizer": tokenizer},
    ):
        before = len(list(cache.place().iterdir()))
        ltm.load_corpus(text, **asked | other)
        assert len(list(cache.place().iterdir())) == before + 1, other
    text.write_text(text.read_text().replace("fox", "owl", 1))
    before = len(list(cache.place().iterdir()))
    ltm.load_corpus(text, **asked)
    assert len(list(cache.place().iterdir())) == before + 1
    assert not [p for p in cache.place().iterdir() if p.name.startswith(".")]  # nothing half-made


def test_a_damaged_one_is_made_anew(text):
    made = ltm.load_corpus(text, length=16, vocabulary=300)
    held = {
        split: dataclasses.replace(
            rows.chosen(slice(None)), flat=np.asarray(rows.flat), digests=np.asarray(rows.digests)
        )
        for split, rows in ((name, made.rows(name)) for name in ("train", "valid", "test"))
    }
    made = dataclasses.replace(made, **held)  # its tokens lie in a file that is damaged now
    (folder,) = cache.place().iterdir()
    for name in (kept.TOKENS, "train.npy", kept.FACTS):
        (folder / name).write_bytes((folder / name).read_bytes()[:-7])
        same(made, ltm.load_corpus(text, length=16, vocabulary=300))
        assert cache.load(folder.name) is not None  # and is whole again
    for file in folder.iterdir():
        file.unlink()
    same(made, ltm.load_corpus(text, length=16, vocabulary=300))


def test_an_interrupted_making_leaves_nothing(text, monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "lay_out", stopped)
    with pytest.raises(KeyboardInterrupt):
        ltm.load_corpus(text, length=16, vocabulary=300)
    assert not list(cache.place().iterdir())


@pytest.mark.parametrize("packed", [False, True])
def test_rows_laid_out_bit_by_bit_are_those_laid_out_at_once(packed):
    draw = random.Random(1)
    documents = [([draw.randrange(99) for _ in range(n)], [1] * n)
                 for n in (draw.randrange(1, 40) for _ in range(50))]  # fmt: skip
    whole = rows_of_documents(documents, 7, packed)
    assert whole.token_count == sum(len(ids) for ids, _ in documents)
    assert int(whole.bytes.sum()) == whole.token_count
    found = [ids[:n].tolist() for ids, n in zip(whole.tokens, whole.lengths, strict=True)]
    laid = [i for ids, _ in documents for i in ids]
    assert [i for row in found for i in row] == laid
    rows = found[:-1] if packed else []
    assert all(len(row) == 7 for row in rows)
    one = Laying(7, packed, smallest(99))
    for ids, sizes in documents:
        one.add(np.array(ids), np.array(sizes))
        one._windows() if packed else one._write()
    again = lay_end_to_end({"all": one}, smallest(99))["all"]
    assert again.flat.dtype == np.uint16
    assert torch.equal(again[:].tokens, whole.tokens)
    assert torch.equal(again.key, whole.key)


def test_ids_take_the_smallest_type():
    assert [smallest(n).itemsize for n in (300, 2**16, 2**16 + 1)] == [2, 2, 4]


def test_some_of_the_rows_in_every_way(corpus):
    stored, held = corpus.train, corpus.train[:]
    mask = stored.lengths > 5
    for which in (slice(3, 9), slice(None, None, -2), 4, -1, [5, 2], torch.tensor([7, 1]), mask):
        one = stored[which]
        two = held[list(range(len(held)))[which]] if isinstance(which, slice) else held[which]
        assert torch.equal(one.tokens, two.tokens)
        assert torch.equal(one.key, two.key)
        assert torch.equal(stored.chosen(which)[:].tokens, one.tokens)
    with pytest.raises(IndexError):
        stored[len(stored)]
    everything = corpus.rows("all")
    assert len(everything.key.unique()) == len(everything)
    assert len(everything.document.unique()) == len(everything.digests) == 60
