"""The processes that train one model together; no other file knows that there may be several.

A batch is cut between them. Each fits the guides of its own documents, which never travel; once a
slow step its processes add their gradients and count their tokens. Alone, all of it costs nothing.
"""

from collections.abc import Iterable

from torch import nn

from ltm_pyro.data.rows import Rows


class World:
    """One process alone; a subclass for several overrides what differs.

    Attributes:
        size: number of processes.
        rank: this one's number, from 0.
    """

    size: int = 1
    rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    def share(self, batch: Rows) -> Rows:
        """This process's rows of a batch: every `size`-th, from `rank` on."""
        return batch if self.size == 1 else batch[slice(self.rank, None, self.size)]

    def sum(self, value: float) -> float:
        """The sum of a number over all processes."""
        return value

    def gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum each parameter's gradient over all processes, in place."""

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag


ALONE = World()
