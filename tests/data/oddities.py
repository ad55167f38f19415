"""What each format and oddity of a file gives; `python -m tests.data.oddities` prints the table."""

import bz2
import gzip
import io
import json
import lzma
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from ltm_pyro.data.documents import read_documents
from ltm_pyro.errors import InputError


@dataclass(frozen=True)
class Oddity:
    """Files, how they are read, and the texts that they give by split, or a part of the refusal."""

    what: str
    files: dict[str, bytes]
    gives: Any
    asked: dict[str, Any] = field(default_factory=dict)

    def read(self, folder: Path) -> Any:
        """The texts, or the refusal."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        alone = len(self.files) == 1 and "/" not in next(iter(self.files))
        try:
            found = read_documents(folder / next(iter(self.files)) if alone else folder,
                                   **self.asked)  # fmt: skip
        except InputError as error:
            return str(error).replace(str(folder) + "/", "").replace(str(folder), "FOLDER")
        return found["all"] if set(found) == {"all"} else found


def lines(*records: Any) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


AB = lines({"text": "a"}, {"text": "b"})
ODDITIES = [
    # Tables
    Oddity("numbers, NA and null in csv", {"a.csv": b"text,n\n007,1\n3.10,2\n1e5,3\nNA,4\nNone,5\nnull,6\n"},
           ["007", "3.10", "1e5", "NA", "None", "null"]),
    Oddity("semicolons", {"a.csv": b"text;n\none, two;1\nthree;2\n"}, ["one, two", "three"]),
    Oddity("tabs", {"a.tsv": b"text\tn\none, two\t1\n"}, ["one, two"]),
    Oddity("either delimiter", {"a.csv": b"a,b;c\n1,2;3\n"}, "say which, with --delimiter"),
    Oddity("the delimiter given", {"a.csv": b"text,b;c\nx,2;3\n"}, ["x"], {"delimiter": ","}),
    Oddity("a comma without quotes", {"a.csv": b"text,label\nOnce, a fox,1\n"},
           "the row that ends in line 2 has 3 cells, its header 2"),
    Oddity("quotes and line ends in a cell", {"a.csv": b'text\n"a ""b"",\nc"\n'}, ['a "b",\nc']),
    Oddity("a quote without an end", {"a.csv": b'text\n"a\n'}, "unexpected end of data"),
    Oddity("text after a closing quote", {"a.csv": b'text\n"a"b\n'}, "line 2: "),
    Oddity("a field twice", {"a.csv": b"text,text\na,b\n"}, "two fields of the name 'text'"),
    Oddity("a header alone", {"a.csv": b"text\n"}, "holds no record"),
    Oddity("numbers beside the text", {"a.csv": b"id,story\n1,a fox\n2,an owl\n"}, ["a fox", "an owl"]),
    Oddity("a byte-order mark", {"a.csv": b"\xef\xbb\xbftext\na\n"}, ["a"]),
    # Records
    Oddity("dates and numbers", {"a.jsonl": lines({"text": "2020-01-01"}) + b'{"text": 1.10}\n'},
           ["2020-01-01", "1.10"]),
    Oddity("a field that comes late and changes", {"a.jsonl": lines({"text": "a", "y": 1}, {"text": "b", "y": "1x", "z": []})},
           ["a", "b"]),
    Oddity("a first line null", {"a.jsonl": b"null\n" + AB}, "line 1 is nothing, expected a record"),
    Oddity("a line that is no record", {"a.jsonl": AB + b"[1]\n"}, "line 3 is a list"),
    Oddity("a line that is no JSON", {"a.jsonl": AB + b"{\n"}, "line 3: "),
    Oddity("a list of records", {"a.json": b'[{"text": "a"}, {"text": "b"}]'}, ["a", "b"]),
    Oddity("a record over several lines", {"a.json": b'{\n"text": "a"\n}\n'}, ["a"]),
    Oddity("records a line, called .json", {"a.json": AB}, ["a", "b"]),
    Oddity("a list of texts in a field", {"a.jsonl": lines({"text": ["a", "b"]})}, ["a\nb"]),
    Oddity("a record in a field", {"a.jsonl": lines({"text": {"body": "a"}})},
           "field 'text' of a.jsonl holds a record (record 1), which is no text"),
    Oddity("parts of records", {"a.jsonl": lines({"messages": [{"role": "u", "content": "a"}, {"role": "v", "content": "b"}]})},
           ["a\nb"], {"fields": ("messages.content",)}),
    Oddity("half of a surrogate pair", {"a.jsonl": b'{"text": "a \\ud83d"}\n'}, "has half a letter in it"),
    Oddity("lists in lists without end", {"a.jsonl": b'{"text": ' + b"[" * 10**5 + b"\n"},
           "within one another without end"),
    Oddity("a list in parquet", {"a.parquet": parquet(text=[["a", "b"]])}, ["a\nb"]),
    Oddity("bytes in parquet", {"a.parquet": parquet(text=[b"a"])}, "holds bytes (record 1)"),
    Oddity("words of a dictionary in parquet", {"a.parquet": parquet(text=pyarrow.array(["a", "b", "a"]).dictionary_encode())},
           ["a", "b", "a"]),
    # Plain text
    Oddity("line ends of Windows", {"a.txt": b"a\r\nb\r\n\r\nc\r\n"}, ["a\nb", "c"]),
    Oddity("line ends of old Macintoshes", {"a.txt": b"a\rb\r\rc\r"}, ["a\nb", "c"]),
    Oddity("a byte-order mark before text", {"a.txt": b"\xef\xbb\xbfa"}, ["a"]),
    Oddity("a text a line", {"a.txt": b"a\nb\n\nc"}, ["a", "b", "c"], {"separator": "line"}),
    Oddity("a separator with groups", {"a.txt": b"a<sep>b"}, ["a", "b"], {"separator": "<(s)(ep)>"}),
    Oddity("a separator that is none", {"a.txt": b"a"}, "is no regular expression", {"separator": "("}),
    Oddity("latin1", {"a.txt": b"x" * 3_000_000 + b"caf\xe9"}, "not UTF-8 (byte 3000003 is 0xe9)"),
    Oddity("utf-16", {"a.txt": "a".encode("utf-16")}, "iconv -f utf-16"),
    Oddity("a letter cut off at the end", {"a.txt": "é".encode()[:1]}, "not UTF-8 (byte 0 is 0xc3)"),
    # Compressed
    Oddity("gzip", {"a.jsonl.gz": gzip.compress(AB)}, ["a", "b"]),
    Oddity("bzip2", {"a.jsonl.bz2": bz2.compress(AB)}, ["a", "b"]),
    Oddity("xz", {"a.csv.xz": lzma.compress(b"text\na\n")}, ["a"]),
    Oddity("zstandard", {"a.txt.zst": bytes.fromhex("28b52ffd2003190000610a62")}, ["a\nb"]),
    Oddity("gzip cut off", {"a.jsonl.gz": gzip.compress(AB * 999)[:-20]}, "cannot read a.jsonl.gz"),
    Oddity("not UTF-8, and cut off", {"a.txt.gz": gzip.compress(b"\xff" + AB * 999)[:-20]}, "cannot read a.txt.gz"),
    Oddity("no gzip", {"a.jsonl.gz": AB}, "cannot read a.jsonl.gz"),
    Oddity("a file that grows without end", {"a.txt.gz": gzip.compress(b"a" * 2**27)}, "no text does"),
    # Folders
    Oddity("hidden files and checkpoints of editors", {"a.jsonl": AB, "._a.jsonl": b"\0\1", ".ipynb_checkpoints/a.jsonl": AB,
            "a.jsonl~": AB, "#a.jsonl#": AB}, ["a", "b"]),
    Oddity("capital and other suffixes", {"A.TXT": b"a", "b.ndjson": lines({"text": "b"})}, ["a", "b"]),
    Oddity("splits by files", {"train.jsonl": AB, "Val.jsonl": lines({"text": "c"}), "test-00000-of-00001.jsonl": lines({"text": "d"})},
           {"test": ["d"], "train": ["a", "b"], "valid": ["c"]}),
    Oddity("splits by folders", {"train/a.txt": b"a", "dev/b.txt": b"b"}, {"train": ["a"], "valid": ["b"]}),
    Oddity("a name that says nothing beside splits", {"train.jsonl": AB, "more.jsonl": AB}, "and others, such as more.jsonl"),
    Oddity("a name that says two things", {"train/test.jsonl": AB, "train/a.jsonl": AB}, "rename one of them"),
    Oddity("a run of the library", {"a.txt": b"a", "run/config.json": b"{}", "run/log.jsonl": b"{}"}, ["a"]),
    Oddity("a README", {"a.txt": b"a", "README.txt": b"read me"}, ["a"]),
    Oddity("nothing to read", {"a.pdf": b"%", "b.pdf": b"%"}, "holds no .txt, .jsonl, .csv or .parquet file (left out: .pdf (2))"),
]  # fmt: skip


def main() -> None:
    """The table."""
    print("| file | what it is | what it gives |")
    print("|---|---|---|")
    for one in ODDITIES:
        with tempfile.TemporaryDirectory() as folder:
            found = one.read(Path(folder))
        told = f"refused: {found}" if isinstance(found, str) else repr(found)
        told = told.replace("|", "\\|").replace("\n", "\\n")
        print(f"| {', '.join(one.files)} | {one.what} | {told[:160]} |")


if __name__ == "__main__":
    main()
