"""Making a corpus, or reading a kept one: documents split three ways, a tokenizer, and rows."""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ltm_pyro.config import Data
from ltm_pyro.data import cache, kept, prepared
from ltm_pyro.data.building import SPLITS, lay_out, survey, training_texts
from ltm_pyro.data.columns import coder, sorted_values
from ltm_pyro.data.corpus import Corpus
from ltm_pyro.data.documents import Source, check_used, find, nothing_in, several
from ltm_pyro.data.laying import Laying, lay_end_to_end, smallest
from ltm_pyro.data.sources import python_docs
from ltm_pyro.data.sources.base import Skipped, Wanted
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError, unknown


def load_corpus(
    source: Any = "python-docs",
    *,
    length: int = 64,
    tokenizer: Tokenizer | str | Path | None = None,
    **options: Any,
) -> Corpus:
    """Documents -> tokenizer -> rows of tokens, split 90/5/5 by a hash of each document's text.

    The split does not depend on order or on other documents, and copies of a document stay
    together. A data set that brings splits of its own keeps them. Rows of more than a few megabytes
    of text are kept in a cache on disk, by content and tokenizer (`ltm_pyro.data.cache`).

    Args:
        source: "python-docs" (embedded), a file or folder, a Hugging Face data set, texts or
            records that a program holds (see `ltm_pyro.data.documents.read_documents`), or a whole
            `Data`.
        length: tokens in a row.
        tokenizer: a tokenizer, a `tokenizer.json`, or a name on the hub, instead of the data's.
        options: fields of `ltm_pyro.config.Data`: `fields`, `separator`, `delimiter`, `subset`,
            `streaming`, `limit`, `layout`, `vocabulary`, `columns`, `numbers`, `dedup`.

    Raises:
        InputError: for a source that cannot be read, or that leaves nothing to train on.

    Example:
        >>> import ltm_pyro as ltm
        >>> texts = {"train": ["a fox", "an owl"], "test": ["a hen"]}
        >>> corpus = ltm.load_corpus(texts, length=8)
        >>> len(corpus.train), len(corpus.test)
        (2, 1)
    """
    asked = Asked.of(source, length, tokenizer, options)
    if prepared.is_prepared(asked.given):
        return prepared.read(asked.given, asked.data, length, asked.tokenizer)
    found, (data, _, tokenizer) = asked.find(), asked
    if data.streaming:  # read once: what comes over the network
        found = dataclasses.replace(
            found, splits={split: list(some) for split, some in found.splits.items()}
        )
    name = _cache_name(found, data, length, tokenizer)
    there = None if name is None else _kept(name, found, data, length, tokenizer)
    return _made(name, found, data, length, tokenizer) if there is None else there


class Asked(NamedTuple):
    """Which documents are asked for, and how they are to become rows.

    Attributes:
        data: how they are read.
        given: a name, several, or what a program holds.
        tokenizer: the one that was given, if one was.
    """

    data: Data
    given: Any
    tokenizer: Tokenizer | None

    @classmethod
    def of(
        cls, source: Any, length: int, tokenizer: Tokenizer | str | Path | None, options: Any
    ) -> "Asked":
        """From what `load_corpus` takes.

        Raises:
            InputError: for what cannot be a corpus.
        """
        if isinstance(source, Data):
            data, given = dataclasses.replace(source, **options), source.source
        else:
            named = isinstance(source, str | Path)
            data = Data(str(source) if named else "<data in memory>", **options)
            given = str(source) if named else source
            if named:
                check_used(given, data.separator, data.delimiter, data.subset, data.streaming)
        if data.layout not in ("document", "packed"):
            raise unknown("layout", data.layout, ("document", "packed"))
        if length < 1:
            raise InputError(f"length is {length}: a row needs at least 1 token")
        if data.kept and data.layout == "packed":
            raise InputError(
                f"column {', '.join(data.kept)} with layout 'packed': a packed window holds "
                "several documents, whose values may differ; take layout 'document'"
            )
        coder(dict.fromkeys(data.columns, ()), data.numbers)  # tells a name that is in both
        if tokenizer is None and data.tokenizer is not None:
            tokenizer = data.tokenizer
        if tokenizer is not None and not isinstance(tokenizer, Tokenizer):
            data = dataclasses.replace(data, tokenizer=str(tokenizer))
            tokenizer = Tokenizer.load(tokenizer)
        return cls(data, given, tokenizer)

    def find(self, skipped: Skipped | None = None) -> Source:
        """The documents, read as they are asked for."""
        data = self.data
        wanted = Wanted(data.fields, data.separator, data.kept, data.delimiter, skipped)
        read = several if isinstance(data.source, tuple) else find
        return read(self.given, wanted, data.subset, data.streaming, data.limit)


def source_of(found: Source, data: Data) -> str | tuple[str, ...]:
    """What names the documents in a configuration."""
    return data.source if isinstance(data.source, tuple) else found.name


def is_deduplicated(data: Data) -> bool:
    """Whether near-duplicates are to fall into one split."""
    return data.source == python_docs.NAME if data.dedup is None else data.dedup


def _cache_name(found: Source, data: Data, length: int, tokenizer: Tokenizer | None) -> str | None:
    """The name under which the corpus is kept, if its text is large enough to be kept."""
    if not found.paths:
        return None
    read = [cache.content(path) for path in found.paths]
    if sum(size for _, size in read) < cache.FROM_BYTES:
        return None
    made = dataclasses.asdict(dataclasses.replace(data, source="", tokenizer=None))
    return cache.name_of({
        "content": [digest for digest, _ in read],
        "names": [path.name for path in found.paths],  # a suffix tells how a file is read
        "data": made,
        "length": length,
        "tokenizer": None if tokenizer is None else tokenizer.inner.to_str(),
    })  # fmt: skip


def _kept(
    name: str, found: Source, data: Data, length: int, tokenizer: Tokenizer | None
) -> Corpus | None:
    """The corpus from the cache, if it is there."""
    there = cache.load(name)
    if there is None:
        return None
    splits, facts, folder = there
    return Corpus(
        name=found.name,
        tokenizer=tokenizer or Tokenizer.load(folder / kept.TOKENIZER),
        length=length,
        layout=data.layout,
        fingerprint=facts["fingerprint"],
        columns={column: tuple(values) for column, values in facts["columns"].items()},
        numbers=tuple(facts["numbers"]),
        notes=tuple(facts["notes"]),
        source=source_of(found, data),
        read_as=data,
        **splits,
    )


def _made(
    name: str | None, found: Source, data: Data, length: int, tokenizer: Tokenizer | None
) -> Corpus:
    """The corpus from its documents; kept in the cache, if it has a name there."""
    known = survey(found, data.columns, is_deduplicated(data))
    if not len(known.split):
        raise nothing_in(found, Wanted(data.fields))
    given = tokenizer
    if tokenizer is None:
        if not known.count("train"):
            raise nothing_to_train_on(found, len(known.split), data)
        tokenizer = Tokenizer.train(training_texts(found, known), data.vocabulary)
    counts = {split: known.count(split) for split in SPLITS}
    columns = {
        name: values or sorted_values(name, known.values[name], counts["train"])
        for name, values in data.columns.items()
    }
    notes = [*found.notes, *told_splits(counts, known.moved, data)]
    if blank := sum(found.blank.values()):
        where = f" in {', '.join(data.fields)}" if data.fields else ""
        notes.append(f"left out: {blank:,} document(s) without text{where}")
    code = coder(columns, data.numbers)
    with contextlib.ExitStack() as stack:
        folder = None if name is None else cache.new_folder()
        if folder is not None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        kind = smallest(tokenizer.vocabulary)
        paths = {
            split: folder / (kept.TOKENS if split == "train" else f"{split}.bin")
            for split in SPLITS
        } if folder is not None else None  # fmt: skip
        files = {
            split: stack.enter_context(path.open("wb")) for split, path in (paths or {}).items()
        }
        layings = {
            split: Laying(length, data.layout == "packed", kind, files.get(split))
            for split in SPLITS
        }
        lost, first = lay_out(
            found, known, tokenizer, layings,
            code,
        )  # fmt: skip
        for laying in layings.values():
            laying.end()
        for file in files.values():
            file.flush()
        splits = lay_end_to_end(layings, kind, paths)
        for rows in splits.values():
            for column in columns:
                rows.codes.setdefault(column, np.zeros(0, np.int64))  # type: ignore[attr-defined]
            for column in data.numbers:
                rows.codes.setdefault(column, np.zeros(0))  # type: ignore[attr-defined]
        if lost:
            notes.append(told_lost(lost / len(known.split), first))
            splits = {split: rows.without_bytes() for split, rows in splits.items()}
        if folder is not None and name is not None:
            tokenizer.save(folder / kept.TOKENIZER)
            facts = {
                "kind": kind.name, "vocabulary": tokenizer.vocabulary, "columns": columns,
                "numbers": list(data.numbers),
                "fingerprint": known.fingerprint, "notes": notes,
            }  # fmt: skip
            cache.keep(folder, name, splits, facts)
            there = _kept(name, found, data, length, given)
            if there is not None:
                return there
    return Corpus(
        found.name, tokenizer=tokenizer, length=length, layout=data.layout,
        fingerprint=known.fingerprint, columns=columns, numbers=data.numbers, notes=tuple(notes),
        source=source_of(found, data), read_as=data, **splits,
    )  # fmt: skip


def nothing_to_train_on(found: Source, documents: int, data: Data) -> InputError:
    """Says that all documents are held out."""
    return InputError(
        f"{found.name} leaves no document to train on: it holds {documents}, held out for "
        f"validation or test; give more, or a `separator` between them{_hint(data)}"
    )


def told_lost(share: float, first: str) -> str:
    """A note on texts that do not come back, and the beginning of the first."""
    return (
        f"bits per byte are nan: {share:.1%} of the texts cannot be read back from the "
        f"tokenizer's tokens (the first: {first!r}), so figures are of less than the text"
    )


def told_splits(counts: Mapping[str, int], moved: int, data: Data) -> Iterable[str]:
    """What a reader should know of splits with so many documents."""
    empty = [split for split in ("valid", "test") if not counts[split]]
    if empty:
        yield (
            f"{' and '.join(empty)} {'are' if len(empty) > 1 else 'is'} empty, of "
            f"{sum(counts.values())} document(s): nothing is held out there; give more documents"
            f"{_hint(data)}"
        )
    if moved:
        yield (
            f"{moved} documents follow a near-duplicate into its split (dedup): no held-out "
            "document shares more than half of its runs of 8 words with any one of training"
        )


def _hint(data: Data) -> str:
    if data.limit is not None:
        return f", or a larger --limit (limit=), which is {data.limit}"
    names: Sequence[str] = (data.source,) if isinstance(data.source, str) else data.source
    if data.separator is None and any(".txt" in name.lower() for name in names):
        return (
            " (documents of a .txt file have a blank line between them; with --separator line, or "
            "separator='line', each line is one)"
        )
    return ""
