"""Text of any size as a folder of token ids: read once, encoded in processes, kept in shards.

What is in the folder at the end is told in `kept`. Until then `parts` has the finished shards; a
preparing that was stopped goes on after the last of them.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ltm_pyro import files
from ltm_pyro.config import Data
from ltm_pyro.data import kept, prepared
from ltm_pyro.data.building import BATCH_LETTERS, BATCH_TEXTS, SPLITS, Beginning, Deciding, every
from ltm_pyro.data.columns import Coming, sorted_values
from ltm_pyro.data.corpus import Corpus
from ltm_pyro.data.documents import Source, marks_of, nothing_in, where_of
from ltm_pyro.data.encoding import encode_all
from ltm_pyro.data.laying import Laying, smallest
from ltm_pyro.data.loading import (
    Asked,
    is_deduplicated,
    nothing_to_train_on,
    told_lost,
    told_splits,
)
from ltm_pyro.data.parts import PARTS, Parts, shard_of, verify
from ltm_pyro.data.sources.base import Skipped, Wanted
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError
from ltm_pyro.files import storage
from ltm_pyro.files.lock import LOCK, alone
from ltm_pyro.options import Count, checked

SHARD, LEARN_FROM = 2**25, 2 * 10**8
Note = Callable[[str], Any]


@checked
def prepare(
    source: Any,
    out: str | Path,
    *,
    length: Count = 64,
    tokenizer: Tokenizer | str | Path | None = None,
    processes: Count = 1,
    shard: Count = SHARD,
    learn_from: Count = LEARN_FROM,
    note: Note = lambda text: None,
    **options: Any,
) -> Corpus:
    """Make text ready for training, however much it is: `load_corpus` and `--data` take the folder.

    The corpus is that of `load_corpus` with the same arguments, of texts that its tokenizer is
    trained on all of. Documents and files that cannot be read are passed over, and counted in the
    corpus's notes. Stopped at any time, the same call goes on after its last finished shard; of
    a folder that is finished it checks every file.

    Args:
        source, length, tokenizer, options: see `load_corpus`.
        out: the folder, or the URL of one in a store.
        processes: how many encode text, beside this one, which reads it; 1 for this one alone. A
            script that asks for several needs `if __name__ == "__main__":`, as each imports it.
        shard: token ids in a file, at least.
        learn_from: letters of training text that a tokenizer is trained on, at most.
        note: called with a line of text for whatever happens.

    Raises:
        InputError: for a source of which nothing can be read, for a folder in which something else
            was prepared, or if the text has changed since.
        Lost: if a process that encodes has ended.
    """
    asked = Asked.of(source, length, tokenizer, options)
    return Preparing(asked, storage.place(out), length, shard, learn_from, note).run(processes)


Decided = tuple[int, bytes, Mapping[str, int | float]]
"""Of a document the index of its split, SHA-256 of its text, and what it holds in each column."""


class Batch(NamedTuple):
    """Documents that are encoded at once.

    Attributes:
        each: what is decided of each.
        documents: how many were read, up to the end of these.
        read: SHA-256 of all of them.
    """

    each: list[Decided]
    documents: int
    read: str


class Preparing:
    """A preparing, as far as it has come; see `prepare`."""

    def __init__(
        self, asked: Asked, out: Path, length: int, shard: int, learn_from: int, note: Note
    ):
        self.asked, self.out, self.length, self.shard, self.note = asked, out, length, shard, note
        self.learn_from = learn_from
        self.packed = asked.data.layout == "packed"
        self.skipped = Skipped()
        self.coming = Coming(asked.data.columns, asked.data.numbers, self.skipped)

    def run(self, processes: int) -> Corpus:
        """Go on to the end."""
        self._check_folder()
        with alone(self.out) if storage.is_local(self.out) else nullcontext():
            if (self.out / kept.FACTS).exists():
                self._look_again()
            else:
                self._prepare(processes)
        return prepared.read(str(self.out), self._as_read(), self.length, None)

    def _look_again(self) -> None:
        """Raises InputError if a finished folder is damaged, or of other text than there is now."""
        facts = json.loads((self.out / kept.FACTS).read_bytes())
        found = self.asked.find(Skipped())
        if facts["marks"] is None or facts["marks"] != marks_of(found):
            data = self.asked.data
            deciding = Deciding(found, data.columns, is_deduplicated(data))
            for given, document in every(found):
                deciding.split(given, document)
            if deciding.fingerprint != facts["fingerprint"]:
                raise self._changed()
        self.note(f"{verify(self.out)} shards are finished, and as they were written")

    def _prepare(self, processes: int) -> None:
        """What is left to do."""
        data = self.asked.data
        for place in (self.out, self.out / kept.SHARDS, self.out / PARTS):
            for left in place.glob(".*.*") if place.is_dir() else ():  # of one that was killed
                left.unlink()
        self.parts = Parts(self.out)
        found = self.asked.find(self.skipped)
        marks = marks_of(found)
        tokenizer = self._tokenizer(found)
        self.deciding = Deciding(found, data.columns, is_deduplicated(data))
        self.skipped.clear()  # what was met before is met again
        if self.parts.done:
            self.note(f"{len(self.parts.done)} shards are finished: reading on after them")
        self.kind = smallest(tokenizer.vocabulary)
        self._encode(found, tokenizer, processes)
        self._finish(found, tokenizer, marks)

    def _check_folder(self) -> None:
        """Raises InputError if this cannot be prepared in the folder."""
        files.check_is_folder(self.out)
        there = (self.out / kept.MADE).exists()
        if not there and self.out.is_dir() and any(one.name != LOCK for one in self.out.iterdir()):
            raise InputError(f"{self.out} holds something else: give another --out")
        files.check_same(self.out / kept.MADE, self._made(), "prepared text")

    def _made(self) -> dict[str, Any]:
        """What the folder follows from."""
        data = dataclasses.asdict(self.asked.data)
        if self.asked.tokenizer is not None:
            text = self.asked.tokenizer.inner.to_str()
            data["tokenizer"] = hashlib.sha256(text.encode()).hexdigest()
        data["source"] = where_of(self.asked.data.source)
        made = {**data, "length": self.length, "shard": self.shard, "learn_from": self.learn_from}
        found: dict[str, Any] = json.loads(json.dumps(made))
        return found

    def _as_read(self) -> Data:
        """How the folder is read: what is no matter of rows is done."""
        given = {name: getattr(self.asked.data, name) for name in prepared.OF_ROWS}
        return Data(**{**given, "tokenizer": None})

    def _tokenizer(self, found: Source) -> Tokenizer:
        """The one that is asked for; or one of the beginning of the training text, which is kept.

        Raises:
            InputError: if that was of other text.
        """
        place, made = self.out / kept.TOKENIZER, self.out / kept.MADE
        given, of = self.asked.tokenizer, None
        if given is None:
            before = json.loads(made.read_bytes()).get("tokenizer_of") if made.exists() else None
            texts = Beginning(found, is_deduplicated(self.asked.data), self.learn_from)
            if before is None:
                self.note("training a tokenizer")
                trained = Tokenizer.train(texts, self.asked.data.vocabulary)
            for _ in texts:  # what no tokenizer was trained on now
                pass
            if not texts.documents:
                raise nothing_in(found, Wanted(self.asked.data.fields))
            if not texts.letters:
                raise nothing_to_train_on(found, texts.documents, self.asked.data)
            for name in (one for one in self.asked.data.columns if one not in texts.columns):
                first = f"the first {texts.to_train_on:,} training documents"
                self.note(f"column {name!r} has no value in {first}")
            of = texts.digest.hexdigest()
            if before is not None:
                if before != of:
                    raise self._changed()
                return prepared.tokenizer_of(self.out)
        tokenizer = given or trained
        files.write_json(made, {"made": self._made()})  # now it is known that there is text
        files.write(place, tokenizer.inner.to_str(pretty=True).encode())
        files.write_json(made, {"made": self._made(), "tokenizer_of": of})
        return tokenizer

    def _encode(self, found: Source, tokenizer: Tokenizer, processes: int) -> None:
        """What is left of the text, a shard after the other."""
        lost, first = 0, ""
        if self.parts.done:
            lost, first = (self.parts.done[-1][name] for name in ("lost", "first_lost"))
        layings, about = self._layings(), dict[str, Any]()
        for batch, ids in encode_all(tokenizer, self._batches(found), processes):
            for (split, digest, codes), (one, sizes) in zip(batch.each, ids.each(), strict=True):
                number = int.from_bytes(digest[:8], "big")
                layings[SPLITS[split]].add(one, sizes, number, codes)
            lost, first = lost + len(ids.lost), first or next(iter(ids.lost), "")
            about = {"documents": batch.documents, "read": batch.read, "lost": lost,
                     "first_lost": first}  # fmt: skip
            if sum(laying.size for laying in layings.values()) >= self.shard:
                self._add(layings, about)
                layings, about = self._layings(), {}
        if not sum(self.deciding.documents):
            raise nothing_in(found, Wanted(self.asked.data.fields))
        before = self.parts.done[-1] if self.parts.done else {}
        if about or (self.packed and not before.get("last")):
            self._add(layings, {**before, **about}, True)

    def _add(
        self, layings: Mapping[str, Laying], about: Mapping[str, Any], last: bool = False
    ) -> None:
        self.parts.add(layings, about, last)
        self.note(
            f"shard {len(self.parts.done)}: {about['documents']:,} documents, "
            f"{self.parts.tokens:,} tokens so far"
        )

    def _layings(self) -> dict[str, Laying]:
        """Empty ones, which follow those of the last finished shard."""
        layings = {split: Laying(self.length, self.packed, self.kind) for split in SPLITS}
        self.parts.follow(layings)
        return layings

    def _batches(self, found: Source) -> Iterator[tuple[Batch, list[str]]]:
        """The documents after those of finished shards."""
        read, number, letters = hashlib.sha256(), 0, 0
        before = {part["documents"]: part["read"] for part in self.parts.done}
        last = max(before, default=0)
        each, texts = list[Decided](), list[str]()
        for given, document in every(found):
            split, digest = self.deciding.split(given, document)
            codes = self.coming(document)
            number += 1
            read.update(digest + repr(sorted(document.columns.items())).encode())
            if number > last and self.parts.done and self.parts.done[-1]["last"]:
                raise self._changed()
            if number <= last:
                if before.get(number, read.hexdigest()) != read.hexdigest():
                    raise self._changed()
                continue
            each.append((split, digest, codes))
            texts.append(document.text)
            letters += len(document.text)
            if letters >= BATCH_LETTERS or len(texts) >= BATCH_TEXTS:
                yield Batch(each, number, read.hexdigest()), texts
                each, texts, letters = [], [], 0
        if number < last:
            raise self._changed()
        if texts:
            yield Batch(each, number, read.hexdigest()), texts

    def _changed(self) -> InputError:
        return InputError(
            f"the text has changed since {self.out} was begun, or is read in another order: remove "
            "it to prepare the text anew, or give another --out"
        )

    def _finish(self, found: Source, tokenizer: Tokenizer, marks: dict[str, Any] | None) -> None:
        """What is known of all rows, in one file for each split; then parts are of no use."""
        data, deciding = self.asked.data, self.deciding
        columns = {
            name: values or sorted_values(name, deciding.values[name], deciding.documents[0])
            for name, values in data.columns.items()
        }
        kinds = {**dict.fromkeys(columns, np.int64), **dict.fromkeys(data.numbers, np.float64)}
        splits = {s: self.parts.rows(s, self.kind, self.packed, kinds) for s in SPLITS}
        for name, known in columns.items():
            places = self.coming.places(name, known)
            for rows in splits.values():
                rows.codes[name] = places[rows.codes[name]]  # type: ignore[index]
        counts = dict(zip(SPLITS, deciding.documents, strict=True))
        notes = [*found.notes, *told_splits(counts, deciding.moved, data), *self._told()]
        if lost := self.parts.done[-1]["lost"]:
            notes.append(told_lost(lost / sum(counts.values()), self.parts.done[-1]["first_lost"]))
            splits = {split: rows.without_bytes() for split, rows in splits.items()}
        kept.write(self.out, splits, {
            "kind": self.kind.name, "vocabulary": tokenizer.vocabulary, "length": self.length,
            "layout": data.layout, "columns": columns, "numbers": list(data.numbers),
            "fingerprint": deciding.fingerprint, "notes": notes, "documents": counts,
            "skipped": dict(self.skipped.counts), "marks": marks,
        }, {f"{kept.SHARDS}/{shard_of(self.out, i).name}": part["sha256"]
            for i, part in enumerate(self.parts.done)})  # fmt: skip
        self.parts.remove()

    def _told(self) -> Iterator[str]:
        """What was passed over, and why."""
        for kind, count in self.skipped.counts.items():
            first = self.skipped.first[kind]
            yield f"passed over: {count:,} {kind}" + (f" (the first: {first})" if first else "")
