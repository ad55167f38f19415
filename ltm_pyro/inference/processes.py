"""The processes that train one model together: all that they send one another is sent here.

Every process has the whole model and is given the same batches, of which it takes its part: it
fits the guides of its own documents, and nothing of those ever travels. Once a slow step all add up
their gradients, in one flat array, and take the same step of the same weights; or each takes that
of its own part of them (`shards.py`). So nothing else has to be kept equal: no wrapper of the
model, no hook in its backward pass.
"""

import functools
import time
import weakref
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError, first_line
from ltm_pyro.inference.collectives import GATHER, SCATTER, filled, together
from ltm_pyro.inference.part import Part, check_marks, mark_of, part_of
from ltm_pyro.inference.started import started, whole_number
from ltm_pyro.inference.world import ALONE, Seen, World

WAIT = timedelta(hours=2)
"""So long processes wait for one that reads its text, or saves."""
POLL = 0.5
"""Seconds between looks whether the others are here."""


class Processes(World):
    """Several processes, started by torchrun or by what sets the same variables.

    They meet through torch.distributed: gloo for what lies on the CPU, NCCL for GPUs. A process
    whose others have gone ends with `Lost`.

    Raises:
        InputError: if they do not meet.
    """

    def __init__(self) -> None:
        self.rank, self.size = whole_number("RANK", 0), whole_number("WORLD_SIZE", 1)
        attempt = whole_number("TORCHELASTIC_RESTART_COUNT", 0)
        self.restarted = attempt > 0
        self._asked = self._told = False
        self._counters = 0
        self._models: list[weakref.ref[nn.Parameter]] = []
        both = torch.cuda.is_available() and dist.is_nccl_available()
        try:
            store, _, _ = next(dist.rendezvous("env://", self.rank, self.size, timeout=WAIT))
            # torchrun's store outlives its processes, and so does what they wrote there.
            self._kept = dist.PrefixStore("kept", _innermost(store))
            self._store = dist.PrefixStore(f"attempt {attempt}", store)
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if both else "gloo",
                store=self._store, rank=self.rank, world_size=self.size, timeout=WAIT,
            )  # fmt: skip
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"WORLD_SIZE is {self.size}, and the processes do not meet ({first_line(error)}): "
                "start them with torchrun, or unset WORLD_SIZE to compute in one"
            ) from None

    def check_batch(self, size: int) -> None:
        """Raises InputError for fewer rows than processes."""
        if size < self.size:
            raise InputError(
                f"a batch of {size} has no document for each of {self.size} processes: give a "
                "larger batch, or fewer processes"
            )

    def share(self, batch: Rows, owned: bool = False) -> Rows:
        """Neighbouring rows, as many for each process; or those whose documents are its own."""
        if isinstance(batch, Part):
            return batch
        self.check_batch(len(batch))
        places = torch.arange(len(batch))
        if owned:
            return Part.of(batch, places[batch.key % self.size == self.rank])
        return Part.of(batch, places.tensor_split(self.size)[self.rank])

    def tokens(self, batch: Rows) -> int:
        """As every process counts them by itself: all know the whole batch."""
        return int(self.lengths(batch).sum())

    def lengths(self, batch: Rows) -> Tensor:
        """Tokens of each row of the whole batch."""
        return part_of(batch).all_lengths

    def like(self, batch: Rows) -> Rows:
        """The batch, or another's row."""
        return batch if len(batch) else part_of(batch).like or batch

    def gradients(
        self,
        parameters: Iterable[nn.Parameter],
        seen: Seen,
        batch: Rows,
        apart: Container[nn.Parameter] = (),
    ) -> Seen:
        """One collective: gradients, which are there at all, what was seen, and who is to stop."""
        trained = [p for p in parameters if p.requires_grad]
        summed = [p for p in trained if p not in apart]
        part, names = part_of(batch), sorted(seen)
        there = torch.tensor([float(p.grad is not None) for p in trained])
        numbers = torch.zeros(len(names), len(part.all_lengths))
        for row, name in zip(numbers, names, strict=True):
            row[part.places] = seen[name].detach().float().cpu()
        marks, asked = torch.zeros(self.size), torch.tensor([float(self._asked)])
        marks[self.rank] = mark_of(part, trained, self._models)
        beside = torch.cat([there, numbers.flatten(), marks, asked])
        kind = functools.reduce(torch.promote_types, {p.dtype for p in trained}, torch.float32)
        flat = torch.cat(
            [
                *((torch.zeros_like(p) if p.grad is None else p.grad).flatten().to(kind)
                  for p in summed),
                beside.to(trained[0].device, kind),
            ]
        )  # fmt: skip
        with together():
            dist.all_reduce(flat)
        *sums, beside = flat.split([*(p.numel() for p in summed), len(beside)])
        there, found, marks, stop = beside.cpu().split([len(there), numbers.numel(), self.size, 1])
        check_marks(marks)
        totals = iter(sums)
        for p, count in zip(trained, there.tolist(), strict=True):
            own = p.grad if p in apart else next(totals).view_as(p).to(p.dtype)
            p.grad = None if not count else torch.zeros_like(p) if own is None else own
        self._told = bool(stop > 0)
        return dict(zip(names, found.view_as(numbers).to(torch.float32), strict=True))

    def scatter(self, numbers: Tensor) -> Tensor:
        """One collective; parts are as long as one another, the last filled up."""
        each = -(-len(numbers) // self.size)
        found, given = numbers.new_empty(each), filled(numbers, each * self.size)
        with together():
            SCATTER(found, given)
        return found

    def assemble(self, part: Tensor, size: int) -> Tensor:
        """One collective."""
        each = -(-size // self.size)
        found, given = part.new_empty(each * self.size), filled(part, each)
        with together():
            GATHER(found, given)
        return found[:size]

    def total(self, number: Tensor) -> Tensor:
        """One collective, of a copy."""
        found = number.clone()
        with together():
            dist.all_reduce(found)
        return found

    def any(self, flag: bool) -> bool:
        """It travels with the next gradients, so that all stop after the same iteration."""
        self._asked |= flag
        return self._told

    def begin(self) -> None:
        """Whoever asked for the end of another training is forgotten."""
        self._asked = self._told = False

    def keep(self, name: str, text: str) -> None:
        """Keep a text in the store."""
        with together():
            self._kept.set(name, text)

    def kept(self, name: str) -> str:
        """The text of the store."""
        with together():
            return self._kept.get(name).decode() if self._kept.check([name]) else ""

    def take(self, count: int) -> Iterator[int]:
        """By a counter in the store."""
        self._counters += 1
        name = f"taken {self._counters}"
        while True:
            with together():
                number = self._store.add(name, 1) - 1
            if number >= count:
                return
            yield number

    def wait(self, long: bool = False) -> None:
        """Wait until every process is here; for long by looking into the store."""
        if long:
            self._counters += 1
            name = f"here {self._counters}"
            with together():
                here = self._store.add(name, 1)
            while here < self.size:
                time.sleep(POLL)
                with together():
                    here = self._store.add(name, 0)
        with together():
            dist.barrier()

    def gather(self, value: Any) -> list[Any]:
        """A value of every process, in every process."""
        found: list[Any] = [None] * self.size
        with together():
            dist.all_gather_object(found, value)
        return found

    def collect(self, value: Any) -> list[Any]:
        """A value of every process in the first one."""
        found: list[Any] | None = [None] * self.size if self.first else None
        with together():
            dist.gather_object(value, found)
        return [value] if found is None else found

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process, then the others: a text is read once, and found in the cache."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def device(self, name: str) -> str:
        """Of GPUs each process of a machine has its own, by `LOCAL_RANK`."""
        if name.startswith("cuda:"):
            raise InputError(
                f"device {name} is one for {self.size} processes: say cuda, and each takes its own"
            )
        if name == "cuda" and torch.cuda.is_available():
            own = whole_number("LOCAL_RANK", self.rank)
            if own >= torch.cuda.device_count():
                raise InputError(
                    f"process {own} of this machine has no GPU, there are "
                    f"{torch.cuda.device_count()}: start as many processes as GPUs"
                )
            torch.cuda.set_device(own)
            return f"cuda:{own}"
        return name

    def claims(self) -> bool:
        """Whether this process is the first that says why all of them end."""
        try:
            return self._store.add("ended", 1) == 1
        except RuntimeError:  # whoever held the store is gone, and may have said nothing
            return True


def here() -> World:
    """The processes that this one works with: all that were started, unless it is `by_itself`.

    `ALONE` where `WORLD_SIZE` names no more than one.
    """
    return ALONE if _apart else _all()


@functools.cache
def _all() -> World:
    return Processes() if started()[1] > 1 else ALONE


@contextmanager
def by_itself() -> Iterator[None]:
    """A block in which this process works by itself: it has taken something that is its own."""
    global _apart
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


_apart = False


def has_last_word() -> bool:
    """Whether this process is to say why it ends: of several the first that knows does."""
    try:
        rank, size = started()
    except InputError:  # which is what it is to say
        return True
    if size > 1 and dist.is_initialized():
        world = _all()
        assert isinstance(world, Processes)
        return world.claims()
    return rank == 0


def _innermost(store: dist.Store) -> dist.Store:
    """A store without the prefixes by which torch keeps attempts apart."""
    while isinstance(store, dist.PrefixStore):
        store = store.underlying_store
    return store
