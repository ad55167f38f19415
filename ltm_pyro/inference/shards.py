"""Weights whose slow step is shared out: each process takes it for its own part of every matrix.

The fast loop reads all weights again and again, so every process has them whole. What the slow step
holds beside them, sums of gradients and the optimizer's moments, is needed where the step is taken
and nowhere else. So a process keeps it for its part alone, and is sent the others' weights after
the step, once an iteration (the second stage of Rajbhandari et al. 2020, which FSDP is without
resharding after the forward pass). Vectors are small, and stay every process's.

Nothing hooks into the backward pass, which for a Pyro program begins at its trace, not at what its
`forward` returns.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ltm_pyro.inference.world import World


class Shards:
    """This process's part of each matrix: a piece of its elements, in their order.

    Args:
        parameters: all that the slow step trains.
        world: the processes.

    Attributes:
        own: the part of each matrix, a parameter for the optimizer, in the matrix's own memory.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], world: World):
        self.world = world
        matrices = [
            p for p in parameters if p.requires_grad and p.dim() > 1 and p.is_contiguous()
        ]  # one whose memory has another order has no part of its own there
        self.own = {p: nn.Parameter(self._part(p.data)) for p in matrices}

    def _part(self, whole: Tensor) -> Tensor:
        each = -(-whole.numel() // self.world.size)
        return whole.view(-1)[self.world.rank * each : (self.world.rank + 1) * each]

    def of(self, parameter: nn.Parameter) -> nn.Parameter:
        """What the optimizer has of a parameter: this process's part, or the whole of a vector."""
        return self.own.get(parameter, parameter)

    def groups(self, groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Groups of parameters for the optimizer, with parts in place of matrices."""
        return [{**group, "params": [self.of(p) for p in group["params"]]} for group in groups]

    def reduce(self) -> None:
        """Sum each matrix's gradient over all processes into this one's part."""
        for matrix, own in self.own.items():
            gradient, matrix.grad, own.grad = matrix.grad, None, None
            own.data = self._part(matrix.data)  # which may have been moved since
            if gradient is not None:
                own.grad = self.world.scatter(gradient.reshape(-1))[: own.numel()]

    def clip(self, parameters: Iterable[nn.Parameter], longest: float) -> Tensor:
        """Shorten the gradient, of all parts together, to a norm; returns what it was."""
        parts = [own for own in self.own.values() if own.grad is not None]
        vectors = [p for p in parameters if p not in self.own and p.grad is not None]
        found = [self.world.total(one) for one in _squares(parts)] + _squares(vectors)
        norm = torch.stack(found).sum().sqrt()
        nn.utils.clip_grads_with_norm_([*parts, *vectors], longest, norm)
        return norm

    @torch.no_grad()
    def spread(self) -> None:
        """Send every process the parts that have been stepped."""
        for matrix, own in self.own.items():
            if own.grad is not None:
                whole = self.world.assemble(own.data, matrix.numel())
                matrix.data.view(-1).copy_(whole)

    def whole_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
        """The optimizer's state as one process alone would have it; all are to ask for it.

        The first process alone is given it, in the CPU's memory; the others see one matrix at a
        time.
        """
        state, matrices = optimizer.state_dict(), dict(self._places(optimizer))
        whole: dict[int, dict[str, Any]] = {}
        for place, held in state["state"].items():
            matrix, found = matrices.get(place), dict[str, Any]()
            for name, value in held.items():
                if matrix is not None and isinstance(value, Tensor) and value.dim() == 1:
                    value = self.world.assemble(value, matrix.numel()).view(matrix.shape)
                if self.world.first:
                    found[name] = value.cpu().clone() if isinstance(value, Tensor) else value
                del value
            whole[place] = found
        return {**state, "state": whole} if self.world.first else None

    def own_state(self, optimizer: torch.optim.Optimizer, state: Any) -> Any:
        """This process's part of such a state; what has not the shape of one is left as it is."""
        held = state.get("state") if isinstance(state, Mapping) else None
        if not isinstance(held, Mapping):
            return state
        found = dict(held)
        for place, matrix in self._places(optimizer):
            if isinstance(held.get(place), Mapping):
                found[place] = {
                    name: self._part(value.reshape(-1)).clone()
                    if isinstance(value, Tensor) and value.shape == matrix.shape else value
                    for name, value in held[place].items()
                }  # fmt: skip
        return {**state, "state": found}

    def _places(self, optimizer: torch.optim.Optimizer) -> list[tuple[int, nn.Parameter]]:
        """The number that each matrix has in the optimizer's state."""
        known = {own: matrix for matrix, own in self.own.items()}
        held = [p for group in optimizer.param_groups for p in group["params"]]
        return [(place, known[own]) for place, own in enumerate(held) if own in known]


def _squares(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The sum of their gradients' squares; nothing of no parameters."""
    found = [p.grad.square().sum() for p in parameters if p.grad is not None]
    return [torch.stack(found).sum()] if found else []
