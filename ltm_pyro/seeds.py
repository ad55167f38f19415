"""Explicit randomness: every draw follows from a seed and the place it is made at.

Pyro samples from torch's global generators. Here each draw happens inside `seeded` or `Noise`,
which set them for the length of a block and put the caller's state back. Nothing needs to be
carried from one step to the next, so a run that resumes at step k draws what it would have drawn
anyway. What `Noise` draws for a document follows from the document, not from its batch.
"""

import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Stream:
    """What a seed is used for: the first key of `derive`, so that no two uses share their draws.

    Numbers need to differ only within a group. They never change: saved runs depend on them.
    """

    # Weights of a run's model come from its seed itself; beside them:
    SHARED_WEIGHTS = 1
    # `DualRateSVI`, and posteriors under the same seed.
    FIT, DRAW, TRAIN, VALUES, TRUE_VALUES = 0, 1, 2, 3, 4
    DATATREE_PRIOR, DATATREE_TEXT, DATATREE_SITES = 20, 21, 23
    # What reads thoughts that are grown on a decoder.
    GROWN = 22
    # `evaluate`: a task of its own seed, its repetitions, and each estimator of a task.
    TASK, REPETITION, REPEATED_ROWS = 0, 1, 2
    SAME_NOISE, IMPORTANCE, PREDICTIVE, FORWARD, PILOT, REVERSE, PRIOR_SCORE = 2, 3, 4, 5, 6, 7, 10
    CERTIFICATE = 11
    # A certificate: documents that the model writes, and three runs that share no draw.
    WRITTEN, GATE, FIRST, SECOND = 12, 1, 2, 3
    # `generate`.
    PRIOR_THOUGHTS, POSTERIOR_THOUGHTS, TOKENS, REFIT, RETHOUGHT = 0, 1, 2, 5, 6
    # A study of reasoning, which generates: its questions, and each one's demonstrations.
    QUESTIONS, DEMONSTRATIONS = 3, 4
    # Documents that the model writes (sandwich, calibration), and what is done with them.
    DOCUMENTS, FITS, CHAINS, BOUNDS = 0, 1, 2, 3
    TIES, BANDS = 3, 4
    # A report: the documents that it scores, and the rows that it looks at more closely.
    REPORTED, INSPECTED = 0, 1
    # Probes: folds of documents, labels and places by lot, halves of documents, pairs of them; and
    # draws of the prior beside those of a posterior.
    FOLDS, LABELS, PLACES, HALVES, PAIRS = 0, 1, 2, 3, 4
    BESIDE = 24


def derive(seed: int, *keys: int) -> int:
    """A seed of its own for each tuple of non-negative keys, e.g. `derive(seed, step, chunk)`."""
    # With their number, or trailing zeros would make no difference.
    words = np.random.SeedSequence((seed, *keys, len(keys))).generate_state(2, np.uint32)
    return int(words[0]) << 31 ^ int(words[1])


def generator(seed: int, *keys: int) -> torch.Generator:
    """A CPU generator seeded with `derive(seed, *keys)`."""
    return torch.Generator().manual_seed(derive(seed, *keys))


@contextmanager
def seeded(seed: int, *keys: int) -> Iterator[None]:
    """Run a block under `derive(seed, *keys)`, and leave the global generators untouched."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=list(devices)):
        _set(derive(seed, *keys))
        yield


def _set(seed: int) -> None:
    """`torch.manual_seed`, without its visits to devices that are not there."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """A block in which the same draws give the same numbers on a GPU too.

    Some of its kernels add in whatever order they finish; here torch takes those that do not.

    Raises:
        RuntimeError: torch's own, in the block, for an operation that has no such kernel.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for
    details: Any = torch.utils.deterministic
    before = torch.get_deterministic_debug_mode(), details.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    details.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        details.fill_uninitialized_memory = before[1]


class Noise:
    """The draws of a batch of documents: one stream for each, and one step along it a block.

    A document's stream follows from `seed` and its key (`Rows.key`), so what is drawn for it does
    not depend on the batch it is in. Without keys there is one stream for all.

    With `fixed=True` every block sees the same draw. That is the released protocol: the fit
    adapts to that one draw, and the number it ends with is not a bound.
    """

    def __init__(self, seed: int, keys: Tensor | None = None, fixed: bool = False):
        self.seed, self.fixed = seed, fixed
        self.keys = np.array([] if keys is None else keys.tolist(), np.uint64)
        self._blocks = 0

    @contextmanager
    def draw(self, antithetic: bool = False) -> Iterator[None]:
        """A block whose Pyro sites, of batch shape (particles, documents), draw from the streams.

        Where a distribution samples elementwise, as torch's normal, gamma and uniform ones do, what
        is drawn for a document is its own. What is drawn otherwise (by rejection, or of a few
        values by `torch.multinomial`) follows from all documents of the batch together, so other
        batches draw something else. A site outside the plate of documents is the same for all.
        Antithetic particles come in pairs, whose standard normal noise is e and -e (Hammersley &
        Morton 1956); of an odd number one stands alone. What is not normal in their noise is drawn
        for each.
        """
        with self._block() as streams, _AtSites(streams, antithetic):
            yield

    @contextmanager
    def tensors(self, dim: int = 1) -> Iterator[None]:
        """A block for torch's own random functions; documents are dimension `dim` of each."""
        with self._block() as streams:
            streams.dim = dim
            with streams:
                yield

    @contextmanager
    def _block(self) -> Iterator["_Streams"]:
        block = 0 if self.fixed else self._blocks
        self._blocks += 1
        seed = derive(self.seed, block)
        with seeded(seed):
            yield _Streams(_mixed(seed, self.keys), seed)


def _mixed(seed: int, keys: NDArray[np.uint64]) -> list[int]:
    """A seed for each key: `derive` for many at once (the finaliser of splitmix64, Steele 2014)."""
    x = keys + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: list[int] = ((x ^ (x >> np.uint64(31))) >> np.uint64(1)).tolist()
    return mixed


_NOT_ELEMENTWISE = {"multinomial", "randperm"}
_STANDARD_NORMAL = {"normal_", "randn", "randn_like"}
"""Of one argument: with more, `normal_` has a mean or a scale of its own."""


class _Streams(TorchDispatchMode):
    """Lets random operations draw each document's slice from the document's own seed."""

    def __init__(self, seeds: Sequence[int], block: int, dim: int = 1):
        super().__init__()
        self.seeds, self.block, self.dim = seeds, block, dim
        self.calls = self.others = 0  # drawn by document, and of all documents together
        self.pairs = 0  # of the draws that are the first dimension

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        alone = len(self.seeds) == 1  # Pyro leaves out dimensions of plates of one
        apart = alone or any(self._has_documents(argument) for argument in args)
        if name in _NOT_ELEMENTWISE or not apart:
            if self.seeds:
                self.others += 1
                _set(self.together + self.others)
            return func(*args, **kwargs)
        self.calls += 1
        if alone:
            _set(self.seeds[0] + self.calls)
            return self._paired(name, args, func(*args, **kwargs))
        each = [self._sliced(argument) for argument in args]
        parts = []
        for seed, own in zip(self.seeds, zip(*each, strict=True), strict=True):
            _set(seed + self.calls)
            parts.append(func(*own, **kwargs))
        drawn = self._paired(name, args, torch.cat(parts, self.dim))
        return args[0].copy_(drawn) if name.endswith("_") else drawn

    @functools.cached_property
    def together(self) -> int:
        """A seed of all documents together: of what cannot be drawn for each."""
        seeds = np.array(self.seeds, np.uint64).tobytes()
        return int.from_bytes(hashlib.blake2b(seeds, digest_size=7).digest(), "big")

    def draw_for_all(self, site: int) -> None:
        """Begin what documents share, the n-th such site: the same whatever the batch is."""
        if self.calls or self.others:  # which have moved the global generators
            _set(derive(self.block, site))

    def _paired(self, name: str, args: tuple[Any, ...], drawn: Tensor) -> Tensor:
        """A draw whose second half is the first's with the other sign, if it is standard normal."""
        if self.pairs and name in _STANDARD_NORMAL and len(args) == 1:
            drawn[self.pairs : 2 * self.pairs] = -drawn[: self.pairs]
        return drawn

    def _has_documents(self, argument: Any) -> bool:
        shape = argument.shape if isinstance(argument, Tensor) else argument
        if not isinstance(shape, list | tuple | torch.Size) or len(shape) <= self.dim:
            return False
        return len(self.seeds) > 0 and bool(shape[self.dim] == len(self.seeds))

    def _sliced(self, argument: Any) -> Sequence[Any]:
        """An argument as each document has it."""
        if not self._has_documents(argument):
            return [argument] * len(self.seeds)
        if isinstance(argument, Tensor):
            # The order in which a tensor is filled depends on its strides.
            return [part.contiguous() for part in argument.split(1, self.dim)]
        return [[1 if i == self.dim else n for i, n in enumerate(argument)]] * len(self.seeds)


class _AtSites(Messenger):
    """Samples latent sites within streams; the rest of the program runs as it would."""

    def __init__(self, streams: _Streams, antithetic: bool = False):
        super().__init__()
        self.streams, self.antithetic, self.shared = streams, antithetic, 0

    def _pyro_sample(self, msg: Any) -> None:
        if msg["done"] or msg["is_observed"] or msg["value"] is not None:
            return
        if type(msg["fn"]).__name__ == "_Subsample":
            return
        if not any(frame.name == "documents" for frame in msg["cond_indep_stack"]):
            self.shared += 1
            return self.streams.draw_for_all(self.shared)
        if self.antithetic:
            sizes = [f.size for f in msg["cond_indep_stack"] if f.name == "particles"]
            self.streams.pairs = sizes[0] // 2 if sizes else 0
        with self.streams:
            msg["value"] = msg["fn"](*msg["args"], **msg["kwargs"])
