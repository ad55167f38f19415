"""Rows of tokens: each row is the text that one set of thoughts explains."""

import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ltm_pyro import seeds
from ltm_pyro.errors import InputError


@dataclass(frozen=True)
class Rows:
    """A data set, or a batch of it: R rows of up to N tokens.

    Attributes:
        tokens: ids, shape (R, N); what stands behind a row's length is padding.
        lengths: tokens that count in each row, shape (R,).
        document: which document a row belongs to, shape (R,). A document longer than a row is cut
            into several, each with thoughts of its own; errors are computed over documents.
        bytes: UTF-8 bytes of text a row stands for, shape (R,).
        key: a number made of a row's tokens, shape (R,), on the CPU: what is drawn for a row
            follows from it, not from the batch it is in. Copies of a row have keys of their own.
        columns: what is known of each row's document besides its text, by name, each of shape
            (R, ...), for priors that read it. From a corpus they are codes: the index of the
            document's value among `Corpus.columns`, -1 for one that is not there, or missing.
    """

    tokens: Tensor
    lengths: Tensor
    document: Tensor
    bytes: Tensor
    key: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    columns: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.key) != len(self.lengths):
            object.__setattr__(self, "key", _keys(self.tokens, self.lengths))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, rows: slice | int | Tensor | list[int]) -> "Rows":
        """Some of the rows, trimmed to the longest of them."""
        if isinstance(rows, int):
            rows = [rows]
        chosen = self._each(lambda x: x[rows.to(x.device) if isinstance(rows, Tensor) else rows])
        longest = int(chosen.lengths.max()) if len(chosen) else 0
        return dataclasses.replace(chosen, tokens=chosen.tokens[:, :longest])

    @property
    def mask(self) -> Tensor:
        """True where a token counts, shape (R, N)."""
        positions = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return positions < self.lengths[:, None]

    @property
    def token_count(self) -> int:
        """Tokens that count, over all rows."""
        return int(self.lengths.sum())

    def to(self, device: torch.device | str, wait: bool = True) -> "Rows":
        """The same rows on another device; without `wait` they may still be on their way there."""
        pinned = not wait and torch.device(device).type == "cuda" and not self.tokens.is_cuda

        def moved(x: Tensor) -> Tensor:
            return x.pin_memory().to(device, non_blocking=True) if pinned else x.to(device)

        return self._each(lambda x: x if x is self.key else moved(x))

    def first(self, tokens: int) -> "Rows":
        """The same rows, of each its first tokens alone, all of them where it has no more.

        What is left of a row keeps the row's key, bytes and columns.
        """
        lengths = self.lengths.clamp(max=tokens)
        return dataclasses.replace(self, tokens=self.tokens[:, : max(tokens, 1)], lengths=lengths)

    def split(self, size: int) -> Iterator["Rows"]:
        """Batches of `size` rows in order, the last one perhaps smaller."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def batch(self, step: int, size: int, seed: int) -> "Rows":
        """The batch of a training step: `size` rows of an endless stream of shuffled epochs.

        It depends on its arguments alone, so a resumed run reads on where it would have read.
        """
        if not len(self):
            raise InputError("there are no rows to train on")
        places = torch.arange(step * size, (step + 1) * size)
        epochs, within = places // len(self), places % len(self)
        chosen = torch.empty(size, dtype=torch.long)
        for epoch in epochs.unique().tolist():
            here = epochs == epoch
            chosen[here] = _order(len(self), seed, epoch)[within[here]]
        return self[chosen]

    @staticmethod
    def end_to_end(parts: "Sequence[Rows]") -> "Rows":
        """Several sets of rows as one, its documents numbered on from set to set.

        Keys are made anew: a row that two sets have is a copy.
        """
        shift, numbers = 0, []
        for part in parts:
            numbers.append(part.document + shift)
            shift += int(part.document.max()) + 1 if len(part) else 0
        return Rows(
            torch.cat([part.tokens for part in parts]),
            torch.cat([part.lengths for part in parts]),
            torch.cat(numbers),
            torch.cat([part.bytes for part in parts]),
            columns={n: torch.cat([p.columns[n] for p in parts]) for n in parts[0].columns},
        )

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Rows":
        """Rows with every tensor that has an entry for each row changed."""
        return Rows(
            change(self.tokens),
            change(self.lengths),
            change(self.document),
            change(self.bytes),
            change(self.key),
            {name: change(column) for name, column in self.columns.items()},
        )


@functools.lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch, a permutation of `size` rows, kept for the epoch's other batches."""
    return torch.randperm(size, generator=seeds.generator(seed, epoch))


def _keys(tokens: Tensor, lengths: Tensor) -> Tensor:
    """A number for each row from its tokens, and from how many rows before it were the same."""
    seen: Counter[bytes] = Counter()
    keys = []
    for row, length in zip(tokens.cpu().numpy(), lengths.tolist(), strict=True):
        content = row[:length].tobytes()
        digest = hashlib.blake2b(content, digest_size=8, salt=seen[content].to_bytes(8)).digest()
        seen[content] += 1
        keys.append(int.from_bytes(digest) >> 1)
    return torch.tensor(keys, dtype=torch.long)


def rows_of_documents(
    documents: list[tuple[list[int], list[int]]],
    length: int,
    packed: bool,
    columns: Mapping[str, Sequence[int]] | None = None,
) -> Rows:
    """Lay documents out in rows of at most `length` tokens.

    Args:
        documents: for each, its token ids and the bytes each token stands for.
        length: tokens in a row.
        packed: if true, documents follow one another in windows of exactly `length` tokens (the
            paper's layout: thoughts belong to a window, which counts as a document). If false, a
            row never crosses the end of a document.
        columns: codes of each document, by name; not for packed rows.
    """
    pieces: list[tuple[list[int], int, int]] = []
    if packed:
        ids = [i for tokens, _ in documents for i in tokens]
        sizes = [b for _, counts in documents for b in counts]
        documents = [
            (ids[i : i + length], sizes[i : i + length]) for i in range(0, len(ids), length)
        ]
    for number, (tokens, sizes) in enumerate(documents):
        for i in range(0, len(tokens), length):
            pieces.append((tokens[i : i + length], number, sum(sizes[i : i + length])))
    rows = torch.zeros(len(pieces), length, dtype=torch.long)
    for row, (tokens, _, _) in zip(rows, pieces, strict=True):
        row[: len(tokens)] = torch.tensor(tokens, dtype=torch.long)
    lengths = torch.tensor([len(tokens) for tokens, _, _ in pieces], dtype=torch.long)
    document = torch.tensor([number for _, number, _ in pieces], dtype=torch.long)
    sizes_ = torch.tensor([size for _, _, size in pieces], dtype=torch.long)
    codes = {
        name: torch.tensor(values, dtype=torch.long)[document]
        for name, values in (columns or {}).items()
    }
    return Rows(rows, lengths, document, sizes_, columns=codes)
