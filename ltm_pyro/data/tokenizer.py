"""Byte-level BPE, trained here or brought along."""

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers

from ltm_pyro.errors import InputError

BEGIN, END = "<|begin|>", "<|end|>"
KNOWN_ENDS = (END, "<|endoftext|>", "</s>", "[SEP]")


class Tokenizer:
    """Text to token ids and back, with a begin-of-text and an end-of-text token.

    A tokenizer that lacks a begin token gets one as its last id: GPT-2's 50,257 become 50,258.
    """

    def __init__(self, inner: tokenizers.Tokenizer):
        self.inner = inner
        if inner.token_to_id(BEGIN) is None:
            inner.add_special_tokens([BEGIN])
        end = next((e for e in KNOWN_ENDS if inner.token_to_id(e) is not None), None)
        if end is None:
            inner.add_special_tokens([END])
            end = END
        self.begin = int(inner.token_to_id(BEGIN))  # type: ignore[arg-type]
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
        inner.train_from_iterator(texts, trainer)
        return cls(inner)

    @classmethod
    def load(cls, source: str | Path) -> "Tokenizer":
        """From a `tokenizer.json`, a folder that holds one, or a name on the Hugging Face hub.

        Raises:
            InputError: if there is none, or it cannot be read.
        """
        path = Path(source)
        path = path / "tokenizer.json" if path.is_dir() else path
        try:
            if path.exists():
                return cls(tokenizers.Tokenizer.from_file(str(path)))
            if path.suffix == ".json" or str(source).startswith((".", "/")):
                raise InputError(f"no tokenizer at {source}: expected a tokenizer.json")
            return cls(tokenizers.Tokenizer.from_pretrained(str(source)))
        except InputError:
            raise
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"cannot load tokenizer {str(source)!r}: {_line(error)}") from None

    def save(self, path: str | Path) -> None:
        """Write a `tokenizer.json`."""
        self.inner.save(str(path))

    @property
    def vocabulary(self) -> int:
        """Number of tokens, special ones included."""
        return int(self.inner.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, nothing added."""
        return list(self.inner.encode(text, add_special_tokens=False).ids)

    def encode_documents(self, texts: list[str]) -> list[tuple[list[int], list[int]]]:
        """For each text its ids, end of text included, and the UTF-8 bytes each id stands for.

        The bytes of a document sum to those of its text; the end of text has none.
        """
        out = []
        for text, encoded in zip(
            texts, self.inner.encode_batch(texts, add_special_tokens=False), strict=True
        ):
            starts = [start for start, _ in encoded.offsets]
            marks = [0, *starts[1:], len(text)] if starts else []
            if not text.isascii():
                places = [0]
                for character in text:
                    places.append(places[-1] + len(character.encode()))
                marks = [places[mark] for mark in marks]
            sizes = [b - a for a, b in itertools.pairwise(marks)]
            out.append(([*encoded.ids, self.end], [*sizes, 0]))
        return out

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """Text of token ids; special tokens are left out unless asked for."""
        return str(self.inner.decode(list(ids), skip_special_tokens=not special))

    def fingerprint(self) -> dict[str, Any]:
        """Its JSON form, for comparing two."""
        return dict(json.loads(self.inner.to_str()))


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
