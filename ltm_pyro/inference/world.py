"""What training asks of the processes that it runs on; here one, alone, which costs nothing.

`processes.py` has the several.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ltm_pyro.data.rows import Rows

Seen = Mapping[str, Tensor]
"""Numbers of documents, by name, each of shape (documents,)."""


class World:
    """One process alone; `Processes` are several.

    Attributes:
        size: number of processes.
        rank: this one's number, from 0.
        restarted: whether it was started again after a failure.
    """

    size: int = 1
    rank: int = 0
    restarted: bool = False

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    def check_batch(self, size: int) -> None:
        """Raises InputError if a batch of so many rows has none for one of the processes."""

    def share(self, batch: Rows, owned: bool = False) -> Rows:
        """This process's rows of a batch; what is such a part already stays what it is.

        Args:
            batch: the same rows in every process.
            owned: whether a document is to be the same process's whenever it comes, by its key, so
                that what is remembered of it is there. Parts are then of various sizes, some empty.
        """
        return batch

    def tokens(self, batch: Rows) -> int:
        """Tokens of the whole batch that this is a part of."""
        return batch.token_count

    def lengths(self, batch: Rows) -> Tensor:
        """Tokens of each row of the whole batch."""
        return batch.lengths

    def like(self, batch: Rows) -> Rows:
        """The batch or, where this process has no rows of it, one of another's, to be traced on."""
        return batch

    def gradients(
        self,
        parameters: Iterable[nn.Parameter],
        seen: Seen,
        batch: Rows,
        apart: Container[nn.Parameter] = (),
    ) -> Seen:
        """Sum each parameter's gradient over all processes, in place.

        What was `seen` of the rows of this process comes back of all rows of the batch, in order.
        Parameters that stand `apart` are not summed; where any process has a gradient of one, all
        have, if need be of zeros.
        """
        return seen

    def scatter(self, numbers: Tensor) -> Tensor:
        """This process's part of the sum of vectors, one of each process."""
        return numbers

    def assemble(self, part: Tensor, size: int) -> Tensor:
        """The vector of this size whose parts the processes have."""
        return part

    def total(self, number: Tensor) -> Tensor:
        """The sum of a number of each process."""
        return number

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process, as far as the last `gradients` told."""
        return flag

    def begin(self) -> None:
        """Forget who asked for the end of another training."""

    def keep(self, name: str, text: str) -> None:
        """Keep a text for as long as torchrun lives, which may start its processes again."""

    def kept(self, name: str) -> str:
        """The text that was kept last under a name; none if it is empty."""
        return ""

    def take(self, count: int) -> Iterator[int]:
        """Numbers below `count`, each of which is given to one process, whichever is free first.

        All processes ask for the same counts in the same order.
        """
        yield from range(count)

    def wait(self, long: bool = False) -> None:
        """Wait until every process is here, which may take `long`, hours or days."""

    def gather(self, value: Any) -> list[Any]:
        """A value of every process, in every process; sent as a pickle."""
        return [value]

    def collect(self, value: Any) -> list[Any]:
        """A value of every process in the first one, which alone is given more than its own."""
        return [value]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """A block that the first process is through before the others enter it."""
        yield

    def device(self, name: str) -> str:
        """The device of this process, where all were asked to compute on one of this name."""
        return name


ALONE = World()
