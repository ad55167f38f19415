"""A text while it is written."""

from collections.abc import Sequence
from typing import Literal

from ltm_pyro.data.tokenizer import Tokenizer

Why = Literal["end", "stop", "length"]
"""A text ends with the end-of-text token, before a stop string, or with its row."""


class Continuation:
    """A text while it is written: tokens come in; whole characters go out, up to a stop string.

    Attributes:
        prompt: token ids of the prompt.
        text: what may be shown of the continuation; it only ever grows.
        ended: why it has ended, or None.
        count: tokens so far, the prompt's included.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: list[int], stops: Sequence[str] = ()):
        self.tokenizer, self.prompt, self.stops = tokenizer, prompt, stops
        self.text, self.count = "", len(prompt)
        self.ended: Why | None = None
        # `settled` is the text of the ids before the last `open` ones. A tokenizer may write a
        # token otherwise at the start of a text, so these are decoded behind `context`.
        self.settled, self.context, self.open = "", list(prompt), list[int]()

    def add(self, token: int, last: bool = False) -> str:
        """Take a token, the `last` there is room for or not; returns what `text` grows by."""
        self.count += 1
        if token == self.tokenizer.end:
            self.ended = "end"
        else:
            self.open.append(token)
            self.ended = "length" if last else None
        before = self.tokenizer.decode(self.context)
        fresh = self.tokenizer.decode(self.context + self.open)[len(before) :]
        # A character whose bytes have not all come is decoded as U+FFFD.
        whole = fresh if self.ended else fresh.rstrip("\ufffd")
        found = self.settled + whole
        if fresh and whole == fresh:
            self.settled, self.context, self.open = found, self.open, []
        places = [place for stop in self.stops if (place := found.find(stop)) >= 0]
        if places:
            self.ended, found = "stop", found[: min(places)]
        elif not self.ended:
            found = found[: len(found) - self._pending(found)]
        shown, self.text = len(self.text), found
        return found[shown:]

    def _pending(self, text: str) -> int:
        """Characters at the end of a text that are the beginning of a stop string."""
        sizes = [k for stop in self.stops for k in range(1, len(stop)) if text.endswith(stop[:k])]
        return max(sizes, default=0)
