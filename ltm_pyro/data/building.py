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
    found = Survey(values={name: set() for name in columns})
    leaders = _leaders(source) if dedup else None
    digests: dict[str, bytearray] = {split: bytearray() for split in SPLITS}
    for place, (given, document) in enumerate(every(source)):
        digest = hashlib.sha256(document.text.encode()).digest()
        split = _split_of(digest)
        if leaders is not None and leaders[place] is not None:
            followed = _split_of(leaders[place] or digest)
            found.moved += followed != split
            split = followed
        if given == "train" and "valid" not in source.splits:
            split = "valid" if split == "valid" else "train"  # no validation split of its own
        elif given != "all":
            split = given
        found.split.append(SPLITS.index(split))
        found.digest.append(int.from_bytes(digest[:8], "big"))
        digests[split] += digest
        if document.columns:
            columns_ = repr(sorted(document.columns.items()))
            digests[split] += hashlib.sha256(columns_.encode()).digest()
        if split == "train":
            for name, values in found.values.items():
                value = document.columns.get(name)
                if value is not None:
                    values.add(value)
    whole = hashlib.sha256()
    for part in digests.values():
        whole.update(part)
    found.fingerprint = whole.hexdigest()
    return found


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
