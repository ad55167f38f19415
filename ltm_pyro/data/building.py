"""From documents to rows of tokens, a document at a time: which split each is of, then its ids."""

import array
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ltm_pyro.data.documents import Source
from ltm_pyro.data.laying import Laying
from ltm_pyro.data.near_duplicates import groups
from ltm_pyro.data.sources.base import Document
from ltm_pyro.data.tokenizer import Tokenizer

SPLITS = ("train", "valid", "test")
BATCH_LETTERS, BATCH_TEXTS = 2**19, 4096
"""What is encoded at once."""


def split_of(text: str) -> str:
    """The split a document falls into, from its text alone."""
    return _split_of(hashlib.sha256(text.encode()).digest())


def _split_of(digest: bytes) -> str:
    bucket = int.from_bytes(digest[:8], "big") % 100
    return "train" if bucket < 90 else "valid" if bucket < 95 else "test"


def digest_of(text: str) -> int:
    """A number that stands for a text where documents are compared."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@dataclass
class Survey:
    """What is known of a source's documents once they were read, in the order of reading.

    Attributes:
        split: the index in `SPLITS` of each document's split.
        digest: `digest_of` each.
        values: of each column, the values among training documents.
        fingerprint: SHA-256 of all documents, split by split.
        moved: documents that follow a near-duplicate into its split.
    """

    split: "array.array[int]" = field(default_factory=lambda: array.array("b"))
    digest: "array.array[int]" = field(default_factory=lambda: array.array("Q"))
    values: dict[str, set[str]] = field(default_factory=dict)
    fingerprint: str = ""
    moved: int = 0

    def count(self, split: str) -> int:
        """Documents of a split."""
        return int((np.frombuffer(self.split, np.int8) == SPLITS.index(split)).sum())


def survey(source: Source, columns: Iterable[str], dedup: bool) -> Survey:
    """Read every document once, and decide its split.

    A document without a split of its own falls into one by a hash of its text, so that neither
    order nor other documents matter and copies stay together; with `dedup`, near-duplicates all
    follow the one of them whose hash is the least.
    """
    deciding = Deciding(source, columns, dedup)
    found = Survey(values=deciding.values)
    for given, document in every(source):
        split, digest = deciding.split(given, document)
        found.split.append(split)
        found.digest.append(int.from_bytes(digest[:8], "big"))
    found.fingerprint, found.moved = deciding.fingerprint, deciding.moved
    return found


class Deciding:
    """Decides which split each document is of, and keeps what the corpus's name is made of.

    Attributes:
        values: of each column, the values among training documents so far.
        moved: documents so far that follow a near-duplicate into its split.
        documents: of each split, how many there were so far.
    """

    def __init__(self, source: Source, columns: Iterable[str], dedup: bool):
        self.values: dict[str, set[str]] = {name: set() for name in columns}
        self.moved = 0
        self.documents = [0] * len(SPLITS)
        self._holds_valid = "valid" in source.splits
        self._leaders = _leaders(source) if dedup else None
        self._digests = [bytearray() for _ in SPLITS]

    def split(self, given: str, document: Document) -> tuple[int, bytes]:
        """The index of the next document's split in `SPLITS`, and SHA-256 of its text.

        Args:
            given: the split it comes with, or "all".
            document: the next one in the order of reading.
        """
        digest = hashlib.sha256(document.text.encode()).digest()
        split = _split_of(digest)
        leader = self._leaders[sum(self.documents)] if self._leaders is not None else None
        if leader is not None:
            followed = _split_of(leader)
            self.moved += followed != split
            split = followed
        if given == "train" and not self._holds_valid:
            split = "valid" if split == "valid" else "train"  # no validation split of its own
        elif given != "all":
            split = given
        place = SPLITS.index(split)
        self.documents[place] += 1
        self._digests[place] += digest
        if document.columns:
            columns = repr(sorted(document.columns.items()))
            self._digests[place] += hashlib.sha256(columns.encode()).digest()
        if split == "train":
            for name, values in self.values.items():
                value = document.columns.get(name)
                if value is not None:
                    values.add(value)
        return place, digest

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all documents so far, split by split."""
        whole = hashlib.sha256()
        for part in self._digests:
            whole.update(part)
        return whole.hexdigest()


class Beginning:
    """The beginning of the training text, as far as a tokenizer is trained on it.

    It is given out once; whoever asks again gets the rest.

    Attributes:
        digest: SHA-256 of what was given out.
        letters: how many those were.
        documents: how many were met, of all splits.
        to_train_on: how many of those were training text.
        columns: in which of them one of those had a value.
    """

    def __init__(self, found: Source, dedup: bool, most: int):
        self.digest, self.letters, self.documents, self.to_train_on = hashlib.sha256(), 0, 0, 0
        self.columns: set[str] = set()
        self._texts = self._read(found, dedup, most)

    def __iter__(self) -> Iterator[str]:
        return self._texts

    def _read(self, found: Source, dedup: bool, most: int) -> Iterator[str]:
        deciding = Deciding(found, (), dedup)
        for given, document in every(found):
            self.documents += 1
            if deciding.split(given, document)[0]:
                continue
            self.to_train_on += 1
            self.columns.update(n for n, value in document.columns.items() if value is not None)
            text = document.text[: most - self.letters]
            self.digest.update(text.encode() + b"\0")
            self.letters += len(text)
            yield text
            if self.letters >= most:
                return


def every(source: Source) -> Iterator[tuple[str, Document]]:
    """All documents in the order of reading, each with the split it comes with, or "all"."""
    for given, documents in source.splits.items():
        for document in documents:
            yield given, document


def _leaders(source: Source) -> list[bytes | None]:
    """Of each document that has near-duplicates, the least digest among them; else None."""
    group = groups(document.text for _, document in every(source))
    sizes = np.bincount(group, minlength=len(group))
    least: dict[int, bytes] = {}
    for number, (_, document) in zip(group.tolist(), every(source), strict=True):
        if sizes[number] > 1:
            digest = hashlib.sha256(document.text.encode()).digest()
            least[number] = min(digest, least.get(number, digest))
    return [least.get(number) for number in group.tolist()]


def training_texts(source: Source, known: Survey) -> Iterator[str]:
    """The texts of the training documents."""
    for split, (_, document) in zip(known.split, every(source), strict=True):
        if split == 0:
            yield document.text


def lay_out(
    source: Source,
    known: Survey,
    tokenizer: Tokenizer,
    layings: Mapping[str, Laying],
    codes: Callable[[Document], Mapping[str, int | float]],
) -> tuple[int, str]:
    """Encode every document into its split's rows.

    Returns how many cannot be read back from their tokens, and the beginning of the first.
    """
    lost, first = 0, ""
    facts = zip(known.split, known.digest, every(source), strict=True)
    for batch in _batches(facts):
        texts = [document.text for _, _, (_, document) in batch]
        if not tokenizer.is_lossless:
            for text, back in zip(texts, tokenizer.comes_back(texts), strict=True):
                lost, first = lost + (not back), first or ("" if back else text[:60])
        encoded = tokenizer.encode_arrays(texts)
        for (split, digest, (_, document)), (ids, sizes) in zip(batch, encoded, strict=True):
            layings[SPLITS[split]].add(ids, sizes, digest, codes(document))
    return lost, first


Fact = tuple[int, int, tuple[str, Document]]


def _batches(facts: Iterable[Fact]) -> Iterator[Sequence[Fact]]:
    batch: list[Fact] = []
    letters = 0
    for fact in facts:
        batch.append(fact)
        letters += len(fact[2][1].text)
        if letters >= BATCH_LETTERS or len(batch) >= BATCH_TEXTS:
            yield batch
            batch, letters = [], 0
    if batch:
        yield batch
