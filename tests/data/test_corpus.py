import json

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.data.building import split_of
from ltm_pyro.data.laying import rows_of_documents
from ltm_pyro.errors import InputError


def write(path, texts):
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    return path


def texts(corpus, split):
    rows = getattr(corpus, split)
    documents = {}
    for tokens, n, d in zip(rows.tokens, rows.lengths, rows.document, strict=True):
        documents.setdefault(int(d), []).extend(tokens[:n].tolist())
    return [corpus.tokenizer.decode(ids) for ids in documents.values()]


def test_the_split_follows_from_each_text_alone(tmp_path):
    some = [f"document {i} of a kind" for i in range(400)]
    one = ltm.load_corpus(write(tmp_path / "a.jsonl", some), vocabulary=300)
    other = ltm.load_corpus(write(tmp_path / "b.jsonl", ["another", *some[::-1]]), vocabulary=300)
    assert set(texts(one, "test")) <= set(texts(other, "test"))
    assert 340 < len(texts(one, "train")) < 380
    parts = [set(texts(one, s)) for s in ("train", "valid", "test")]
    assert set.union(*parts) == set(some)
    assert sum(map(len, parts)) == 400
    assert split_of("copy") == split_of("copy")


def test_no_byte_and_no_token_is_lost(tmp_path):
    some = [f"naïve café №{i} — " + "löng " * i for i in range(40)]
    path = write(tmp_path / "a.jsonl", some)
    documents = ltm.load_corpus(path, length=16, vocabulary=400)
    packed = ltm.load_corpus(path, length=16, vocabulary=400, layout="packed")
    for split in ("train", "valid", "test"):
        rows, windows = getattr(documents, split), getattr(packed, split)
        assert int(rows.bytes.sum()) == sum(len(t.encode()) for t in texts(documents, split))
        assert rows.token_count == windows.token_count
        assert rows.bytes.sum() == windows.bytes.sum()
        assert windows[:].packed
        assert not rows[:].packed
    assert packed.rows("all")[torch.arange(3)].packed
    assert sorted(texts(documents, "train")) == sorted(t for t in some if split_of(t) == "train")
    assert documents.fingerprint == packed.fingerprint
    everything = documents.rows("all")
    assert len(everything.document.unique()) == 40


def test_rows_keep_document_boundaries_and_windows_do_not():
    documents = [([1, 2, 3, 4, 5], [1] * 5), ([6, 7], [3, 0])]
    rows = rows_of_documents(documents, 3, packed=False)
    assert rows.tokens.tolist() == [[1, 2, 3], [4, 5, 0], [6, 7, 0]]
    assert rows.lengths.tolist() == [3, 2, 2]
    assert rows.document.tolist() == [0, 0, 1]
    assert rows.bytes.tolist() == [3, 2, 3]
    windows = rows_of_documents(documents, 3, packed=True)
    assert windows.tokens.tolist() == [[1, 2, 3], [4, 5, 6], [7, 0, 0]]
    assert windows.lengths.tolist() == [3, 3, 1]
    assert windows.document.tolist() == [0, 1, 2]


def test_batches_visit_every_row_once_an_epoch_and_follow_from_the_step(corpus):
    rows, seen = corpus.train, []
    for step in range(len(rows)):
        seen += rows.batch(step, 3, seed=1).document.tolist()
    for epoch in range(3):
        assert sorted(seen[epoch * len(rows) : (epoch + 1) * len(rows)]) == rows.document.tolist()
    assert seen[: len(rows)] != seen[len(rows) : 2 * len(rows)]
    assert torch.equal(rows.batch(5, 3, 1).tokens, rows.batch(5, 3, 1).tokens)
    assert not torch.equal(rows.batch(0, 9, 1).document, rows.batch(0, 9, 2).document)


def test_selecting_trims_to_the_longest(corpus):
    rows = corpus.train
    short = int(rows.lengths.argmin())
    assert rows[short].tokens.shape == (1, int(rows.lengths[short]))
    assert len(rows[2:5]) == 3
    assert rows[:0].token_count == 0


def test_a_training_set_with_a_test_split_gives_up_a_validation_set(tmp_path):
    import datasets

    some = [{"text": f"document {i}"} for i in range(200)]
    parts = {"train": datasets.Dataset.from_list(some),
             "test": datasets.Dataset.from_list(some[:20])}  # fmt: skip
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d")
    corpus = ltm.load_corpus(tmp_path / "d", vocabulary=300)
    assert len(texts(corpus, "test")) == 20
    assert 2 < len(texts(corpus, "valid")) < 25
    assert not set(texts(corpus, "valid")) & set(texts(corpus, "train"))


def test_what_cannot_be_a_corpus_is_named(tmp_path):
    lonely = next(f"lonely {i}" for i in range(999) if split_of(f"lonely {i}") == "test")
    with pytest.raises(InputError, match="leaves no document to train on: it holds 1"):
        ltm.load_corpus(write(tmp_path / "a.jsonl", [lonely]))
    path = write(tmp_path / "b.jsonl", ["some text"] * 3 + [f"t{i}" for i in range(50)])
    with pytest.raises(InputError, match=r"unknown data\.layout 'pack': did you mean 'packed'"):
        ltm.load_corpus(path, layout="pack")
    with pytest.raises(InputError, match="length is 0"):
        ltm.load_corpus(path, length=0)
    with pytest.raises(InputError, match="unknown split"):
        ltm.load_corpus(path, vocabulary=300).rows("tests")
