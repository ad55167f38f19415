"""What the library asks of a guide and of a local optimizer."""

import torch
from torch import Tensor

from ltm_pyro.bounds import evaluate
from ltm_pyro.config import Fast, Slow, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Guide, MeanField
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.local import MakeGuide, new_guide
from ltm_pyro.inference.posterior import Posterior, infer
from ltm_pyro.models import LinearGaussianModel
from ltm_pyro.programs.densities import draw_latents, joined, log_density
from ltm_pyro.programs.elbo import elbo_terms
from ltm_pyro.seeds import Noise, seeded
from ltm_pyro.testing.solvable import (
    LINE,
    PLANE,
    SHAPE,
    SIGMAS,
    Checked,
    agrees,
    asked,
    expect,
    perturb,
    saves,
    solvable,
)


def check_guide(
    make: MakeGuide, *, fast: Fast | None = None, slow_steps: int = 200, seed: int = 0
) -> Checked:
    """Everything the library asks of a guide.

    Args:
        make: a `Guide` class, or a callable from (thoughts, batch_size) to a guide. A guide with a
            shared module gets a new one for each model (`Guide.of`).
        fast: a fast loop that suits it; by default 60 steps at 0.05.
        slow_steps: iterations to train what it shares, if it shares anything.
        seed: where every draw comes from.
    """
    fast = fast or Fast(steps=60, lr=0.05, particles=4)
    model, rows = solvable(SHAPE, 12, seed)
    bound = _bind(make, model)
    with asked():
        guide = new_guide(model, bound, rows)
    done = Checked(type(guide).__name__)
    expect(isinstance(guide, Guide), f"{make!r} makes {guide!r}: expected a Guide")
    with asked():
        posterior = infer(model, rows, bound, fast, seed)
        z = posterior.sample(3)
    expected = (3, len(rows), *SHAPE.shape)
    expect(z.shape == expected, f"draws have shape {tuple(z.shape)}: expected {expected}")
    expect(bool(torch.isfinite(z).all()), "a draw is not finite")
    done.passed.append("draws have shape (particles, documents, layers, slots, dim)")
    _guide_alone(model, rows, bound, fast, posterior, seed)
    done.passed.append("a document's fit does not depend on the documents beside it")
    if list(guide.parameters()):
        _guide_gradients(model, rows, bound, seed)
        done.passed.append("gradients of the ELBO reach every local parameter")
    _guide_saves(posterior)
    done.passed.append("saved and loaded it gives the same draws")
    double = solvable(SHAPE, 3, seed)[0].double()
    wide = Rows(rows.tokens.double(), rows.lengths, rows.document, rows.bytes)
    there = infer(double, wide, _bind(make, double, double=True), Fast(steps=1), seed).sample(1)
    expect(there.dtype == torch.float64, "on a model in fp64, draws are no fp64")
    done.passed.append("follows the model's dtype")
    if not guide.has_density:
        _refuses_bounds(posterior)
        done.passed.append("without a density, it is refused as a bound")
        return done
    for thoughts in (LINE, PLANE):
        _guide_density(make, thoughts, fast, seed)
    done.passed.append("log density integrates to one and agrees with draws, in 1 and 2 dimensions")
    _guide_bounds(make, fast, slow_steps, seed)
    done.passed.append("fitting raises the valid bound")
    done.passed.append("elbo and iwae of a solvable model lie on the right side of the exact value")
    return done


def check_optimizer(fast: Fast, make: MakeGuide = MeanField, *, seed: int = 0) -> Checked:
    """Everything the library asks of a local optimizer, named in `fast` with its rate and options.

    It must raise the valid bound of a solvable model, and leave documents independent.
    """
    done = Checked(f"{fast.optimizer} on {getattr(make, '__name__', make)}")
    model, rows = solvable(SHAPE, 96, seed)
    posterior = infer(model, rows, make, fast, seed)
    if posterior.chunks[0][0].has_density:
        _raises(model, rows, make, fast, seed)
        done.passed.append("raises the valid bound")
    _guide_alone(model, rows, make, fast, posterior, seed)
    done.passed.append("a document's fit does not depend on the documents beside it")
    return done


def _bind(make: MakeGuide, model: LinearGaussianModel, double: bool = False) -> MakeGuide:
    """A factory with a shared module of its own, where the guide has one."""
    cls, options = getattr(make, "func", make), dict(getattr(make, "keywords", {}))
    if not (isinstance(cls, type) and issubclass(cls, Guide)):
        return make
    options.pop("shared", None)
    with seeded(0, 4):
        bound = cls.of(model, **options)
    if double and "shared" in bound.keywords:
        bound.keywords["shared"].double()
    return bound


def _guide_alone(
    model: LinearGaussianModel,
    rows: Rows,
    make: MakeGuide,
    fast: Fast,
    posterior: Posterior,
    seed: int,
) -> None:
    some = torch.tensor([7, 2])
    alone = infer(model, rows[some], make, fast, seed).sample(2)
    apart = (posterior.sample(2)[:, some] - alone).abs().max()
    expect(float(apart) < 1e-2, f"fitted beside other documents, draws differ by {apart:.3g}")


def _guide_gradients(model: LinearGaussianModel, rows: Rows, make: MakeGuide, seed: int) -> None:
    guide = new_guide(model, make, rows)
    guide.start(model, rows)
    perturb(guide, seed)
    with Noise(seed, rows.key).draw():
        (-elbo_terms(model, guide, rows, 8).elbo.mean(0).sum()).backward()
    for name, parameter in guide.named_parameters():
        reached = parameter.grad is not None and bool((parameter.grad != 0).any())
        expect(reached, f"no gradient of the ELBO reaches local parameter {name!r}")


def _guide_saves(posterior: Posterior) -> None:
    guide = posterior.chunks[0][0]
    before = posterior.sample(2)
    saves(guide, lambda: guide, lambda _: posterior.sample(2))
    expect(bool((posterior.sample(2) == before).all()), "draws changed on the way through a file")


def _refuses_bounds(posterior: Posterior) -> None:
    try:
        posterior.elbo(1)
    except InputError:
        return
    raise AssertionError("it has no density, yet an ELBO was given")


def _guide_density(make: MakeGuide, thoughts: Thoughts, fast: Fast, seed: int) -> None:
    """Fitted to one document a guide's density is held against its draws."""
    model, rows = solvable(thoughts, 1, seed)
    posterior = infer(model, rows, _bind(make, model), fast, seed)
    guide = posterior.chunks[0][0]

    @torch.no_grad()
    def density(x: Tensor) -> Tensor:
        return log_density(guide, {"z": x[:, None]}, rows)[:, 0]

    agrees(density, _draws(posterior, 20_000)[:, 0], thoughts)


@torch.no_grad()
def _draws(posterior: Posterior, draws: int) -> Tensor:
    """Draws of z at once; `Posterior.sample` makes them by few, for long texts."""
    guide, rows = posterior.chunks[0]
    noise = posterior.noise(rows)
    with noise.draw():
        latents = draw_latents(guide, rows, draws)
    return joined(posterior.model, latents, rows, noise)


def _guide_bounds(make: MakeGuide, fast: Fast, slow_steps: int, seed: int) -> None:
    model, rows = solvable(SHAPE, 96, seed)
    bound = _bind(make, model)
    shared = getattr(bound, "keywords", {}).get("shared")
    start = Fast(steps=0)
    before = infer(model, rows, bound, start, seed).elbo(32).elbo.mean(0)
    if shared is not None:  # the model stands still, so its answers stay known
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        slow = Slow(lr=3e-3, warmup=1, decay=0.0)
        svi = DualRateSVI(model, bound, fast, slow, seed=seed)
        for step in range(slow_steps):
            svi.step(rows.batch(step, 32, seed))
    posterior = infer(model, rows, bound, fast, seed)
    after = posterior.elbo(32).elbo.mean(0)
    gain = after - before
    error = float(gain.std() / len(gain) ** 0.5)
    expect(
        float(gain.mean()) > SIGMAS * error,
        f"the valid bound went from {before.mean():.3f} to {after.mean():.3f} nats a document: "
        f"expected it to rise (gain {gain.mean():.3f} ± {error:.3f})",
    )
    exact = model.log_marginal(rows)
    report = evaluate(
        model, rows, ["elbo:32", "iwae:32"], guide=bound, fast=fast, seed=seed, repeat=0,
        progress=False,
    )  # fmt: skip
    for name in ("elbo", "iwae"):
        gap = torch.from_numpy(report[name].nats) + exact.detach()
        error = float(gap.std() / len(gap) ** 0.5)
        expect(
            float(gap.mean()) > -SIGMAS * error,
            f"{name} lies {gap.mean():.4f} ± {error:.4f} nats from the exact -log p(x): not above",
        )


def _raises(model: LinearGaussianModel, rows: Rows, make: MakeGuide, fast: Fast, seed: int) -> None:
    start = infer(model, rows, make, Fast(steps=0), seed).elbo(64).elbo.mean(0)
    end = infer(model, rows, make, fast, seed).elbo(64).elbo.mean(0)
    gain = end - start
    error = float(gain.std() / len(gain) ** 0.5)
    expect(
        float(gain.mean()) > SIGMAS * error,
        f"the valid bound rose by {gain.mean():.3f} ± {error:.3f} nats: expected more",
    )
