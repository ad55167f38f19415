"""How the decoder computes: in lower precision, compiled, or with less memory."""

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ltm_pyro.errors import InputError
from ltm_pyro.models.decoders.attention import window_attention


class Computing(Protocol):
    """What is asked for: `Fast` and `Slow` are such."""

    @property
    def precision(self) -> str:
        """Either "fp32" or "bf16"."""

    @property
    def compile(self) -> bool:
        """Whether layers are compiled."""

    @property
    def recompute(self) -> bool:
        """Whether the backward pass runs them again."""


@contextmanager
def computing(how: Computing, model: Any, fixed: bool = False) -> Iterator[None]:
    """A block in which a model's decoder computes as it is told to.

    `precision="bf16"` is for matrix products: sums, norms, residual stream and log-probabilities
    stay in fp32, and so does everything that is not the decoder. Where its weights are `fixed` for
    the block, they are cast once, at its start. `compile` compiles layers, once for each class;
    without a working compiler there is a warning, once, and layers run as they are. `recompute`
    keeps a layer's input alone, and the backward pass runs the layer again (Chen et al. 2016).

    Raises:
        InputError: for a model without a decoder, or bf16 for one that is not in fp32.
    """
    if how.precision == "fp32" and not (how.compile or how.recompute):
        yield
        return
    decoder = getattr(model, "decoder", None)
    if decoder is None:
        asked = "compile or recompute" if how.precision == "fp32" else f"run in {how.precision}"
        raise InputError(f"{type(model).__name__} has no decoder to {asked}: leave that out")
    lower = how.precision == "bf16"
    if lower and decoder.head.dtype != torch.float32:
        raise InputError(
            f"precision is bf16, and the weights are {decoder.head.dtype}: it is for weights in "
            "torch.float32; leave it out, or call model.float()"
        )
    exact = {p: p.data for p in decoder.parameters() if lower and fixed and p.dim() == 2}
    for parameter, data in exact.items():
        parameter.data = data.to(torch.bfloat16)
    decoder.low = torch.bfloat16 if lower else None
    decoder.run_layer = _runner(how.compile, how.recompute, decoder.head.device.type)
    try:
        yield
    finally:
        decoder.low = decoder.run_layer = None
        for parameter, data in exact.items():
            parameter.data = data


def _runner(compiled: bool, recompute: bool, device: str) -> Callable[..., Tensor] | None:
    """What runs a layer, as `run(layer, *arguments)`."""
    run = _run_compiled if compiled and can_compile(device) else None
    if recompute:
        return functools.partial(_recomputed, run or _run)
    return run


def _run(layer: nn.Module, *arguments: Any) -> Tensor:
    out: Tensor = layer(*arguments)
    return out


def _recomputed(run: Callable[..., Tensor], *arguments: Any) -> Tensor:
    if not torch.is_grad_enabled():
        return run(*arguments)
    again: Tensor = checkpoint(run, *arguments, use_reentrant=False, preserve_rng_state=False)
    return again


def _run_compiled(layer: Any, h: Tensor, z: Tensor | None, *rest: Any) -> Tensor:
    kind = type(layer)
    if getattr(getattr(layer, "text", None), "recurrent", False):
        h = layer.reading(h, *rest)
        return _compiled(kind.after_reading)(layer, *map(_own, (h, z, *rest[:1])))
    return _compiled(kind.forward)(layer, *map(_own, (h, z, *rest)))


def _own(x: Any) -> Any:
    """A view of a part as a tensor of its own: it brings no other sizes into a graph."""
    return x.clone() if isinstance(x, Tensor) and x._is_view() else x


@functools.cache
def _compiled(forward: Any) -> Callable[..., Tensor]:
    """A method of a class of layers compiled: the same code serves all, and lengths that vary."""
    # Graphs differ by what is trained, first and last layers, precisions, and short rows.
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    return torch.compile(forward, dynamic=True)


@functools.cache
def can_compile(device: str) -> bool:
    """Whether `torch.compile` works here, found out by trying; warns where it does not."""
    try:
        _probe(device)
    except Exception as error:  # whatever the compiler's own reasons are
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        warnings.warn(f"torch.compile does not work here, so layers run as they are ({reason})",
                      stacklevel=2)  # fmt: skip
        return False
    return True


def _probe(device: str) -> None:
    """Compiles what may fail: on a GPU attention with its gradient, elsewhere anything."""
    x = torch.zeros(1, 2, 320, 32, device=device, requires_grad=device != "cpu")
    if device == "cpu":
        torch.compile(torch.sin)(x)
    else:
        torch.compile(window_attention, dynamic=True)(x, x, x, 64).sum().backward()
