"""Text that is prepared is the corpus that it would be, however it came about."""

import dataclasses
import gzip
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Data
from ltm_pyro.data import kept, parts, preparing
from ltm_pyro.data.building import split_of
from ltm_pyro.data.naming import names_of
from ltm_pyro.data.preparing import prepare
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError
from ltm_pyro.files.lock import alone

SMALL = {"length": 16, "vocabulary": 300}
SPLITS = ("train", "valid", "test")


@pytest.fixture
def text(tmp_path):
    draw = random.Random(0)
    path = tmp_path / "a.jsonl"
    lines = [
        {
            "text": f"naïve {i % 200} " + "fox owl " * draw.randrange(20),
            "kind": "abc"[i % 3],
            "stars": i % 5,
        }
        for i in range(300)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def same(a, b):
    for split in SPLITS:
        one, other = a.rows(split)[:], b.rows(split)[:]
        for name in ("tokens", "lengths", "document", "bytes", "key"):
            assert torch.equal(getattr(one, name), getattr(other, name)), (split, name)
        assert one.columns.keys() == other.columns.keys()
        for name in one.columns:
            assert torch.equal(one.columns[name].nan_to_num(7), other.columns[name].nan_to_num(7))
        assert np.array_equal(a.rows(split).digests, b.rows(split).digests)
        assert one.packed == other.packed
    whole, rest = a.rows("all"), b.rows("all")
    assert torch.equal(whole[:].tokens, rest[:].tokens)
    assert a.tokenizer.fingerprint() == b.tokenizer.fingerprint()
    assert (a.fingerprint, a.columns, a.numbers, a.layout) == (
        b.fingerprint,
        b.columns,
        b.numbers,
        b.layout,
    )


ASKED = [{}, {"layout": "packed"}, {"columns": "kind", "numbers": "stars"}, {"dedup": True}]


@pytest.mark.parametrize("asked", ASKED, ids=["plain", "packed", "columns", "dedup"])
@pytest.mark.parametrize("shard", [500, 10**6])
def test_it_is_the_corpus_that_is_loaded(text, tmp_path, monkeypatch, asked, shard):
    monkeypatch.setattr(preparing, "BATCH_TEXTS", 20)
    out = tmp_path / "shards"
    made = prepare(text, out, shard=shard, **SMALL, **asked)
    assert (len(list(out.glob("shards/*.bin"))) > 3) == (shard == 500)
    assert not (out / parts.PARTS).exists()
    same(made, ltm.load_corpus(text, **SMALL, **asked))
    same(made, ltm.load_corpus(out, length=16))
    for step in (0, 3):
        one, other = (c.train.batch(step, 5, 1) for c in (made, ltm.load_corpus(out, length=16)))
        assert torch.equal(one.tokens, other.tokens)


@pytest.mark.slow
def test_processes_encode_what_one_does(text, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "BATCH_TEXTS", 20)
    one = prepare(text, tmp_path / "one", shard=700, **SMALL)
    two = prepare(text, tmp_path / "two", shard=700, processes=2, **SMALL)
    same(one, two)
    facts = [json.loads((tmp_path / name / kept.FACTS).read_text()) for name in ("one", "two")]
    assert facts[0] == facts[1]


@pytest.mark.parametrize("asked", ASKED[:3], ids=["plain", "packed", "columns"])
@pytest.mark.parametrize("kills", [1, 2, 5])
def test_a_preparing_that_was_killed_goes_on(text, tmp_path, monkeypatch, asked, kills):
    monkeypatch.setattr(preparing, "BATCH_TEXTS", 10)
    whole, out = tmp_path / "whole", tmp_path / "out"
    made = prepare(text, whole, shard=400, **SMALL, **asked)
    add, encode = parts.Parts.add, preparing.encode_all
    encoded = []

    def stopping(*given):
        if len(list(out.glob("shards/*"))) >= limit:
            raise KeyboardInterrupt
        add(*given)

    def counting(tokenizer, batches, processes):
        for batch, ids in encode(tokenizer, batches, processes):
            encoded.append(len(batch.each))
            yield batch, ids

    monkeypatch.setattr(parts.Parts, "add", stopping)
    monkeypatch.setattr(preparing, "encode_all", counting)
    for limit in range(1, kills + 1):  # noqa: B007
        with pytest.raises(KeyboardInterrupt):
            prepare(text, out, shard=400, **SMALL, **asked)
        with pytest.raises(InputError, match="not finished: call ltm prepare once more"):
            ltm.load_corpus(out, length=16)
    limit = 10**6
    encoded.clear()
    same(made, prepare(text, out, shard=400, **SMALL, **asked))
    assert sum(encoded) < 300  # those of finished shards are not encoded again
    for file in sorted(whole.rglob("*.bin")):
        assert file.read_bytes() == (out / file.relative_to(whole)).read_bytes()
    facts = [json.loads((place / kept.FACTS).read_text()) for place in (whole, out)]
    assert facts[0] == facts[1]


def killed_at(monkeypatch, where, name, text, out, **asked):
    """Prepare until a function is called."""

    def killed(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(where, name, killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(text, out, shard=400, **SMALL, **asked)


def test_killed_before_the_last_file_it_only_finishes(text, tmp_path, monkeypatch):
    for layout in ("document", "packed"):
        out = tmp_path / layout
        killed_at(monkeypatch, kept, "write", text, out, layout=layout)
        shards = {p: p.stat().st_mtime_ns for p in out.glob("shards/*")}
        made = prepare(text, out, shard=400, layout=layout, **SMALL)
        assert {p: p.stat().st_mtime_ns for p in out.glob("shards/*")} == shards
        same(made, ltm.load_corpus(text, layout=layout, **SMALL))


def test_a_damaged_shard_is_made_anew_while_preparing_and_told_afterwards(
    text, tmp_path, monkeypatch
):
    monkeypatch.setattr(preparing, "BATCH_TEXTS", 10)
    out = tmp_path / "out"
    killed_at(monkeypatch, kept, "write", text, out)
    shard = out / "shards" / "00002.bin"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    prepare(text, out, shard=400, **SMALL)
    assert shard.read_bytes() == content
    notes = []
    prepare(text, out, shard=400, note=notes.append, **SMALL)
    assert notes[-1].endswith("shards are finished, and as they were written")
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"00002.bin is damaged"):
        prepare(text, out, shard=400, **SMALL)
    shard.write_bytes(content[:-2] + b"\xff\xff")
    with pytest.raises(InputError, match=r"00002.bin is damaged: it holds 65535, and 299"):
        ltm.load_corpus(out, length=16).rows("all")[:]
    shard.write_bytes(content[:-2])
    with pytest.raises(InputError, match=r"shards/00002.bin has another size"):
        ltm.load_corpus(out, length=16)


def test_changed_text_is_not_gone_on_with(text, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "BATCH_TEXTS", 10)
    out = tmp_path / "out"
    killed_at(monkeypatch, kept, "write", text, out)
    lines = text.read_text().splitlines(keepends=True)
    for changed in (lines[:2], [lines[1], lines[0], *lines[2:]]):
        text.write_text("".join(changed))
        with pytest.raises(InputError, match="has changed since"):
            prepare(text, out, shard=400, **SMALL)
    for other in ({"length": 8}, {"vocabulary": 310}, {"limit": 5}, {"layout": "packed"}):
        with pytest.raises(InputError, match="is asked for: give another folder, or the same"):
            prepare(text, out, **{"shard": 400, **SMALL, **other})
    with pytest.raises(InputError, match="holds something else"):
        prepare(text, tmp_path, **SMALL)


def test_what_cannot_be_read_is_passed_over_and_counted(tmp_path):
    folder = tmp_path / "texts"
    (folder / "a").mkdir(parents=True)
    good = [json.dumps({"text": f"text {i} of a fox"}) for i in range(40)]
    lines = [*good[:20], "{", '"a text alone"', json.dumps({"text": {"a": 1}}), *good[20:],
             json.dumps({"text": " "}), '{"text": "half \\ud83d"}']  # fmt: skip
    (folder / "a" / "one.jsonl").write_text("\n".join(lines))
    (folder / "b.csv").write_text("text,n\nan owl,1\na hen,2,3\na cat,4\n")
    (folder / "c.txt").write_bytes(b"\xff\xfe\xff")
    (folder / "d.jsonl").write_text("")
    cut = gzip.compress(
        ("\n".join(json.dumps({"text": f"z {i} " * 9}) for i in range(9999))).encode()
    )
    (folder / "e.jsonl.gz").write_bytes(cut[: len(cut) // 2])
    (folder / "f.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(InputError):
        ltm.load_corpus(folder, **SMALL)
    made = prepare(folder, tmp_path / "out", **SMALL)
    skipped = json.loads((tmp_path / "out" / kept.FACTS).read_text())["skipped"]
    assert skipped == {
        "lines that are no record": 2, "records whose field is no text": 1, "blank documents": 1,
        "documents with half a letter": 1, "rows of a table with other cells than its header": 1,
        "files that end where they cannot be read on": 2, "files that cannot be read": 2,
    }  # fmt: skip
    documents = sum(len(made.rows(split).digests) for split in SPLITS)
    assert documents > 42
    told = [note for note in made.notes if note.startswith("passed over")]
    assert len(told) == 7
    assert any("one.jsonl" in note and "line 21" in note for note in told)


def test_a_bad_number_is_missing_and_told(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"a fox {i}", "n": n}) + "\n"
                            for i, n in enumerate(["1", "x", "1e99", None] * 9)))  # fmt: skip
    made = prepare(path, tmp_path / "out", numbers="n", **SMALL)
    held = torch.cat([made.rows(split).columns["n"] for split in SPLITS])
    assert int(held.isnan().sum()) == 27
    assert int((held == 1).sum()) == 9
    assert any("18 numbers that are none" in note for note in made.notes)


def test_a_text_that_does_not_come_back_is_told(text, tmp_path, monkeypatch):
    import tokenizers

    monkeypatch.setattr(preparing, "BATCH_TEXTS", 10)
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"fox": 0, "?": 1}, unk_token="?"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made = prepare(text, tmp_path / "out", length=16, tokenizer=Tokenizer(inner), shard=400)
    loaded = ltm.load_corpus(text, length=16, tokenizer=Tokenizer(inner))
    same(made, loaded)
    assert made.notes == loaded.notes
    assert int(made.train.bytes.sum()) == 0


def test_what_was_prepared_otherwise_is_refused(text, tmp_path):
    out = tmp_path / "out"
    made = prepare(text, out, columns="kind", **SMALL)
    for asked, told in (
        ({"length": 8}, "give --length 16"),
        ({"layout": "packed"}, "in the layout document, and packed"),
        ({"limit": 7}, "limit cannot be 7"),
        ({"fields": "text"}, "fields cannot be"),
        ({"columns": "colour"}, "unknown column"),
        ({"columns": {"kind": ("z",)}}, "other values of column 'kind'"),
        ({"tokenizer": Tokenizer.train(["other"], 259)}, "another tokenizer"),
    ):
        with pytest.raises(InputError, match=told):
            ltm.load_corpus(out, **{"length": 16, **asked})
    for again in (
        lambda: ltm.load_corpus(Data(source=(str(out), str(text))), length=16),
        lambda: prepare(out, tmp_path / "twice", **SMALL),
    ):
        with pytest.raises(InputError, match="holds text that is prepared: give it alone"):
            again()
    same(made, ltm.load_corpus(made.read_as, length=16, tokenizer=made.tokenizer))
    assert dataclasses.replace(made.read_as).columns == {"kind": ("a", "b", "c")}


@pytest.mark.parametrize("change", [
    {"sizes": {"../a.jsonl": 5}}, {"sizes": {"/etc/passwd": 5}}, {"kind": "object"},
    {"splits": ["../train"]}, {"sizes": None}, {"columns": {"a": [], "b": []}},
])  # fmt: skip
def test_facts_of_a_stranger_lead_nowhere_else(text, tmp_path, change):
    out = tmp_path / "out"
    prepare(text, out, **SMALL)
    facts = json.loads((out / kept.FACTS).read_text())
    (out / kept.FACTS).write_text(json.dumps({**facts, **change}))
    with pytest.raises(InputError):
        ltm.load_corpus(out, length=16)


def test_splits_that_a_text_comes_with_are_kept(tmp_path):
    texts = [f"a fox {i} and an owl" for i in range(90)]
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, some in (("train", texts[:60]), ("test", texts[60:])):
        lines = (json.dumps({"text": one}) + "\n" for one in some)
        (folder / f"{name}.jsonl").write_text("".join(lines))
    given = {"train": texts[:50], "valid": texts[50:60], "test": texts[60:]}
    for number, source in enumerate((folder, given)):
        made = prepare(source, tmp_path / str(number), **SMALL)
        same(made, ltm.load_corpus(source, **SMALL))
        assert len(made.test.digests) == 30


def test_documents_of_prepared_text_have_numbers_for_names(text, tmp_path):
    made = prepare(text, tmp_path / "out", **SMALL)
    numbers = sorted(set(made.test.document.tolist()))
    assert names_of(made.test, made.read_as) == {n: f"document {n}" for n in numbers}


def test_nothing_to_read_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": " "}\n')
    with pytest.raises(InputError, match="holds no text"):
        prepare(path, tmp_path / "out", **SMALL)


def test_a_finished_folder_is_of_the_text_there_is_now(text, tmp_path, monkeypatch):
    out, whole = tmp_path / "out", text.read_text()
    made = prepare(text, out, **SMALL)
    os.utime(text)  # the same, though its time has changed
    same(made, prepare(text, out, **SMALL))
    monkeypatch.chdir(tmp_path)
    same(made, prepare("a.jsonl", out, **SMALL))  # the same file by another name
    text.write_text(whole.replace("fox", "hen"))
    with pytest.raises(InputError, match="has changed since"):
        prepare(text, out, **SMALL)
    texts = [f"a fox {i} and an owl" for i in range(60)]
    memory = prepare(texts, tmp_path / "memory", **SMALL)
    same(memory, prepare(texts, tmp_path / "memory", **SMALL))
    with pytest.raises(InputError, match="has changed since"):
        prepare(texts[1:], tmp_path / "memory", **SMALL)


def test_a_tokenizer_of_other_text_is_not_gone_on_with(text, tmp_path, monkeypatch):
    out = tmp_path / "out"
    killed_at(monkeypatch, preparing, "Parts", text, tmp_path / "early")
    killed_at(monkeypatch, preparing.Preparing, "_encode", text, out)
    assert (out / kept.TOKENIZER).exists()
    text.write_text(text.read_text().replace("fox", "hen"))
    with pytest.raises(InputError, match="has changed since"):
        prepare(text, out, shard=400, **SMALL)
    same(prepare(text, tmp_path / "early", shard=400, **SMALL), ltm.load_corpus(text, **SMALL))


@pytest.mark.parametrize("layout", ["document", "packed"])
def test_text_added_after_the_last_shard(text, tmp_path, monkeypatch, layout):
    given = Tokenizer.train(["a fox and an owl"] * 9, 300)
    out, asked = tmp_path / "out", {"length": 16, "tokenizer": given, "layout": layout}
    with monkeypatch.context() as patched:
        patched.setattr(kept, "write", _raise)
        with pytest.raises(KeyboardInterrupt):
            prepare(text, out, shard=400, **asked)
    with text.open("a") as file:
        file.write('{"text": "one more", "kind": "a", "stars": 1}\n')
    if layout == "packed":  # whose last window was closed
        with pytest.raises(InputError, match="has changed since"):
            prepare(text, out, shard=400, **asked)
    else:
        same(prepare(text, out, shard=400, **asked), ltm.load_corpus(text, **asked))


def _raise(*given):
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["00001.npz", "00001.json"])
@pytest.mark.parametrize("how", ["cut", "gone", "other"])
def test_damaged_parts_are_made_anew(text, tmp_path, monkeypatch, name, how):
    monkeypatch.setattr(preparing, "BATCH_TEXTS", 10)
    out = tmp_path / "out"
    killed_at(monkeypatch, kept, "write", text, out)
    place = out / parts.PARTS / name
    content = place.read_bytes()
    if how == "gone":
        place.unlink()
    else:
        place.write_bytes(content[:-9] if how == "cut" else b"{}" + content[2:])
    (out / "shards" / ".00009.bin.1234").write_bytes(b"left by a kill")
    same(prepare(text, out, shard=400, **SMALL), ltm.load_corpus(text, **SMALL))
    facts = json.loads((out / kept.FACTS).read_text())
    assert {"train.npy", "tokenizer.json", "shards/00001.bin"} <= facts["sha256"].keys()
    assert not [name for name in facts["sizes"] if name.split("/")[-1].startswith(".")]
    assert not (out / "shards" / ".00009.bin.1234").exists()
    index = out / "train.npy"
    index.write_bytes(index.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(InputError, match=r"train\.npy is damaged"):
        prepare(text, out, shard=400, **SMALL)
    (out / kept.TOKENIZER).write_text("{" * (out / kept.TOKENIZER).stat().st_size)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        ltm.load_corpus(out, length=16)


def test_what_is_passed_over_counts_once_with_dedup(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(f'{{"text": "a fox {i}"}}\n' for i in range(40)) + "{\n" + '{"text": " "}'
    )
    prepare(path, tmp_path / "out", dedup=True, **SMALL)
    facts = json.loads((tmp_path / "out" / kept.FACTS).read_text())
    assert facts["skipped"] == {"lines that are no record": 1, "blank documents": 1}


def test_what_was_prepared_is_no_text_of_a_folder(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.jsonl").write_text("".join(f'{{"text": "a fox {i}"}}\n' for i in range(40)))
    one = prepare(folder, folder / "shards", **SMALL)
    same(one, prepare(folder, folder / "other", **SMALL))
    same(one, prepare(folder, folder / "shards", **SMALL))


def test_a_list_with_a_value_that_is_no_record(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text": f"a fox {i}"} for i in range(40)] + [7]))
    with pytest.raises(InputError, match="value 41 is a number"):
        ltm.load_corpus(path, **SMALL)
    prepare(path, tmp_path / "out", **SMALL)
    facts = json.loads((tmp_path / "out" / kept.FACTS).read_text())
    assert facts["skipped"] == {"values that are no record": 1}


def test_nothing_to_train_on_is_told_before_anything_is_made(tmp_path):
    held_out = [t for t in (f"a fox {i}" for i in range(300)) if split_of(t) == "test"][:3]
    with pytest.raises(InputError, match="leaves no document to train on"):
        prepare(held_out, tmp_path / "out", **SMALL)
    with pytest.raises(InputError, match="to be kept as a value and as a number"):
        prepare(["a"], tmp_path / "out", columns="n", numbers="n", **SMALL)


def test_two_do_not_prepare_into_one_folder(text, tmp_path):
    with ThreadPoolExecutor() as other, alone(tmp_path / "out"):
        second = other.submit(prepare, text, tmp_path / "out", **SMALL)
        assert "is in use" in str(second.exception())
    assert len(prepare(text, tmp_path / "out", **SMALL).train)


def test_many_shards_are_in_their_order(text, tmp_path):
    prepare(text, tmp_path / "out", **SMALL)
    facts = json.loads((tmp_path / "out" / kept.FACTS).read_text())
    names = ["shards/99999.bin", "shards/100000.bin", "shards/00007.bin"]
    for name in names:
        (tmp_path / "out" / name).write_bytes(b"\0\0")
    flat = kept._tokens(tmp_path / "out", {**facts, "sizes": dict.fromkeys(names, 2)})
    assert [p.path.name for p in flat.pieces] == ["00007.bin", "99999.bin", "100000.bin"]


def test_a_column_without_a_value_is_told_before_text_is_encoded(text, tmp_path):
    lines = [json.loads(line) | {"place": None} for line in text.read_text().splitlines()]
    text.write_text("".join(json.dumps(line) + "\n" for line in lines))
    notes = []
    with pytest.raises(InputError, match="column 'place' has no value in any of the"):
        prepare(text, tmp_path / "out", columns=("kind", "place"), note=notes.append, **SMALL)
    told = next(i for i, one in enumerate(notes) if "'place' has no value in the first" in one)
    assert not any("documents, " in one and one.startswith("shard") for one in notes[:told])
    assert not any("'kind'" in one for one in notes)
