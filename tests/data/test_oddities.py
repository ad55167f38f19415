"""Every oddity gives what the table says; whatever is written comes back, or is refused."""

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ltm_pyro.data.documents import read_documents
from ltm_pyro.errors import InputError

from .oddities import ODDITIES, main


@pytest.mark.parametrize("one", ODDITIES, ids=lambda one: one.what)
def test_it_gives_what_it_should(one, tmp_path):
    found = one.read(tmp_path)
    if isinstance(one.gives, str):
        assert one.gives in found
    else:
        assert found == one.gives


def test_the_table_has_a_line_for_each_and_stands_in_the_docs(capsys):
    main()
    table = capsys.readouterr().out
    assert len(table.splitlines()) == 2 + len(ODDITIES)
    assert table in (Path(__file__).parents[2] / "docs" / "how_to" / "your_text.md").read_text()


def as_jsonl(texts):
    return "".join(json.dumps({"text": t}, ensure_ascii=len(t) % 2 > 0) + "\n" for t in texts)


def as_array(texts):
    return json.dumps([{"n": i, "text": t} for i, t in enumerate(texts)], indent=len(texts) % 3)


def as_table(texts, between):
    out = io.StringIO()
    table = csv.writer(out, delimiter=between)
    table.writerow(["n", "text"])
    table.writerows([str(i), t] for i, t in enumerate(texts))
    return out.getvalue()


def as_parquet(texts):
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "n": range(len(texts))}), out)
    return out.getvalue()


WRITERS = {
    "a.jsonl": as_jsonl,
    "a.json": as_array,
    "a.ndjson.gz": lambda texts: gzip.compress(as_jsonl(texts).encode("utf-8", "surrogatepass")),
    "a.csv": lambda texts: as_table(texts, ","),
    "b.csv": lambda texts: as_table(texts, ";"),
    "a.tsv": lambda texts: as_table(texts, "\t"),
    "a.parquet": as_parquet,
}
LETTERS = st.characters() | st.sampled_from(list("\"',;|\t\r\n\\{}[]:0.NA \u2028\ufeff\x00\ud800"))
TEXTS = st.lists(
    st.text(LETTERS, max_size=30) | st.sampled_from(["007", "3.10", "NA", "null", "nan", "[1]"]),
    min_size=1, max_size=6,
)  # fmt: skip


def comes_back_or_is_refused(folder, name, texts):
    try:
        content = WRITERS[name](texts)
        content = content.encode() if isinstance(content, str) else content
    except UnicodeEncodeError:  # half a letter: no such file can be written
        return
    path = folder / name
    path.write_bytes(content)
    expected = [t for t in texts if t.strip()]
    refusal = ""
    try:
        assert read_documents(path, ["text"])["all"] == expected
    except InputError as error:
        refusal = str(error)
    if refusal:
        halves = any("\ud800" <= letter <= "\udfff" for t in texts for letter in t)
        zeros = any("\x00" in t for t in texts)
        reason = halves or zeros or not expected or "--delimiter" in refusal
        assert name in refusal and reason, refusal  # noqa: PT018


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=TEXTS)
def test_whatever_is_written_comes_back_or_is_refused(tmp_path, name, texts):
    comes_back_or_is_refused(tmp_path, name, texts)


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=TEXTS)
def test_twenty_thousand_times(tmp_path, name, texts):
    comes_back_or_is_refused(tmp_path, name, texts)


PLAIN = st.lists(
    st.text(st.characters(exclude_characters="\r\n\ufeff"), min_size=1, max_size=30)
    .filter(str.strip), min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=PLAIN, end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_plain_texts_come_back_whatever_ends_their_lines(tmp_path, texts, end):
    halves = any("\ud800" <= letter <= "\udfff" for t in texts for letter in t)
    if halves:
        return
    path = tmp_path / "a.txt"
    path.write_bytes(end.join(texts).encode())
    assert read_documents(path, separator="line")["all"] == texts
    path.write_bytes((end + end).join(texts).encode())
    assert read_documents(path)["all"] == texts
