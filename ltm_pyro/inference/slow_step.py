"""The slow step: gradients of all processes are summed, clipped, and a step taken along them."""

from typing import Any

from torch import nn

from ltm_pyro.config import Slow
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.inference.optimizer_state import check_optimizer_state
from ltm_pyro.inference.optimizers import slow_optimizer, take_step
from ltm_pyro.inference.schedule import slow_rate
from ltm_pyro.inference.shards import Shards
from ltm_pyro.inference.world import Seen, World


class SlowStep:
    """What moves the global parameters: those of the model, and what guides share.

    Args:
        model: the model.
        shared: what guides share, if they do.
        slow: how it is done.
        world: the processes that do it together.

    Attributes:
        optimizer: of the parameters, or of this process's parts of them.
        shards: those parts, where it is `slow.sharded`.
    """

    def __init__(self, model: nn.Module, shared: nn.Module | None, slow: Slow, world: World):
        self.slow, self.world = slow, world
        self.parameters = [*model.parameters(), *(() if shared is None else shared.parameters())]
        parts = slow.sharded and world.size > 1
        self.shards = Shards(self.parameters, world) if parts else None
        self.optimizer = slow_optimizer(model, shared, slow, self.shards)
        self._whole: dict[str, Any] | None = None

    def forget(self) -> None:
        """Let go of all gradients."""
        for parameter in self.parameters:
            parameter.grad = self.held(parameter).grad = None

    def set_rates(self, done: int, total: int | None) -> None:
        """Of an iteration, by the schedule."""
        for group in self.optimizer.param_groups:
            group["lr"] = slow_rate(self.slow, done, total, group.get("base"))

    def take(self, own: Seen, batch: Rows) -> tuple[Seen, float]:
        """Step along the gradients that are there.

        Returns what all processes have seen, and the norm of the gradient before it was clipped.
        """
        shards, self._whole = self.shards, None
        apart = () if shards is None else (shards.own,)
        seen = self.world.gradients(self.parameters, own, batch, *apart)
        if shards is None:
            norm = nn.utils.clip_grad_norm_(self.parameters, self.slow.clip)
        else:
            shards.reduce()
            norm = shards.clip(self.parameters, self.slow.clip)
        take_step(self.optimizer, self.slow.optimizer)
        if shards is not None:
            shards.spread()
        return seen, float(norm)

    def held(self, parameter: nn.Parameter) -> nn.Parameter:
        """What the optimizer has of a parameter: itself, or this process's part of it."""
        return parameter if self.shards is None else self.shards.of(parameter)

    def gather(self) -> None:
        """Let `state_dict` of the first process be whole, where each has a part: called by all."""
        if self.shards is not None:
            self._whole = self.shards.whole_state(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state; where each process has a part, the first alone has all of it.

        Raises:
            InputError: if the others have not sent theirs since the last step.
        """
        if self.shards is None:
            return self.optimizer.state_dict()
        whole, self._whole = self._whole, None
        if whole is None:
            raise InputError(
                "each process has a part of the optimizer's state: call svi.slowly.gather() in "
                "every process, then svi.state_dict() in the first"
            )
        return whole

    def load_state_dict(self, state: Any) -> None:
        """Go on from there.

        Raises:
            InputError: for the state of another optimizer, or of other parameters.
        """
        self._whole = None
        if self.shards is not None:
            state = self.shards.own_state(self.optimizer, state)
        check_optimizer_state(self.optimizer, state)
        self.optimizer.load_state_dict(state)
