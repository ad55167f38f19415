"""How much of this machine's arithmetic is used, and where the rest of the time goes.

The peak is that of the best large matrix product, measured here in the same precision; operations
are those of matrix products (`torch.utils.flop_counter`), attention's not among them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.shapes import Shape
from ltm_pyro.experiments.base import DEVICE, seconds
from ltm_pyro.inference import DualRateSVI

KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "attention": ("aten::_scaled_dot_product", "aten::_flash", "aten::_efficient"),
    "exponentials": ("aten::exp_", "aten::exp2", "aten::log", "aten::_softmax"),
    "AdamW": ("aten::_fused_adam",),
    "moving memory": ("aten::copy_", "aten::fill_", "aten::zero_", "aten::cat", "aten::index"),
}
"""What operations are, by how their names begin."""


def utilisation(shape: Shape, size: int = 2048) -> dict[str, Any]:
    """The share of the peak, of fast and slow steps in fp32 and bf16, and a profile of each.

    The peak is that of products of `size` x `size` matrices.
    """
    found: dict[str, Any] = {"peak": {}}
    for precision in ("fp32", "bf16"):
        found["peak"][precision] = peak = matrix_peak(precision, size)
        fast, slow = step_costs(shape, precision)
        for name, (flops, spent) in {"fast": fast, "slow": slow}.items():
            share = flops / spent / peak
            found[f"{name} {precision}"] = {"flops": flops, "seconds": spent, "share": share}
    found["median"] = found["fast fp32"]["share"]
    found["profile"] = {"fast": shares(shape, steps=4), "slow": shares(shape, steps=0)}
    return found


def matrix_peak(precision: str, size: int) -> float:
    """FLOP/s of the fastest of some products of two square matrices."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=DEVICE, dtype=kind) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(4))


def step_costs(shape: Shape, precision: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Operations and seconds of a fast step, and of a slow step: from iterations of 1 and 4."""
    rows = shape.rows().to(DEVICE)
    flops, times = [], []
    for steps in (1, 4):
        svi = _ours(shape, steps, precision)
        svi.step(rows)
        flops.append(count(lambda svi=svi: svi.step(rows)))
        times.append(min(seconds(lambda svi=svi: svi.step(rows)) for _ in range(2)))
    fast = (flops[1] - flops[0]) / 3, (times[1] - times[0]) / 3
    return fast, (flops[0] - fast[0], times[0] - fast[1])


def count(run: Callable[[], Any]) -> float:
    """Operations: two for each multiplication and addition of a matrix product."""
    counter = _Products()
    with counter:
        run()
    return float(counter.operations)


class _Products(TorchDispatchMode):
    """Counts matrix products as they run; torch's counter cannot follow `autograd.grad`."""

    BEFORE = {"mm": 0, "bmm": 0, "addmm": 1, "addmm_": 1, "baddbmm": 1}  # noqa: RUF012
    """Arguments before the two matrices."""

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__
        if name in self.BEFORE:
            a, b = args[self.BEFORE[name] : self.BEFORE[name] + 2]
            self.operations += 2 * a.numel() * b.shape[-1]
        return func(*args, **(kwargs or {}))


def shares(shape: Shape, steps: int) -> dict[str, float]:
    """Where the time of torch's operations goes, in an iteration of so many fast steps."""
    rows, svi = shape.rows().to(DEVICE), _ours(shape, steps, "fp32")
    svi.step(rows)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if DEVICE == "cuda" else [])]
    with profile(activities=activities) as seen:
        svi.step(rows)
    times = dict.fromkeys([*KINDS, "all else"], 0.0)
    for event in seen.key_averages():
        if event.device_type != DeviceType.CPU:  # a kernel, counted with the operation it serves
            continue
        spent = event.self_device_time_total if DEVICE == "cuda" else event.self_cpu_time_total
        kind = next((k for k, begins in KINDS.items() if event.key.startswith(begins)), None)
        times[kind or "all else"] += spent
    whole = sum(times.values())
    return {kind: spent / whole for kind, spent in times.items()}


def _ours(shape: Shape, steps: int, precision: str) -> DualRateSVI:
    fast = dataclasses.replace(shape.fast, steps=steps, precision=precision)
    return shape.ours(fast, dataclasses.replace(shape.config.slow, precision=precision))
