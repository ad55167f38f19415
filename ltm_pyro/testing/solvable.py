"""What checks share: a model whose answers are known, and a density held against its draws."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ltm_pyro.config import Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.models import LinearGaussianModel
from ltm_pyro.programs.densities import simulate
from ltm_pyro.programs.thoughts import check_registered
from ltm_pyro.seeds import derive, generator

SIGMAS = 4.5
SHAPE = Thoughts(layers=2, slots=2, dim=3)
LINE = Thoughts(layers=1, slots=1, dim=1)
PLANE = Thoughts(layers=2, slots=1, dim=1)


@dataclass
class Checked:
    """What a member was found to do; printing it lists the checks."""

    name: str
    passed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([f"{self.name}: {len(self.passed)} checks passed", *self.passed])


def solvable(thoughts: Thoughts, documents: int, seed: int) -> tuple[LinearGaussianModel, Rows]:
    """A linear-Gaussian model, and documents it wrote; lengths differ."""
    size = thoughts.count * thoughts.dim
    source = generator(seed, 2)
    weight = torch.randn(6, size, generator=source) / math.sqrt(size)
    model = LinearGaussianModel(thoughts, weight, scale=0.7)
    lengths = torch.randint(3, 7, (documents,), generator=source)
    lengths[0] = 6
    rows, _ = simulate(model, lengths, derive(seed, 3))
    return model, rows


def agrees(log_density_of: Callable[[Tensor], Tensor], draws: Tensor, thoughts: Thoughts) -> None:
    """A density in 1 or 2 dimensions against quadrature and against draws (n, layers, slots, dim).

    Where a coarse quadrature does not agree, a finer one decides.
    """
    size = thoughts.count * thoughts.dim
    *coarse, finest = (4000, 40_000) if size == 1 else (300, 500, 1000)
    for points in coarse:
        with suppress(AssertionError):
            return _agrees(log_density_of, draws, thoughts, points)
    _agrees(log_density_of, draws, thoughts, finest)


def _agrees(
    log_density_of: Callable[[Tensor], Tensor], draws: Tensor, thoughts: Thoughts, points: int
) -> None:
    """Places are sinh(u^3) for evenly spaced u, so that heavy tails and sharp peaks are covered."""
    size = thoughts.count * thoughts.dim
    u = torch.linspace(-2.3, 2.3, points, dtype=torch.float64)
    line, weight = (u**3).sinh(), (u**3).cosh() * 3 * u**2 * (u[1] - u[0])
    places = torch.cartesian_prod(*[line] * size).reshape(-1, *thoughts.shape)
    weights = torch.cartesian_prod(*[weight] * size).reshape(len(places), -1).prod(-1)
    parts = [log_density_of(part.to(draws.dtype)) for part in places.split(20_000)]
    mass = torch.cat(parts).detach().double().exp() * weights
    total = float(mass.sum())
    expect(
        0.9 < total < 1.02,
        f"the density integrates to {total:.4f}: expected 1 (a constant bounded from above may "
        "leave it a little below)",
    )
    flat = places.reshape(len(places), size)
    drawn = draws.detach().double().reshape(len(draws), size)
    tests: dict[str, Callable[[Tensor], Tensor]] = {
        "tanh z": lambda z: z.tanh().mean(-1),
        "tanh^2 z": lambda z: z.tanh().square().mean(-1),
        "tanh of the product": lambda z: z.prod(-1).tanh(),
        "|z| > 2": lambda z: (z.abs() > 2).double().mean(-1),
    }
    for name, f in tests.items():
        exact = float((f(flat) * mass).sum() / total)
        seen, error = float(f(drawn).mean()), float(f(drawn).std() / len(drawn) ** 0.5)
        expect(
            abs(seen - exact) < SIGMAS * error + 2e-3,
            f"mean of {name}: {seen:.4f} ± {error:.4f} over draws, {exact:.4f} under the density",
        )


def perturb(module: torch.nn.Module, seed: int) -> None:
    """Move parameters away from where they start, so that symmetries do not hide mistakes."""
    source = generator(seed, 8)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=source))


def saves(module: Any, make: Callable[[], Any], look: Callable[[Any], Tensor]) -> None:
    """Through safetensors into a new one: the same answers."""
    before = look(module).detach()
    state = {k: v.detach().contiguous().clone() for k, v in module.state_dict().items()}
    data = safetensors.torch.save(state)
    other = make()
    other.load_state_dict(safetensors.torch.load(data))
    apart = (look(other).detach() - before).abs().max()
    expect(float(apart) < 1e-5, f"after saving and loading, values differ by {apart:.3g}")


@contextmanager
def asked() -> Iterator[None]:
    """A block in which an `InputError` is a check that failed."""
    try:
        yield
    except InputError as error:  # Pyro adds the shapes of a trace
        raise AssertionError(str(error).partition("\n")[0]) from None


def expect_registered(module: torch.nn.Module) -> None:
    """Raises AssertionError for parameters that torch does not see."""
    with asked():
        check_registered(module)


def expect(condition: bool, otherwise: str) -> None:
    """Raises AssertionError with `otherwise`."""
    if not condition:
        raise AssertionError(otherwise)
