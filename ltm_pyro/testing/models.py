"""What the library asks of a model."""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.covering import Covering
from ltm_pyro.inference.hierarchical import Hierarchical
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.inference.posterior import infer
from ltm_pyro.options import shown
from ltm_pyro.programs.densities import draw_latents, log_joint, prior_of
from ltm_pyro.programs.elbo import elbo_terms
from ltm_pyro.programs.handlers import is_thoughts
from ltm_pyro.programs.reading import Sites
from ltm_pyro.seeds import Noise, derive, seeded
from ltm_pyro.testing.solvable import SIGMAS, Checked, asked, expect, expect_registered

PARTICLES = 6
NEAR = 1e-3
"""How far numbers may lie apart that are equal but for rounding, relative to their size."""


def check_model(
    model: Any,
    rows: Rows,
    *,
    guide: MakeGuide | None = None,
    fast: Fast | None = None,
    seed: int = 0,
) -> Checked:
    """Everything the library asks of a model, on rows that it is made for.

    What stands in one document must reach no other, the same document must have the same density
    in any particle and any batch, padding must count nothing, gradients must reach every parameter,
    and a fitted guide must not do worse than one that was never fitted. Whether the densities of
    its distributions integrate to one is not seen here: those of Pyro's do.

    Args:
        model: a `TextModel`.
        rows: three rows or more, with the columns that it reads.
        guide: what makes a guide; normals over all its sites unless given.
        fast: a fast loop that suits it; by default 40 steps at 0.1.
        seed: where every draw comes from.
    """
    expect(isinstance(model, nn.Module), f"model is {shown(model)}: expected a TextModel")
    expect(len(rows) >= 3, f"{len(rows)} rows: expected 3 or more")
    fast = fast or Fast(steps=40, lr=0.1, particles=4)
    done = Checked(type(model).__name__)
    expect_registered(model)
    with asked():
        sites = Sites.of(model, rows)
        if guide is None and sites.of_kind("shared"):
            guide = Hierarchical.of(model, rows=rows)
        made = guide or MeanField
        Covering(model, made, rows)
    done.passed.append(f"its sites can be handled: {', '.join(sites.all)}")
    _returns(model, rows, sites)
    _padding(model, rows, seed)
    done.passed.append("what stands behind a row's length changes nothing")
    _alone(model, rows, seed)
    done.passed.append("a document's densities depend neither on other documents nor on particles")
    _gradients(model, rows, made, seed)
    done.passed.append("gradients reach every parameter")
    _bounds(model, rows, made, fast, seed)
    done.passed.append("a fitted guide's bound is no worse than the start's")
    return done


def _latents(model: Any, rows: Rows, seed: int) -> dict[str, Tensor]:
    with torch.no_grad(), Noise(derive(seed, 0), rows.key).draw():
        return draw_latents(prior_of(model), rows, PARTICLES)


def _apart(one: Tensor, other: Tensor) -> float:
    return float(((one - other).abs() / (1 + one.abs())).max())


def _joint(model: Any, latents: dict[str, Tensor], rows: Rows) -> Tensor:
    with torch.no_grad():
        prior, likelihood = log_joint(model, latents, rows)
    expected = (PARTICLES, len(rows))
    for name, term in (("prior", prior), ("likelihood", likelihood)):
        expect(
            not latents or term.shape == expected,
            f"log {name} has shape {tuple(term.shape)}: expected {expected}",
        )
        expect(bool(torch.isfinite(term).all()), f"log {name} is not finite at draws of the prior")
    return torch.stack([prior, likelihood])


def _returns(model: Any, rows: Rows, sites: Sites) -> None:
    """What texts are generated from is what the model returns."""
    thoughts = getattr(model, "thoughts", None)
    if thoughts is None or not any(map(is_thoughts, sites.all)):
        return
    with torch.no_grad(), seeded(0):
        returned = model(rows)
    shape = tuple(returned.shape) if isinstance(returned, Tensor) else returned
    expect(
        isinstance(shape, tuple) and shape[-3:] == thoughts.shape,
        f"forward returns {shape if isinstance(shape, tuple) else shown(shape)}: expected z, "
        f"(documents, {', '.join(map(str, thoughts.shape))}), as in "
        "`return self.observe(batch, z, prelude, positions)`",
    )


def _alone(model: Any, rows: Rows, seed: int) -> None:
    latents = _latents(model, rows, seed)
    sites = Sites.of(model, rows).of_kind("local")
    together = _joint(model, latents, rows)
    for i in (0, 1, len(rows) - 1):
        mine = {s: v[:, [i]] if s in sites and v.shape[1] > 1 else v for s, v in latents.items()}
        alone = _joint(model, mine, rows[[i]])[..., 0]
        apart = _apart(alone, together[..., i])
        expect(
            apart < NEAR,
            f"row {i} alone has log densities that differ by {apart:.3g} (relative) from those it "
            "has among others: a document's sites must depend on that document alone, and "
            "broadcast over dimensions before documents (dim -1)",
        )
    if latents:
        order = torch.arange(PARTICLES).flip(0)
        turned = _joint(model, {s: v[order] for s, v in latents.items()}, rows)
        apart = _apart(turned[:, order], together)
        expect(apart < NEAR, f"another order of particles changes log densities by {apart:.3g}")


def _padding(model: Any, rows: Rows, seed: int) -> None:
    latents = _latents(model, rows, seed)
    before = _joint(model, latents, rows)
    tokens = torch.where(rows.mask, rows.tokens, rows.tokens.roll(1, 0).roll(1, 1))
    apart = _apart(_joint(model, latents, dataclasses.replace(rows, tokens=tokens)), before)
    expect(
        apart < NEAR,
        f"tokens behind a row's length change log densities by {apart:.3g}: mask the likelihood "
        "with batch.mask, or use TokenSequence",
    )


def _gradients(model: Any, rows: Rows, make: MakeGuide, seed: int) -> None:
    covering = Covering(model, make, rows)
    guide = covering.guide(len(rows))
    with seeded(seed, 1):
        guide.start(model, rows)
        terms = elbo_terms(model, guide, rows, PARTICLES)
    shared: Tensor | float = sum(term.mean() for term in terms.kl_shared.values())
    model.zero_grad()
    (terms.elbo.mean(0).sum() - shared).backward()
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool((parameter.grad != 0).any())
        expect(reached or not parameter.requires_grad, f"no gradient reaches parameter {name!r}")
    model.zero_grad()
    for name, parameter in guide.named_parameters():
        expect(parameter.grad is not None, f"no gradient reaches local parameter {name!r}")


def _bounds(model: Any, rows: Rows, make: MakeGuide, fast: Fast, seed: int) -> None:
    """The ELBO of a fitted guide against the prior's, and IWAE against both."""
    with asked():
        start = infer(model, rows, make, dataclasses.replace(fast, steps=0), seed).elbo(32)
        found = infer(model, rows, make, fast, seed).elbo(32)
    if not found.kl_by_site:
        return
    gain = found.elbo.mean(0) - start.elbo.mean(0)
    error = float((found.elbo.var(0) / 32 + start.elbo.var(0) / 32).sum().sqrt())
    expect(
        float(gain.sum()) > -SIGMAS * error,
        f"the fitted guide's bound is {-float(gain.sum()):.3f} ± {error:.3f} nats worse than the "
        "start's: give a fast loop that suits the model, or the density that is fitted is not the "
        "one that is scored",
    )
