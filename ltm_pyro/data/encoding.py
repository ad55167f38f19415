"""Texts to token ids, a batch after the other, in this process or in several."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ltm_pyro.data.tokenizer import Encoded, Tokenizer
from ltm_pyro.errors import Lost

AHEAD = 3
"""Batches that wait for each process."""
Item = TypeVar("Item")


class Ids(NamedTuple):
    """The token ids of several texts, laid end to end.

    Attributes:
        ids: of all texts, with their ends.
        sizes: the bytes of text that each stands for.
        ends: where each text's ids end.
        lost: how those texts begin that cannot be read back from their ids.
    """

    ids: NDArray[np.uint32]
    sizes: NDArray[np.uint32]
    ends: NDArray[np.int64]
    lost: list[str]

    def each(self) -> Iterator[Encoded]:
        """The ids of each text, and their sizes."""
        start = 0
        for end in self.ends.tolist():
            yield self.ids[start:end].astype(np.int64), self.sizes[start:end].astype(np.int64)
            start = end


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Ids:
    """The ids of some texts."""
    lost = []
    if not tokenizer.is_lossless:
        back = tokenizer.comes_back(texts)
        lost = [text[:60] for text, whole in zip(texts, back, strict=True) if not whole]
    found = tokenizer.encode_arrays(texts)
    return Ids(
        np.concatenate([ids for ids, _ in found]).astype(np.uint32),
        np.concatenate([sizes for _, sizes in found]).astype(np.uint32),
        np.cumsum([len(ids) for ids, _ in found]),
        lost,
    )


def encode_all(
    tokenizer: Tokenizer, batches: Iterable[tuple[Item, Sequence[str]]], processes: int = 1
) -> Iterator[tuple[Item, Ids]]:
    """The ids of every batch of texts, in order; what stands beside a batch comes back with it.

    The ids do not depend on the number of processes. No more batches are read than wait for them.

    Raises:
        Lost: if one of the processes has ended.
    """
    if processes == 1:
        for beside, texts in batches:
            yield beside, encode(tokenizer, texts)
        return
    # Another process starts anew: one that is forked from threads of a library may hang.
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _begin, (tokenizer.inner.to_str(),)
    )
    try:
        waiting: deque[tuple[Item, Future[Ids]]] = deque()
        for beside, texts in batches:
            with _deaf():  # processes that begin here are, too: the first one ends them all
                waiting.append((beside, pool.submit(_encode, texts)))
            if len(waiting) >= AHEAD * processes:
                first, ids = waiting.popleft()
                yield first, ids.result()
        for first, ids in waiting:
            yield first, ids.result()
    except BrokenProcessPool:
        raise Lost(
            "a process that encodes text has ended, of a lack of memory, say, or because it was "
            "killed; the same command goes on where it stopped"
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin(tokenizer: str) -> None:
    """Make a process ready, which uses one core alone."""
    import tokenizers

    global _tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(tokenizer))


def _end_with_parent() -> None:
    """End where the process that began this one is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _deaf() -> Iterator[None]:
    """A block in which Ctrl-C waits."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _encode(texts: Sequence[str]) -> Ids:
    return encode(_tokenizer, texts)


_tokenizer: Tokenizer
