"""Text from elsewhere: files of every format, folders, what a program holds, tokenizers."""

import bz2
import contextlib
import gzip
import itertools
import json
import lzma
import shutil

import pyarrow as pa
import pyarrow.parquet

import ltm_pyro as ltm
from ltm_pyro.data.documents import read_records
from ltm_pyro.data.sources.base import Wanted

from .drawing import WORDS, changed, damaged, value
from .ends import Kind

PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
           ".zst": lambda data: pa.compress(data, "zstd", asbytes=True)}  # fmt: skip


def lines(count=6):
    """Some texts."""
    return [f"some {i} words, é and 思想" for i in range(count)]


class Reading(Kind):
    """A source that is read, as records or, now and then, as a corpus."""

    corpora = 0.05

    def __init__(self, folder):
        super().__init__(folder)
        self.tokenizer = ltm.Tokenizer.train(lines(), 260)
        self.numbers = itertools.count()

    def wanted(self, draw):
        """What is asked of it."""
        if draw.random() < 0.6:
            return Wanted()
        fields = draw.choice([(), (), ("text",), ("n",), ("of.a",), (draw.choice(WORDS),)])
        columns = draw.choice([(), (), ("n",), ("of",), (draw.choice(WORDS),)])
        separator = draw.choice([None, None, "line", "blank-line", "\n", draw.choice(WORDS)])
        delimiter = draw.choice([None, None, None, ",", ";", "\t", draw.choice(WORDS)])
        return Wanted(fields, separator, columns, delimiter)

    def reading(self, draw, source):
        """Reads it."""
        wanted, limit = self.wanted(draw), draw.choice([None, None, None, 1, 3])
        if draw.random() < self.corpora:
            options = {
                "fields": wanted.fields, "separator": wanted.separator, "limit": limit,
                "columns": wanted.columns, "delimiter": wanted.delimiter,
                "dedup": draw.random() < 0.1, "layout": draw.choice(["document", "packed"]),
            }  # fmt: skip

            def call():
                ltm.load_corpus(source, length=8, tokenizer=self.tokenizer, **options)
                return "laid out"

            return (wanted, "corpus", options), call

        def call():
            read_records(source, wanted, limit=limit)
            return "read"

        return (wanted, limit), call

    def file(self, draw, name, data):
        """A file with this in it, packed at times, and damaged at times."""
        if draw.random() < 0.1:
            data = damaged(draw, data)
        if draw.random() < 0.1:
            suffix = draw.choice(list(PACKERS))
            data, name = PACKERS[suffix](data), name + suffix
            data = damaged(draw, data) if draw.random() < 0.5 else data
        place = self.folder / name
        place.write_bytes(data)
        return place, data


class Records(Reading):
    """JSON of every kind: lines, lists, one record."""

    share = 60

    def make(self, draw):
        found = [{"text": text, "n": i, "of": {"a": [1, "x"]}} for i, text in enumerate(lines())]
        found = [changed(draw, one, 2) if draw.random() < 0.3 else one for one in found]
        suffix = draw.choice([".jsonl", ".json", ".ndjson"])
        texts = [json.dumps(one) for one in found]
        if draw.random() < 0.2:
            odd = ["{", "[]", "3", '"a"', "nul", "\x00", "{}" * 3, "[" * 3000, '{"text": 1e999}']
            texts.insert(draw.randrange(6), draw.choice(odd))
        text = json.dumps(found) if draw.random() < 0.1 else "\n".join(texts)
        place, data = self.file(draw, f"records{suffix}", text.encode("utf-8", "surrogatepass"))
        asked, call = self.reading(draw, place)
        return (place.name, data, asked), call


class Tables(Reading):
    """Comma-separated and tab-separated values."""

    share = 60

    def make(self, draw):
        between = draw.choice([",", ",", ";", "\t", "|"])
        rows = [["text", "n", "of"], *([text.replace(",", " "), str(i), "x"]
                                       for i, text in enumerate(lines()))]  # fmt: skip
        for _ in range(draw.randrange(3)):
            row = draw.choice(rows)
            odd = ['"', '"a\nb"', "a,b", "", '"" ""', "\r", *WORDS]
            if draw.random() < 0.3:
                row.append(draw.choice(odd))
            elif row:
                row[draw.randrange(len(row))] = draw.choice(odd)
        end = draw.choice(["\n", "\n", "\r\n", "\r", "\n\n"])
        text = end.join(between.join(row) for row in rows)
        suffix = draw.choice([".csv", ".csv", ".tsv"])
        place, data = self.file(draw, f"table{suffix}", text.encode("utf-8", "surrogatepass"))
        asked, call = self.reading(draw, place)
        return (place.name, data, asked), call


class Plain(Reading):
    """Text files, and bytes that are called so."""

    share = 60

    def make(self, draw):
        text = draw.choice(["\n\n", "\n", "\r\n\r\n", "\r", " ", ""]).join(lines())
        for _ in range(draw.randrange(3)):
            at = draw.randrange(len(text) + 1)
            text = text[:at] + draw.choice(WORDS) + text[at:]
        coding = draw.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
        data = text.encode(coding, "replace" if coding != "utf-8" else "surrogatepass")
        data = draw.randbytes(draw.randrange(200)) if draw.random() < 0.05 else data
        place, data = self.file(draw, "plain.txt", data)
        asked, call = self.reading(draw, place)
        return (place.name, data, asked), call


def columnar():
    """Tables of Arrow of many types, as a stranger might have written."""
    few = {
        "text": pa.array(lines(4)), "n": pa.array([1, 2, None, 4]),
        "of": pa.array([{"a": ["x"]}, None, {"a": []}, {"a": None}]),
        "list": pa.array([["a", "b"], [], None, ["c"]]),
        "bytes": pa.array([b"a", b"\xff", None, b""]),
        "coded": pa.array(["a", "b", "a", None]).dictionary_encode(),
        "when": pa.array([0, 1, None, 2**60], pa.timestamp("ns", "UTC")),
        "day": pa.array([0, 1, None, 2**30], pa.date32()),
        "amount": pa.array([1, None, 2, 3], pa.decimal128(20, 3)),
        "large": pa.array(lines(4), pa.large_string()),
        "nothing": pa.nulls(4), "map": pa.array([[("a", 1)], [], None, []],
                                                pa.map_(pa.string(), pa.int64())),
        "view": pa.array(lines(4)).cast(pa.string_view()),
        "long": pa.array([0, 1, None, 2**62], pa.duration("us")),
    }  # fmt: skip
    yield pa.table(few)
    yield pa.table({"text": few["text"]})
    yield from (pa.table({name: column}) for name, column in few.items())
    yield pa.table({"text": few["coded"], "n": few["when"], "of": few["map"]})
    yield pa.table({"text": pa.array([], pa.string())})
    yield pa.table({"text": few["list"], "n": few["bytes"]})
    yield pa.table([few["text"], few["n"]], ["text", "text"])


class Columnar(Reading):
    """Parquet."""

    share = 40

    def __init__(self, folder):
        super().__init__(folder)
        self.files = []
        for number, table in enumerate(columnar()):
            place = folder / f"whole{number}.parquet"
            with contextlib.suppress(pa.ArrowException):
                pyarrow.parquet.write_table(
                    table, place, compression=["none", "snappy", "zstd"][number % 3]
                )
                self.files.append(place.read_bytes())

    def make(self, draw):
        data = draw.choice(self.files)
        data = damaged(draw, data) if draw.random() < 0.7 else data
        place, data = self.file(draw, "table.parquet", data)
        asked, call = self.reading(draw, place)
        return (place.name, data.hex(), asked), call


class Saved(Reading):
    """A data set that was saved, and a file of it changed."""

    share = 3

    def __init__(self, folder):
        super().__init__(folder)
        import datasets

        datasets.disable_progress_bars()
        few = datasets.Dataset.from_list([{"text": text, "n": 1} for text in lines()])
        few.save_to_disk(folder / "one")
        datasets.DatasetDict({"train": few, "test": few}).save_to_disk(folder / "several")

    def make(self, draw):
        whole = self.folder / draw.choice(["one", "several"])
        place = self.folder / "saved"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)
        file = draw.choice(sorted(path for path in place.rglob("*") if path.is_file()))
        data = file.read_bytes()
        if file.suffix == ".json" and draw.random() < 0.7:
            data = json.dumps(changed(draw, json.loads(data), 2)).encode()
        else:
            data = damaged(draw, data)
        file.write_bytes(data)
        asked, call = self.reading(draw, place)
        return (str(file.relative_to(place)), data[:300], asked), call


NAMES = [
    "a.txt", "b.jsonl", "train.jsonl", "test-00000-of-00002.parquet", "valid/a.txt", "d.txt~",
    "Train/x/c.csv", ".hidden", "README.md", "#e#", "train/test.txt", "config.json", "log.jsonl",
    "f.TXT.gz", "g", "h.json", "i.tsv",
]  # fmt: skip


class Folders(Reading):
    """Folders of files, in folders of their own or not."""

    share = 10

    def make(self, draw):
        place = self.folder / "several"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        names = draw.sample(NAMES, draw.randrange(5))
        for name in names:
            file = place / name
            with contextlib.suppress(OSError):
                file.parent.mkdir(parents=True, exist_ok=True)
                texts = [json.dumps({"text": text}) for text in lines()]
                data = draw.choice(["\n".join(texts), "text,n\na,1\nb,2\n", "a\n\nb", ""]).encode()
                file.write_bytes(damaged(draw, data) if draw.random() < 0.1 else data)
        if draw.random() < 0.1:
            (place / "loop").symlink_to(draw.choice([place, place / "none", place / "a.txt"]))
        asked, call = self.reading(draw, place)
        return (names, asked), call


class InMemory(Reading):
    """What a program holds."""

    share = 40

    def make(self, draw):
        import pandas as pd

        texts = [draw.choice([*WORDS, *lines()]) for _ in range(draw.randrange(5))]
        records = [changed(draw, {"text": text, "n": i}, 1) for i, text in enumerate(texts)]
        with_odd = [*texts, value(draw)]
        given = draw.choice([
            texts, tuple(texts), with_odd, records, value(draw), iter(texts),
            {"train": texts, "test": texts[:1]}, {draw.choice(WORDS): texts}, None, b"bytes", 3.5,
            pd.DataFrame({"text": texts, "n": range(len(texts))}, dtype=object),
            pd.Series(texts, dtype=object), pd.DataFrame({"text": with_odd}, dtype=object),
            {"train": records}, [texts, texts], [None, *texts], [b"a"],
            {"train": {"train": texts}}, self.folder / "none" / draw.choice(WORDS).strip("/."),
        ])  # fmt: skip
        if isinstance(given, str):  # a name, which may be one of the hub, or all files here
            given = f"./none/{given}"
        asked, call = self.reading(draw, given)
        return (given, asked), call


class Tokenizers(Kind):
    """A `tokenizer.json` that somebody wrote, and what it does to some texts."""

    share = 20
    texts = ("", " ", "some words", "é思想😀\x00\r\n", "a" * 300 + "!", "1 2 3", "<|end|> b")
    parts = (
        {"type": "Lowercase"}, {"type": "NFKC"}, {"type": "Strip", "strip_left": True,
                                                  "strip_right": True},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        {"type": "Replace", "pattern": {"String": ""}, "content": "x"},
        {"type": "Prepend", "prepend": "▁"}, {"type": "StripAccents"},
        {"type": "ByteLevel"}, {"type": "Sequence", "normalizers": []},
        {"type": "Whitespace"}, {"type": "Digits", "individual_digits": True},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        {"type": "Punctuation", "behavior": "Isolated"}, {"type": "WordPiece", "prefix": "##",
                                                          "cleanup": True},
        {"type": "BPEDecoder", "suffix": "</w>"}, {"type": "Fuse"}, {"type": "ByteFallback"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        {"type": "CTC", "pad_token": "a", "word_delimiter_token": "b", "cleanup": True},
        {"type": "Precompiled", "precompiled_charsmap": ""},
        {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithNext",
         "invert": False},
    )  # fmt: skip
    models = (
        {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1, "b": 2}, "unk_token": "[UNK]"},
        {"type": "WordPiece", "vocab": {"a": 0, "[UNK]": 1, "##b": 2}, "unk_token": "[UNK]",
         "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
        {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.0], ["b", -2.0]], "unk_id": 0,
         "byte_fallback": False},
    )  # fmt: skip

    def __init__(self, folder):
        super().__init__(folder)
        self.whole = json.loads(ltm.Tokenizer.train(lines(), 270).inner.to_str())

    def make(self, draw):
        content = dict(self.whole)
        for part in ("normalizer", "pre_tokenizer", "decoder"):
            if draw.random() < 0.3:
                content[part] = draw.choice(self.parts)
        if draw.random() < 0.3:
            content["model"] = draw.choice(self.models)
        if draw.random() < 0.7:
            big = content.pop("model") if draw.random() < 0.7 else None
            content = changed(draw, content, 1)
            content = content if big is None else {**content, "model": big}
        data = json.dumps(content).encode("utf-8", "surrogatepass")
        data = damaged(draw, data) if draw.random() < 0.1 else data
        place = self.folder / "tokenizer.json"
        place.write_bytes(data)

        def call():
            tokenizer = ltm.Tokenizer.load(place)
            encoded = tokenizer.encode_documents(list(self.texts))
            tokenizer.comes_back(self.texts)
            for ids, _ in encoded:
                tokenizer.decode(ids)
            return "used"

        content = {k: v for k, v in content.items() if k != "model" or len(str(v)) < 500}
        return content, call
