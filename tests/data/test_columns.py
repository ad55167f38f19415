"""Columns: what documents carry beside their text, from each source, and as codes in rows."""

import dataclasses
import json

import datasets
import pandas as pd
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Data
from ltm_pyro.data import sources
from ltm_pyro.data.building import split_of
from ltm_pyro.data.documents import read_documents, read_records
from ltm_pyro.data.sources import base, python_docs
from ltm_pyro.data.sources.base import Wanted
from ltm_pyro.errors import InputError

AUTHORS = ["austen", None, "brontë", "austen"]
RECORDS = [{"text": f"text {i}", "author": a, "n": i} for i, a in enumerate(AUTHORS)]


def write(folder, kind, records=RECORDS):
    path = folder / f"records.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    elif kind == "csv":
        pd.DataFrame(records).to_csv(path, index=False)
    else:
        pd.DataFrame(records).to_parquet(path)
    return path


def columns(source, *names, **rest):
    found = read_records(source, Wanted(columns=names), **rest)
    return {split: [one.columns for one in documents] for split, documents in found.items()}


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_fields_of_records(tmp_path, kind):
    path = write(tmp_path, kind)
    expected = [{"author": a, "n": str(i)} for i, a in enumerate(AUTHORS)]
    assert columns(path, "author", "n") == {"all": expected}
    assert columns(path) == {"all": [{}] * 4}
    with pytest.raises(InputError, match=r"unknown column of .*'auhtor': did you mean 'author'"):
        columns(path, "auhtor")


def test_a_record_without_the_field_has_none(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": "two", "author": "austen"}\n')
    assert columns(path, "author") == {"all": [{"author": None}, {"author": "austen"}]}


def test_a_column_changes_no_text(tmp_path):
    path = write(tmp_path, "jsonl", [{k: v for k, v in r.items() if k != "text"} for r in RECORDS])
    texts = [one.text for one in read_records(path, Wanted(columns=("author",)))["all"]]
    assert texts == read_documents(path)["all"]


def test_data_sets_saved_and_from_the_hub(tmp_path, monkeypatch):
    one = datasets.Dataset.from_list(RECORDS)
    datasets.DatasetDict({"train": one, "test": one.select([0])}).save_to_disk(tmp_path / "saved")
    expected = [{"author": a} for a in AUTHORS]
    assert columns(tmp_path / "saved", "author") == {"train": expected, "test": expected[:1]}
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "hub").mkdir()
    pd.DataFrame(RECORDS).to_parquet(tmp_path / "hub" / "train.parquet")
    for streaming in (False, True):
        found = columns(f"hf:{tmp_path / 'hub'}", "author", streaming=streaming)
        assert found == {"all": expected}


def test_the_folder_a_file_lies_in(tmp_path):
    (tmp_path / "one" / "deep").mkdir(parents=True)
    for name in ("a.txt", "one/b.txt", "one/deep/c.txt"):
        (tmp_path / name).write_text(name)
    assert [c["folder"] for c in columns(tmp_path, "folder")["all"]] == [".", "one", "one/deep"]
    for document in columns(tmp_path, "folder", "file")["all"]:
        assert (tmp_path / document["file"]).is_file()
        assert (tmp_path / document["file"]).parent == tmp_path / document["folder"]
    write(tmp_path / "one", "jsonl")
    found = columns(tmp_path, "folder", "author")["all"]
    assert found[0] == {"folder": "."}
    assert {"folder": "one", "author": "austen"} in found
    with pytest.raises(
        InputError, match=r"unknown column of .*known are author, file, folder, n, text"
    ):
        columns(tmp_path, "nobody")
    with pytest.raises(InputError, match="has no column 'author', nor any other: a column is a"):
        columns(tmp_path / "a.txt", "author")


def test_the_module_a_docstring_comes_from():
    found = read_records("python-docs", Wanted(columns=("module",)))["all"]
    assert tuple(one.text for one in found) == python_docs.python_docs()
    modules = {one.text: one.columns["module"] for one in found}
    assert modules[json.decoder.JSONDecoder.__doc__.replace("\n    ", "\n").strip()] == (
        "json.decoder"
    )
    assert {"json", "topics", "asyncio.tasks"} <= set(modules.values())
    with pytest.raises(InputError, match="unknown column of python-docs 'modul'"):
        columns("python-docs", "modul")


def test_a_format_is_a_file_in_the_folder_of_sources(tmp_path, monkeypatch):
    (tmp_path / "shouted.py").write_text(
        "from ltm_pyro.data.sources.base import Document, Found\n"
        "SUFFIXES = ('.loud',)\n"
        "def read(path, wanted):\n"
        "    return Found([Document(path.read_text().upper(), {'how': 'loud'})], ('how',))\n"
    )
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.loud").write_text("hear")
    (tmp_path / "texts" / "b.pdf").write_text("no")
    for cached in (base.formats, base._modules):
        cached.cache_clear()
    try:
        assert read_documents(tmp_path / "texts") == {"all": ["HEAR"]}
        assert columns(tmp_path / "texts", "how") == {"all": [{"how": "loud"}]}
        with pytest.raises(InputError, match=r"expected .txt, .jsonl, .csv, .parquet or .loud$"):
            read_documents(tmp_path / "texts" / "b.pdf")
    finally:
        for cached in (base.formats, base._modules):
            cached.cache_clear()


def authors(tmp_path, name="a.jsonl", known=("austen", "brontë"), count=80):
    """Documents whose author is known for two of three; test documents have one of their own."""
    records = []
    for i in range(count):
        text = f"document {i} " + "word " * (i % 9)
        author = [*known, None][i % 3]
        held = split_of(text.strip()) == "test"
        records.append({"text": text.strip(), "author": "carroll" if held else author})
    return write(tmp_path, "jsonl", records).rename(tmp_path / name)


def by_document(rows, name="author"):
    """The code of each document; all its rows have it."""
    found = {}
    for document, code in zip(rows.document.tolist(), rows.columns[name].tolist(), strict=True):
        assert found.setdefault(document, code) == code
    return found


def test_rows_have_the_codes_of_training_values(tmp_path):
    path = authors(tmp_path)
    corpus = ltm.load_corpus(path, length=8, vocabulary=300, columns=["author"])
    assert corpus.columns == {"author": ("austen", "brontë")}
    assert "; author: 2 values" in str(corpus)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    expected = {"austen": 0, "brontë": 1, None: -1, "carroll": -1}
    for split in ("train", "valid", "test"):
        mine = [r for r in records if split_of(r["text"]) == split]
        rows = getattr(corpus, split)
        assert list(by_document(rows).values()) == [expected[r["author"]] for r in mine]
        assert rows.columns["author"].dtype == torch.int64
    assert set(by_document(corpus.test).values()) == {-1}
    assert len(corpus.train) > len(by_document(corpus.train)), "some documents have several rows"


def test_given_values_are_those_that_count(tmp_path):
    path = authors(tmp_path)
    known = {"author": ("carroll", "austen")}
    corpus = ltm.load_corpus(path, length=8, vocabulary=300, columns=known)
    assert corpus.columns == known
    assert set(by_document(corpus.test).values()) == {0}
    assert set(by_document(corpus.train).values()) == {-1, 1}
    other = authors(tmp_path, "b.jsonl", known=("brontë", "dickens"))
    found = ltm.load_corpus(other, length=8, vocabulary=300, columns=corpus.columns)
    assert set(by_document(found.train).values()) == {-1}


def test_every_way_to_some_of_the_rows_carries_them(tmp_path):
    corpus = ltm.load_corpus(authors(tmp_path), length=8, vocabulary=300, columns="author")
    rows = corpus.train
    plain = ltm.load_corpus(tmp_path / "a.jsonl", length=8, vocabulary=300).train
    assert torch.equal(rows.key, plain.key)
    code = dict(zip(rows.key.tolist(), rows.columns["author"].tolist(), strict=True))
    assert len(code) == len(rows)

    def holds(some):
        assert len(some) == len(some.columns["author"]) > 0
        assert [code[key] for key in some.key.tolist()] == some.columns["author"].tolist()

    for some in (rows[3:9], rows[4], rows[[5, 2]], rows[torch.tensor([7, 1])], rows.to("cpu"),
                 rows.first(3), rows.batch(2, 7, seed=1), *rows.split(11)):  # fmt: skip
        holds(some)
    everything = corpus.rows("all")
    parts = [corpus.train, corpus.valid, corpus.test]
    codes = torch.cat([part.columns["author"] for part in parts])
    assert torch.equal(everything.columns["author"], codes)
    wide = dataclasses.replace(rows[:], columns={"x": torch.randn(len(rows), 2)})
    assert wide[[3, 4]].columns["x"].shape == (2, 2)
    assert torch.equal(wide.to("cpu").columns["x"], wide.columns["x"])


def test_the_first_tokens_of_rows():
    rows = ltm.Rows(torch.arange(12).view(2, 6), torch.tensor([6, 2]), torch.arange(2),
                    torch.tensor([9, 4]))  # fmt: skip
    some = rows.first(3)
    assert some.tokens.tolist() == [[0, 1, 2], [6, 7, 8]]
    assert some.lengths.tolist() == [3, 2]
    assert torch.equal(some.key, rows.key)
    assert some.bytes.tolist() == [9, 4]
    none = rows.first(0)
    assert none.lengths.tolist() == [0, 0]
    assert none.tokens.shape == (2, 1)


def test_a_data_is_taken_whole(tmp_path):
    path = authors(tmp_path)
    data = Data(source=str(path), vocabulary=300, columns={"author": ()}, limit=70)
    one = ltm.load_corpus(data, length=8)
    other = ltm.load_corpus(path, length=8, vocabulary=300, columns=("author",), limit=70)
    assert one.fingerprint == other.fingerprint
    assert one.columns == other.columns
    assert torch.equal(one.train.tokens, other.train.tokens)
    assert len(ltm.load_corpus(data, length=8, limit=40).train) < len(one.train)
    again = ltm.load_corpus(data, length=8, tokenizer=other.tokenizer)
    assert again.tokenizer is other.tokenizer
    assert Data(columns=("a", "b")) == Data(columns={"a": [], "b": []})
    assert Data(fields="text").fields == ("text",)
    with pytest.raises(TypeError, match="vocabularry"):
        ltm.load_corpus(path, vocabularry=300)


def test_the_fingerprint_tells_columns_apart_where_there_are_any(tmp_path):
    path, other = authors(tmp_path), authors(tmp_path, "b.jsonl", known=("x", "y"))
    plain = [ltm.load_corpus(p, vocabulary=300).fingerprint for p in (path, other)]
    with_authors = [
        ltm.load_corpus(p, vocabulary=300, columns="author").fingerprint for p in (path, other)
    ]
    assert plain[0] == plain[1]
    assert len({*plain, *with_authors}) == 3


def test_what_cannot_be_a_column_is_named(tmp_path):
    path = authors(tmp_path)
    with pytest.raises(InputError, match="column author with layout 'packed': a packed window hol"):
        ltm.load_corpus(path, layout="packed", columns="author")
    records = [{"text": f"text {i}", "author": None, "n": i} for i in range(50)]
    nobody = write(tmp_path, "jsonl", records)
    with pytest.raises(InputError, match=r"column 'author' has no value in any of the .* training"):
        ltm.load_corpus(nobody, vocabulary=300, columns="author")
