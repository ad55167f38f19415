"""Texts that are written together, in one batch: their prompts and what there is of them."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError
from ltm_pyro.generation.choosing import Sampling
from ltm_pyro.generation.continuation import Continuation
from ltm_pyro.generation.thoughts import Text, name_of
from ltm_pyro.models.decoders.decode import decode
from ltm_pyro.models.size import check_memory
from ltm_pyro.seeds import Stream, generator


class Writer:
    """`n` texts of each prompt, each with a stream of random numbers of its own.

    Args:
        model, tokenizer, prompt, n, length, sampling, stop, cached: as for `generate`.

    Attributes:
        length: tokens at which a text ends at the latest.
        encoded: token ids of each prompt.
        texts: prompt and number of each text.

    Raises:
        InputError: as `generate`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        prompt: str | Sequence[str] | None,
        n: int,
        length: int | None,
        sampling: Sampling | None,
        stop: str | Sequence[str],
        cached: bool = True,
    ):
        self.model, self.tokenizer, self.cached = model, tokenizer, cached
        self.longest = longest = model.config.architecture.length
        self.length = longest if length is None else length
        if self.length > longest:
            raise InputError(f"length {length}: this decoder writes 1 to {longest} tokens")
        self.sampling = sampling or Sampling()
        prompts = strings("prompt", "" if prompt is None else prompt)
        self.stops = strings("stop", stop)
        if not prompts:
            raise InputError("prompt is an empty list: leave it out to write from the prior")
        if "" in self.stops:
            raise InputError("stop holds an empty string: every text would end before it began")
        number, words = len(prompts) * n, model.config.architecture.vocabulary
        row = 16 * words + 16 * self.length  # its logits and their order, its tokens and numbers
        check_memory({f"{number:,} texts, {row:,} bytes each": number * row}, "n, or the prompts")
        self.prompts = prompts
        self.encoded = {text: _encoded(tokenizer, text, self.length, longest) for text in prompts}
        self.texts = _numbered(prompts, n)

    def begin(
        self,
        seed: int,
        *keys: int,
        on_text: Callable[[int, str], None] | None = None,
        on_end: Callable[[int], None] | None = None,
    ) -> "Draft":
        """Texts of which there is the prompt; their tokens' random numbers follow from `keys`."""
        # As many as the decoder's row has tokens, whatever `length`: a shorter text is a beginning.
        uniforms = torch.stack(
            [
                torch.rand(
                    self.longest, generator=generator(seed, *keys, *name), dtype=torch.float64
                )
                for name in map(name_of, self.texts)
            ]
        )
        return Draft(self, uniforms, on_text, on_end)

    def first(self, seed: int, **calls: Any) -> "Draft":
        """The texts that `generate` writes."""
        return self.begin(seed, Stream.TOKENS, **calls)


class Draft:
    """What there is of the texts of a `Writer`.

    Attributes:
        written: each text so far.
        tokens: ids of prompt and continuation, (texts, length), zeros behind them.
    """

    def __init__(
        self,
        of: Writer,
        uniforms: Tensor,
        on_text: Callable[[int, str], None] | None,
        on_end: Callable[[int], None] | None,
    ):
        self.of, self.uniforms, self.on_text, self.on_end = of, uniforms, on_text, on_end
        prompts = [of.encoded[text] for text, _ in of.texts]
        self.written = [Continuation(of.tokenizer, ids, of.stops) for ids in prompts]
        head = of.model.decoder.head
        self.tokens = torch.zeros(len(prompts), of.length, dtype=torch.long, device=head.device)
        rows = pad_sequence([torch.tensor(ids).long() for ids in prompts], batch_first=True)
        self.tokens[:, : rows.shape[1]] = rows

    @property
    def live(self) -> list[int]:
        """Which texts have not ended."""
        return [i for i, text in enumerate(self.written) if text.ended is None]

    @property
    def lengths(self) -> Tensor:
        """Tokens of each text, (texts,)."""
        return torch.tensor([text.count for text in self.written], device=self.tokens.device)

    def fields(self, z: Tensor | None) -> dict[str, Any]:
        """What a `Generation` holds of texts that have all ended, and of the thoughts behind."""
        lengths = self.lengths
        none = torch.zeros(len(self.written), 0, 0, 0, device=self.tokens.device)
        return {
            "prompts": [text for text, _ in self.of.texts],
            "continuations": [text.text for text in self.written],
            "ended": [text.ended or "length" for text in self.written],
            "tokens": self.tokens[:, : int(lengths.max())],
            "lengths": lengths,
            "thoughts": none if z is None else z,
        }

    def replace(self, which: Sequence[int], other: "Draft") -> None:
        """Take some of the texts from another draft."""
        for i in which:
            self.written[i], self.tokens[i] = other.written[i], other.tokens[i]

    def ids(self, which: Sequence[int]) -> list[list[int]]:
        """Token ids of some of the texts."""
        return [self.tokens[i, : self.written[i].count].tolist() for i in which]

    def write(self, z: Tensor | None, more: int | None = None) -> None:
        """Go on with texts that have not ended: to their end, or by so many tokens.

        `z` are thoughts of all texts, (texts, layers, slots, dim), or None if the decoder has none.
        """
        live, of = self.live, self.of
        begun = [text.count for text in self.written]
        limits = [of.length if more is None else min(of.length, n + more) for n in begun]

        def choose(logits: Tensor, rows: Tensor, position: int) -> Tensor:
            return of.sampling.choose(logits, self.uniforms[chosen[rows.cpu()], position])

        def ended(drawn: Tensor, rows: Tensor, position: int) -> list[bool]:
            which = chosen[rows.cpu()].tolist()
            for i, token in zip(which, drawn.tolist(), strict=True):
                if position >= begun[i]:
                    self._take(i, token)
            return [
                self.written[i].ended is not None or self.written[i].count == limits[i]
                for i in which
            ]

        chosen, sizes = torch.tensor(live), torch.tensor([begun[i] for i in live])
        given = self.tokens[live, : int(sizes.max())]
        some = None if z is None else z[live]
        longest = max(limits[i] for i in live)
        found = decode(
            of.model.decoder, some, len(live), longest, choose, given, sizes, ended, of.cached
        )
        self.tokens[live, : found.shape[1]] = found

    def _take(self, i: int, token: int) -> None:
        """The next token of a text."""
        text = self.written[i]
        piece = text.add(token, last=text.count + 1 == self.of.length)
        if piece and self.on_text is not None:
            self.on_text(i, piece)
        if text.ended is not None and self.on_end is not None:
            self.on_end(i)


def strings(name: str, given: str | Sequence[str]) -> list[str]:
    """One string or several, as a list."""
    found = [given] if isinstance(given, str) else given
    if not isinstance(found, Sequence) or not all(isinstance(s, str) for s in found):
        raise InputError(f"{name} is {given!r:.60}: expected a text, or a list of texts")
    return list(found)


def _encoded(tokenizer: Tokenizer, text: str, length: int, longest: int) -> list[int]:
    """Token ids of a prompt, if there is room behind it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"prompt {text[:30]!r} is not text: it cannot be UTF-8") from None
    ids = tokenizer.encode(text)
    if len(ids) >= length:
        longer = f"allow more tokens (up to {longest})"
        raise InputError(
            f"prompt {text[:30]!r} has {len(ids)} tokens and leaves no room in a row of {length}: "
            f"shorten it, or {longer if length < longest else 'train with a larger --length'}"
        )
    return ids


def _numbered(prompts: list[str], n: int) -> list[Text]:
    """The prompt of each text, and the text's number among those of that prompt."""
    seen: Counter[str] = Counter()
    texts = []
    for text in (text for text in prompts for _ in range(n)):
        texts.append((text, seen[text]))
        seen[text] += 1
    return texts
