"""Prepared text in a store is read as it is on this machine."""

import builtins
import json
import pickle
import uuid

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.data import kept, parts, preparing
from ltm_pyro.data.on_disk import OnDisk, Piece
from ltm_pyro.data.preparing import prepare
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError
from ltm_pyro.files import storage

from .test_preparing import SMALL, killed_at, same, text  # noqa: F401

upath = pytest.importorskip("upath")


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    """A folder of fsspec's file system in memory, and of its local one."""
    return f"memory://{uuid.uuid4()}/a" if request.param == "memory" else f"file://{tmp_path}/out"


@pytest.mark.parametrize("asked", [{}, {"layout": "packed"}, {"columns": "kind"}])
def test_prepared_in_a_store(text, url, monkeypatch, asked):  # noqa: F811
    monkeypatch.setattr(preparing, "BATCH_TEXTS", 20)
    killed_at(monkeypatch, parts.Parts, "rows", text, url, **asked)
    made = prepare(text, url, shard=400, **SMALL, **asked)
    assert not (storage.place(url) / parts.PARTS).exists()
    loaded = ltm.load_corpus(text, **SMALL, **asked)
    same(made, loaded)
    again = ltm.load_corpus(url, length=16)
    same(again, loaded)
    assert Tokenizer.load(url).fingerprint() == loaded.tokenizer.fingerprint()
    with pytest.raises(InputError, match="no tokenizer at"):
        Tokenizer.load(f"{url}/none")
    assert again.name == again.read_as.source
    assert torch.equal(again.train.batch(3, 7, 0).tokens, loaded.train.batch(3, 7, 0).tokens)
    notes = []
    prepare(text, url, shard=400, note=notes.append, **SMALL, **asked)
    assert notes[-1].endswith("as they were written")
    with pytest.raises(InputError, match="was prepared in rows of up to 16 tokens"):
        ltm.load_corpus(url, length=8)
    shard = storage.place(url) / "shards" / "00001.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(InputError, match="another size"):
        ltm.load_corpus(url, length=16)


def test_what_is_asked_for_together_is_one_request(text, monkeypatch):  # noqa: F811
    monkeypatch.setattr(preparing, "BATCH_TEXTS", 20)
    url = f"memory://{uuid.uuid4()}/a"
    made, asked, ranges = prepare(text, url, shard=400, **SMALL), [], storage.ranges

    def counted(paths, *rest):
        asked.append(len(paths))
        return ranges(paths, *rest)

    monkeypatch.setattr("ltm_pyro.data.on_disk.ranges", counted)
    made.train.batch(0, 12, 0)
    assert len(asked) == 1
    assert asked[0] > 3


def test_an_array_in_pieces_is_indexed_as_numpy_does(tmp_path):
    whole = np.arange(7000, dtype=np.uint16)
    pieces = []
    for number, part in enumerate(np.split(whole, [1000, 1000, 1003, 5000])):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(b"abc" + part.tobytes())
        pieces.append(Piece(path, 3, len(part)))
    held = pickle.loads(pickle.dumps(OnDisk(pieces, np.uint16)))
    places = np.random.default_rng(0).integers(0, 7000, 50)
    for which in (
        slice(None), slice(998, 1005), slice(3, 2), slice(-5, None), slice(0, 6000, 977),
        places, places % 2 == 0, np.array([], np.int64), [999, 1000, 1003, 0], 6999,
        np.arange(7000) % 3 == 0, places.reshape(5, 10)[0],
    ):  # fmt: skip
        if isinstance(which, np.ndarray) and which.dtype == bool and len(which) != 7000:
            continue
        np.testing.assert_array_equal(held[which], whole[which])
    np.testing.assert_array_equal(np.asarray(held), whole)
    for which in (7000, [0, 7000], [-1]):
        with pytest.raises(IndexError):
            held[which]
    (tmp_path / "3.bin").write_bytes(b"abc")
    with pytest.raises(InputError, match=r"3.bin .*it ends before byte"):
        held[4000:4500]


def test_more_files_than_may_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr("ltm_pyro.data.on_disk.MOST_OPEN", 3)
    for number in range(10):
        np.array([number], np.uint32).tofile(tmp_path / f"{number}.bin")
    held = OnDisk([Piece(tmp_path / f"{i}.bin", 0, 1) for i in range(10)], np.uint32)
    assert held[:].tolist() == held[:].tolist() == list(range(10))
    assert len(held._files._opened) == 3


def test_what_is_no_place_is_told(text, tmp_path, monkeypatch):  # noqa: F811
    with pytest.raises(InputError, match="holds no text that ltm prepare has made ready"):
        ltm.load_corpus("memory://nothing/here", length=8)
    with pytest.raises(InputError, match="cannot reach nosuch://a"):
        ltm.load_corpus("nosuch://a/b", length=8)
    imported = builtins.__import__

    def missing(name, *rest):
        if name == "upath":
            raise ImportError
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"pip install 'ltm-pyro\[storage\]'"):
        ltm.load_corpus("memory://a/b", length=8)


def test_the_facts_of_a_store_lead_nowhere_else(text):  # noqa: F811
    url = f"memory://{uuid.uuid4()}/a"
    prepare(text, url, **SMALL)
    place = storage.place(url) / kept.FACTS
    facts = json.loads(place.read_bytes())
    place.write_bytes(json.dumps({**facts, "sizes": {"../b": 3}}).encode())
    with pytest.raises(InputError, match="is no file of a corpus"):
        ltm.load_corpus(url, length=16)
