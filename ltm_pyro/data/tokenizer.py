"""Byte-level BPE, trained here or brought along."""

import contextlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from ltm_pyro.data.tokenizer_trial import check_tokenizer
from ltm_pyro.errors import InputError, first_line
from ltm_pyro.files.storage import is_url, place

BEGIN, END = "<|begin|>", "<|end|>"
KNOWN_BEGINS = (BEGIN, "<|startoftext|>", "<|begin_of_text|>", "<s>", "<bos>", "[CLS]")
KNOWN_ENDS = (END, "<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
LONGEST_WORD, LONGEST_TEXT = 1000, 2**19
"""Letters of a word, and of a text, beyond which it is encoded piece by piece."""

Encoded = tuple[NDArray[np.int64], NDArray[np.int64]]


class Tokenizer:
    """Text to token ids and back, with a begin-of-text and an end-of-text token.

    A tokenizer that has them under another name (`<s>`, `[SEP]`) keeps that; one that lacks a begin
    token gets one as its last id: GPT-2's 50,257 become 50,258. Truncation and padding, which
    files of other programs switch on, are off.

    Raises:
        InputError: for one whose ids have holes.
    """

    def __init__(self, inner: tokenizers.Tokenizer):
        self.inner = inner
        inner.no_truncation()
        inner.no_padding()
        _check_ids(inner)
        self.begin_text = _or_added(inner, KNOWN_BEGINS, BEGIN)
        end = _or_added(inner, KNOWN_ENDS, END)
        self.begin = int(inner.token_to_id(self.begin_text))  # type: ignore[arg-type]
        self.end = int(inner.token_to_id(end))  # type: ignore[arg-type]

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int = 2048) -> "Tokenizer":
        """Byte-level BPE with at most `vocabulary` tokens; any text can be encoded.

        Raises:
            InputError: if the vocabulary cannot hold the 256 bytes and two special tokens.
        """
        if vocabulary < 258:
            raise InputError(f"vocabulary {vocabulary}: 256 bytes and 2 special tokens need 258")
        inner = tokenizers.Tokenizer(tokenizers.models.BPE())
        inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[BEGIN, END],
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        # A word's merges are looked for in all of it, so one of millions of letters takes hours.
        pieces = (piece for text in texts for piece in _words_cut(text, LONGEST_WORD))
        inner.train_from_iterator(pieces, trainer)
        return cls(inner)

    @classmethod
    def load(cls, source: str | Path) -> "Tokenizer":
        """From a `tokenizer.json`, a folder that holds one, or a name on the Hugging Face hub.

        Raises:
            InputError: if there is none, it cannot be read, or its rules take too long or too
                much room; see `tokenizer_trial`.
        """
        path = place(source)
        try:
            path = path / "tokenizer.json" if is_url(source) or path.is_dir() else path
            if path.exists():
                return cls.of_text(path.read_text(encoding="utf-8"), str(path))
            if path.suffix == ".json" or str(source).startswith((".", "/", "~")):
                raise InputError(f"no tokenizer at {source}: expected a tokenizer.json")
            found = tokenizers.Tokenizer.from_pretrained(str(source))
            check_tokenizer(found.to_str(), str(source))
            return cls(found)
        except InputError as error:
            raise InputError(f"{error} (tokenizer {str(source)!r})") from None
        except BaseException as error:  # the library raises plain Exception, or panics
            if not isinstance(error, Exception) and not _is_panic(error):
                raise
            raise InputError(
                f"cannot load tokenizer {str(source)!r}: {first_line(error)}"
            ) from None

    @classmethod
    def of_text(cls, text: str, where: str) -> "Tokenizer":
        """From what a `tokenizer.json` holds; `where` is what messages call it."""
        check_tokenizer(text, where)
        try:
            return cls(tokenizers.Tokenizer.from_str(text))
        except InputError:
            raise
        except BaseException as error:  # the library raises plain Exception, or panics
            if not isinstance(error, Exception) and not _is_panic(error):
                raise
            raise InputError(f"cannot load tokenizer {where!r}: {first_line(error)}") from None

    def save(self, path: str | Path) -> None:
        """Write a `tokenizer.json`."""
        self.inner.save(str(path))

    @property
    def vocabulary(self) -> int:
        """Number of tokens, special ones included."""
        return int(self.inner.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, nothing added."""
        with _panics_told():
            return list(self.inner.encode(text, add_special_tokens=False).ids)

    def encode_documents(self, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """For each text its ids, end of text included, and the UTF-8 bytes each id stands for.

        The bytes of a document sum to those of its text; the end of text has none.
        """
        return [(ids.tolist(), sizes.tolist()) for ids, sizes in self.encode_arrays(texts)]

    def encode_arrays(self, texts: Sequence[str]) -> list[Encoded]:
        """As `encode_documents`, as arrays; in parallel on all cores.

        Raises:
            InputError: if a rule of the tokenizer fails on a text.
        """
        with _panics_told():
            return self._encoded(texts)

    def _encoded(self, texts: Sequence[str]) -> list[Encoded]:
        if self._byte_lengths is None:
            encoded = self.inner.encode_batch(list(texts), add_special_tokens=False)
            return [
                self._ended(one.ids, _sizes(text, one.offsets))
                for text, one in zip(texts, encoded, strict=True)
            ]
        # A long text is cut where a word begins, at which byte-level tokens never reach across.
        pieces = [list(_cut(text)) for text in texts]
        flat = list(itertools.chain(*pieces))
        ids = iter(self.inner.encode_batch_fast(flat, add_special_tokens=False))
        found = []
        for text, some in zip(texts, pieces, strict=True):
            parts = [next(ids).ids for _ in some]
            joined = parts[0] if len(parts) == 1 else list(itertools.chain(*parts))
            whole = np.array(joined, np.int64)
            sizes = self._byte_lengths[whole]
            if int(sizes.sum()) != (len(text) if text.isascii() else len(text.encode())):
                one = self.inner.encode(text, add_special_tokens=False)
                found.append(self._ended(one.ids, _sizes(text, one.offsets)))
            else:
                found.append(self._ended(whole, sizes))
        return found

    def _ended(self, ids: Any, sizes: Any) -> Encoded:
        return np.append(np.asarray(ids, np.int64), self.end), np.append(
            np.asarray(sizes, np.int64), 0
        )

    @cached_property
    def _byte_lengths(self) -> NDArray[np.int64] | None:
        """The bytes each id stands for, where tokens are made of bytes; None where they are not."""
        found = self.fingerprint()
        kind = (found.get("decoder") or {}).get("type")
        if kind != "ByteLevel" or found.get("normalizer") is not None:
            return None
        added = {one["id"]: one["content"] for one in found.get("added_tokens", [])}
        words = (self.inner.id_to_token(i) for i in range(self.vocabulary))
        return np.array([
            len(added[i].encode()) if i in added else len(word or "")
            for i, word in enumerate(words)
        ])  # fmt: skip

    def comes_back(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text can be read back from its tokens, letter for letter.

        Where it cannot (unknown words, lower-casing), two texts have the same tokens, and bits per
        byte would be those of something less than the text.
        """
        with _panics_told():
            encoded = self.inner.encode_batch(list(texts), add_special_tokens=False)
            back = self.inner.decode_batch([one.ids for one in encoded], skip_special_tokens=False)
        return [a == b for a, b in zip(texts, back, strict=True)]

    @cached_property
    def is_lossless(self) -> bool:
        """Whether every text comes back, by how the tokenizer is made: of bytes, none left out."""
        found = self.fingerprint()
        before, model = found.get("pre_tokenizer") or {}, found.get("model") or {}
        return (
            self._byte_lengths is not None
            and not any(one["lstrip"] or one["rstrip"] for one in found["added_tokens"])
            and before.get("type") == "ByteLevel"
            and not before.get("add_prefix_space")
            and set(tokenizers.pre_tokenizers.ByteLevel.alphabet()) <= set(model.get("vocab", ()))
        )

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """Text of token ids; special tokens are left out unless asked for."""
        with _panics_told():
            return str(self.inner.decode(list(ids), skip_special_tokens=not special))

    def fingerprint(self) -> dict[str, Any]:
        """Its JSON form, for comparing two."""
        return dict(json.loads(self.inner.to_str()))


def _is_panic(error: BaseException) -> bool:
    """Whether it is one of the library's own language, which is no Exception."""
    return type(error).__name__ == "PanicException"


@contextlib.contextmanager
def _panics_told() -> Iterator[None]:
    """A block in which the tokenizer's rules may fail on a text."""
    try:
        yield
    except BaseException as error:
        if not _is_panic(error):
            raise
        raise InputError(
            f"a rule of the tokenizer fails on this text ({first_line(error)}): take a tokenizer "
            "without it, or train one here"
        ) from None


def _check_ids(inner: tokenizers.Tokenizer) -> None:
    """Raises InputError for ids that are not 0, 1, 2 and so on."""
    ids = sorted(inner.get_vocab().values())
    holes = sorted(set(range(len(ids))) - set(ids))
    if holes:
        raise InputError(
            f"a tokenizer of {len(ids)} tokens whose largest id is {ids[-1]} has no token of id "
            f"{holes[0]}: tokens that are added would take ids that words have; number its "
            "vocabulary from 0 without holes"
        )


def _or_added(inner: tokenizers.Tokenizer, known: Sequence[str], otherwise: str) -> str:
    """The first of the known tokens that there is, or one that is added."""
    found = next((name for name in known if inner.token_to_id(name) is not None), None)
    if found is None:
        inner.add_special_tokens([otherwise])
    return found or otherwise


def _sizes(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The bytes between the beginnings of tokens; those before the first are its own."""
    starts = [start for start, _ in offsets]
    marks = [0, *starts[1:], len(text)] if starts else []
    if not text.isascii():
        places = [0]
        for character in text:
            places.append(places[-1] + len(character.encode()))
        marks = [places[mark] for mark in marks]
    return [b - a for a, b in itertools.pairwise(marks)]


_WORD_BEGINS = re.compile(r"(?<=\S) (?=\S)")


def _cut(text: str) -> Iterator[str]:
    """A text in pieces: cut before a space between words, or in a word without end."""
    start = 0
    while len(text) - start > LONGEST_TEXT:
        near = start + LONGEST_TEXT
        found = _WORD_BEGINS.search(text, near, near + LONGEST_TEXT)
        end = found.start() if found else near
        yield text[start:end]
        start = end
    yield text[start:]


def _words_cut(text: str, longest: int) -> Iterator[str]:
    """A text in pieces, so that no word of theirs is longer than that."""
    start = 0
    if len(text) <= longest or max(map(len, text.split()), default=0) <= longest:
        yield text
        return
    for match in re.finditer(rf"\S{{{longest},}}", text):
        yield text[start : match.start()]
        yield from (text[i : i + longest] for i in range(match.start(), match.end(), longest))
        start = match.end()
    yield text[start:]
