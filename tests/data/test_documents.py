import json
import struct
import sys

import datasets
import pandas as pd
import pytest

from ltm_pyro.data.documents import read_documents
from ltm_pyro.errors import InputError

RECORDS = [{"question": f"What is {i}?", "answer": f"It is {i}.", "n": i} for i in range(5)]
JOINED = [f"What is {i}?\nIt is {i}." for i in range(5)]


def write(folder, kind):
    path = folder / f"records.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    elif kind == "csv":
        pd.DataFrame(RECORDS).to_csv(path, index=False)
    else:
        pd.DataFrame(RECORDS).to_parquet(path)
    return path


def test_the_embedded_corpus_is_the_librarys_own_documentation():
    found = read_documents("python-docs")["all"]
    size = sum(len(text.encode()) for text in found)
    assert len(found) == len(set(found)) > 3000
    assert 1.4e6 < size < 3e6
    assert any("with" in text and "context manager" in text for text in found)
    assert json.__doc__.strip().splitlines()[0] in {t.splitlines()[0] for t in found if t}
    assert "turtledemo" not in sys.modules


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_records(tmp_path, kind):
    path = write(tmp_path, kind)
    assert read_documents(path, ["question", "answer"]) == {"all": JOINED}
    assert read_documents(path) == {"all": JOINED}  # every field that holds text
    assert read_documents(path, ["answer"], limit=2) == {"all": ["It is 0.", "It is 1."]}
    with pytest.raises(InputError, match=r"unknown field of .*'anwser': did you mean 'answer'"):
        read_documents(path, ["anwser"])


def test_text_comes_first_when_no_field_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one", "title": "A"}\n{"text": "  ", "title": "B"}\n')
    assert read_documents(path) == {"all": ["one"]}  # an empty document is none


def test_plain_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("first\nline\n\nsecond\n  \n\n\nthird\n")
    assert [t.strip() for t in read_documents(path)["all"]] == ["first\nline", "second", "third"]
    parts = read_documents(path, separator=r"\n(?=second|third)")["all"]
    assert [t.strip() for t in parts] == ["first\nline", "second", "third"]
    with pytest.raises(InputError, match="no regular expression"):
        read_documents(path, separator="(")


def test_a_folder_of_files(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("one\n\nstill one")
    (tmp_path / "deep" / "a.txt").write_text("two")
    write(tmp_path, "jsonl")
    (tmp_path / "readme.md").write_text("not read")
    assert read_documents(tmp_path)["all"] == ["one\n\nstill one", "two", *JOINED]


def test_a_saved_data_set_and_its_splits(tmp_path):
    one = datasets.Dataset.from_list(RECORDS)
    one.save_to_disk(tmp_path / "one")
    assert read_documents(tmp_path / "one") == {"all": JOINED}
    parts = datasets.DatasetDict({"train": one, "validation": one.select([0])})
    parts.save_to_disk(tmp_path / "parts")
    assert read_documents(tmp_path / "parts") == {"train": JOINED, "valid": JOINED[:1]}


@pytest.mark.parametrize("streaming", [False, True])
def test_the_hubs_own_loader(tmp_path, monkeypatch, streaming):
    """`datasets.load_dataset` takes a folder of data files as it takes a name on the hub."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    pd.DataFrame(RECORDS).to_parquet(folder / "train.parquet")
    pd.DataFrame(RECORDS[:2]).to_parquet(folder / "test.parquet")
    found = read_documents(f"hf:{folder}", ["question", "answer"], streaming=streaming)
    assert found == {"train": JOINED, "test": JOINED[:2]}
    some = read_documents(f"hf:{folder}", ["answer"], streaming=streaming, limit=1)
    assert some == {"train": ["It is 0."], "test": ["It is 0."]}


def test_a_name_that_no_hub_knows(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(InputError, match=r"'nobody/nothing' is neither 'python-docs'.*no route$"):
        read_documents("nobody/nothing")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b" \n\n \n", "holds no text"),
        ("a.txt", b"caf\xe9", "is not UTF-8 .byte 3 is 0xe9.: convert it"),
        ("a.jsonl", b'{"text": "caf\xe9"}', "is not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', "cannot read .*a.jsonl as jsonl"),
        ("a.parquet", b"PAR0 not really", "cannot read .*a.parquet as parquet"),
        ("a.jsonl", b'{"n": 1}\n', "no field that holds text; its fields: n"),
        ("a.pdf", b"%PDF", "expected .txt, .jsonl, .csv or .parquet"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_documents(path)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no file or folder at .*missing.txt"):
        read_documents(tmp_path / "missing.txt")
    with pytest.raises(InputError, match=r"holds no .txt, .jsonl, .csv or .parquet file"):
        read_documents(tmp_path)


def test_numbers_of_rows_that_contradict_one_another_are_told(tmp_path):
    """Arrow ends the whole process for some."""
    path, many = tmp_path / "a.parquet", bytes.fromhex("ffffffff0f")
    pd.DataFrame({"number": [1, 2, 3]}).to_parquet(path)
    whole = path.read_bytes()
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    data, footer = whole[:end], whole[end:-8]
    three = [i for i in range(len(footer)) if footer[i : i + 2] == b"\x16\x06"]  # of 64 bits
    assert len(three) >= 2  # the file's and its row group's
    for i in three:
        other = footer[: i + 1] + many + footer[i + 2 :]
        path.write_bytes(data + other + len(other).to_bytes(4, "little") + whole[-4:])
        with pytest.raises(InputError, match=r"as parquet: (it says|Could not|Couldn't|.*corrupt)"):
            read_documents(str(path), fields=("number",))
        with pytest.raises(InputError):
            read_documents(str(path))  # which reads no column


def test_a_saved_data_set_that_points_outside_of_its_file_is_told(tmp_path):
    """Arrow believes it, and the process ends."""
    datasets.Dataset.from_dict({"text": ["ab", "cd", "ef"]}).save_to_disk(str(tmp_path / "saved"))
    path = next((tmp_path / "saved").glob("*.arrow"))
    ends, wrong = struct.pack("<4i", 0, 2, 4, 6), struct.pack("<4i", 0, 2, 4, 2**30)
    assert path.read_bytes().count(ends) == 1
    path.write_bytes(path.read_bytes().replace(ends, wrong))
    with pytest.raises(InputError, match=r"cannot read .*saved: .*offset"):
        read_documents(str(tmp_path / "saved"))


def test_a_null_character_is_no_name():
    with pytest.raises(InputError, match="null character"):
        read_documents("x\0")
