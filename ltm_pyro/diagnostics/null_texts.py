"""Texts that a model writes, that end where some documents end, or go on as they do."""

import zlib

import torch
from torch import Tensor

from ltm_pyro.data.rows import Rows
from ltm_pyro.models import TextModel
from ltm_pyro.programs.densities import simulate
from ltm_pyro.seeds import Stream, derive

TRIES = 20
"""Texts that a model writes, for each that is wanted, to find some that end where they should."""


def scored_part(
    rows: Rows, end: int | None, multiple: int, longest: int | None = None
) -> tuple[Rows, Tensor]:
    """What is scored of rows: no end of text, lengths that others share, and nothing empty.

    Beside it stands `before`, shape (rows,): a row of m tokens is of a text that has its end of
    text at place m or later, and before this one; 0 where the text goes on. A row of the model has
    at most `longest` tokens, the end counted.
    """
    last = rows.tokens.gather(1, (rows.lengths - 1).clamp(min=0)[:, None])[:, 0]
    ended = torch.zeros_like(last, dtype=torch.bool) if end is None else last == end
    most = rows.lengths == rows.lengths.max()
    lengths = rows.lengths - ended.long()
    first = torch.ones_like(ended)
    first[1:] = rows.document[1:] != rows.document[:-1]
    even = lengths - lengths % multiple
    # A row without its end is whole: that its text goes on is known of all of its tokens.
    whole = (most if end is None else ~ended) | (first & (even == 0))
    before = torch.where(whole, lengths + 1, even + multiple)
    room = int(rows.lengths.max())
    if not bool((most & ~ended).any()):  # no row was cut, so that there may be room for more
        room = max(room, longest or room + multiple)
    before = torch.where(ended, before.clamp(max=room), 0)
    lengths = torch.where(whole, lengths, even)
    there = (lengths > 0).nonzero()[:, 0]
    kept = Rows(rows.tokens, lengths, rows.document, rows.bytes, columns=rows.columns)
    return kept[there], before[there]


def by_kind(rows: Rows, before: Tensor) -> dict[str, Tensor]:
    """Places of rows with as many tokens, of texts that end alike, with the same columns.

    The shortest come first.
    """
    columns = [column.flatten().tolist() for _, column in sorted(rows.columns.items())]
    found: dict[tuple[int, str], list[int]] = {}
    for place, (length, end) in enumerate(zip(rows.lengths.tolist(), before.tolist(), strict=True)):
        told = repr([column[place] for column in columns]).encode() if columns else b""
        name = f"{length}-tokens" + (f"-end-before-{end}" if end else "")
        name += f"-{zlib.crc32(told):08x}" if columns else ""
        found.setdefault((length, name), []).append(place)
    return {name: torch.tensor(places) for (_, name), places in sorted(found.items())}


def written_texts(
    model: TextModel, like: Rows, before: int, number: int, end: int | None, seed: int, chunk: int
) -> tuple[Rows | None, int]:
    """The first m tokens of texts that a model writes, m those of `like`, with its columns.

    The texts have their end at place m or later and before `before`; where that is 0, not among
    their first m tokens. Returns as many as are wanted, fewer or none where too few of `TRIES`
    times as many do so; and how many were written.
    """
    length = int(like.lengths[0])
    written, ends_at = before or length, [before] if before else []
    place = zlib.crc32(repr({name: c[0].tolist() for name, c in like.columns.items()}).encode())
    lengths = torch.full((chunk,), written, device=like.lengths.device)
    columns = {name: c[:1].expand(chunk, *c.shape[1:]) for name, c in like.columns.items()}
    found: list[Rows] = []
    tried = there = 0
    while there < number and tried < TRIES * number:
        source = derive(seed, Stream.DOCUMENTS, length, place, tried, *ends_at)
        texts, _ = simulate(model, lengths, source, columns)
        on = torch.ones(chunk, dtype=torch.bool, device=lengths.device)
        if end is not None:
            ends = texts.tokens == end
            on = ~ends[:, :length].any(1)
            if before:
                on &= ends.any(1)
        found.append(texts.first(length)[on.nonzero()[:, 0]])
        tried, there = tried + chunk, there + int(on.sum())
    some = [one for one in found if len(one)]
    return (Rows.end_to_end(some)[:number] if some else None), tried


def most_in_one(document: Tensor) -> int:
    """The most rows of one document."""
    return int(document.unique(return_counts=True)[1].max())
