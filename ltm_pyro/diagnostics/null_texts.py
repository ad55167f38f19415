"""Texts that a model writes, of as many tokens as some documents."""

import zlib

import torch
from torch import Tensor

from ltm_pyro.data.rows import Rows
from ltm_pyro.models import TextModel
from ltm_pyro.programs.densities import simulate
from ltm_pyro.seeds import Stream, derive

TRIES = 20
"""Texts that a model writes, for each that is wanted, to find some that are long enough."""


def scored_part(rows: Rows, end: int | None, multiple: int) -> Rows:
    """What is scored of rows: no end of text, lengths that others share, and nothing empty."""
    last = rows.tokens.gather(1, (rows.lengths - 1).clamp(min=0)[:, None])[:, 0]
    lengths = rows.lengths - (last == end).long() if end is not None else rows.lengths
    first = torch.ones_like(lengths, dtype=torch.bool)
    first[1:] = rows.document[1:] != rows.document[:-1]
    even = lengths - lengths % multiple
    whole = (lengths == int(rows.lengths.max())) | (first & (even == 0))
    lengths = torch.where(whole, lengths, even)
    there = (lengths > 0).nonzero()[:, 0]
    kept = Rows(rows.tokens, lengths, rows.document, rows.bytes, columns=rows.columns)
    return kept[there]


def by_kind(rows: Rows) -> dict[str, Tensor]:
    """Places of rows with as many tokens and the same columns, the shortest first."""
    columns = [column.flatten().tolist() for _, column in sorted(rows.columns.items())]
    found: dict[tuple[int, str], list[int]] = {}
    for place, length in enumerate(rows.lengths.tolist()):
        told = repr([column[place] for column in columns]).encode() if columns else b""
        name = f"{length}-tokens" + (f"-{zlib.crc32(told):08x}" if columns else "")
        found.setdefault((length, name), []).append(place)
    return {name: torch.tensor(places) for (_, name), places in sorted(found.items())}


def written_texts(
    model: TextModel, like: Rows, number: int, end: int | None, seed: int, chunk: int
) -> tuple[Rows | None, int]:
    """Texts that a model writes that go on for as many tokens as `like` has, with its columns.

    Returns as many as are wanted, fewer or none where too few of `TRIES` times as many are that
    long; and how many were written.
    """
    length = int(like.lengths[0])
    place = zlib.crc32(repr({name: c[0].tolist() for name, c in like.columns.items()}).encode())
    lengths = torch.full((chunk,), length, device=like.lengths.device)
    columns = {name: c[:1].expand(chunk, *c.shape[1:]) for name, c in like.columns.items()}
    found: list[Rows] = []
    tried = there = 0
    while there < number and tried < TRIES * number:
        source = derive(seed, Stream.DOCUMENTS, length, place, tried)
        texts, _ = simulate(model, lengths, source, columns)
        on = torch.ones(chunk, dtype=torch.bool, device=lengths.device)
        if end is not None:
            on = ~(texts.tokens == end).any(1)
        found.append(texts[on.nonzero()[:, 0]])
        tried, there = tried + chunk, there + int(on.sum())
    some = [one for one in found if len(one)]
    return (Rows.end_to_end(some)[:number] if some else None), tried


def most_in_one(document: Tensor) -> int:
    """The most rows of one document."""
    return int(document.unique(return_counts=True)[1].max())
