"""What holds for all guides."""

import functools

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro import guides
from ltm_pyro.config import Fast, Named, Thoughts
from ltm_pyro.guides import Guide
from ltm_pyro.names import describe, find, names
from ltm_pyro.programs.densities import draw_latents, log_density, log_joint
from ltm_pyro.programs.elbo import elbo_terms

from ..exact import linear_gaussian
from .helpers import FITTED, POINTS, SAMPLERS, draws_of, fit, fixed_rows, grid, shaken

ROWS = fixed_rows(torch.zeros(3, 2))


def two_dimensions(name):
    return Thoughts(2, 1, 1) if name == "Layerwise" else Thoughts(1, 1, 2)


@pytest.mark.parametrize("name", [*FITTED, *SAMPLERS])
def test_shapes_in_plates(name):
    thoughts = Thoughts(2, 2, 3)
    guide = {**FITTED, **SAMPLERS}[name](thoughts, 3)
    if name in SAMPLERS:
        guide.particles.normal_()
    for particles in (1, 5):
        latents = draw_latents(guide, ROWS, particles)
        for site, value in latents.items():
            assert value.shape == (particles, 3, *((2, 2, 3) if site == "z" else (2, 3)))
        assert log_density(guide, latents, ROWS).shape == (particles, 3)
    assert guide(ROWS).shape == (3, 2, 2, 3)


@pytest.mark.parametrize("name", FITTED)
def test_it_starts_at_or_near_the_standard_normal(name):
    model, rows = linear_gaussian(documents=3)
    guide = FITTED[name](model.thoughts, 3)
    z = draws_of(model, guide, rows, 4000)
    if name in ("AutoLowRank", "AutoIAFNormal"):  # Pyro's own start is random
        assert z.std(0).log().abs().max() < 1.5
        return
    assert z.mean(0).abs().max() < 0.4
    assert (z.std(0) - 1).abs().max() < 0.1
    # The same for every document.
    assert all((p == p[:1]).all() for p in guide.parameters())


@pytest.mark.parametrize(
    "name",  # the flow's is held to autograd's Jacobian, too
    [pytest.param(name, marks=pytest.mark.slow if name == "Flow" else []) for name in FITTED],
)
def test_the_density_is_that_of_the_draws(name):
    """In two dimensions: it integrates to 1, and its moments on a grid are those of the draws."""
    thoughts = two_dimensions(name)
    guide = shaken(FITTED[name](thoughts, 3), 0.3)
    z, volume = grid(thoughts, 12.0, 321)
    latents = {"z": z.expand(-1, 3, -1, -1, -1)}
    density = log_density(guide, latents, ROWS).exp().detach().double() * volume
    assert density.sum(0).numpy() == pytest.approx(1, abs=2e-3)
    z = z.flatten(1).double()
    mean = density.T @ z
    second = torch.einsum("nd,ni,nj->dij", density, z, z)
    model, _ = linear_gaussian()
    model.prior.thoughts = thoughts
    drawn = draws_of(model, guide, ROWS, 20_000).double()
    products = drawn[..., :, None] * drawn[..., None, :]
    for found, truth in ((drawn, mean), (products, second)):
        error = found.std(0) / len(found) ** 0.5
        assert ((found.mean(0) - truth) / error).abs().max() < 4.5


@pytest.mark.parametrize("name", [*FITTED, *POINTS])
def test_gradients_reach_every_local_parameter(name):
    model, rows = linear_gaussian(documents=4)
    guide = shaken({**FITTED, **POINTS}[name](model.thoughts, 4), 0.1)
    elbo_terms(model, guide, rows, 8).elbo.sum().backward()
    for key, parameter in guide.named_parameters():
        assert len(parameter) == 4, key
        assert (parameter.grad.flatten(1).abs().sum(1) > 0).all(), key


@pytest.mark.parametrize("name", [*FITTED, *SAMPLERS, *POINTS])
def test_documents_do_not_influence_one_another(name):
    """Another text in one row, or no other rows at all: the first row's q stays what it was."""
    model, rows = linear_gaussian(documents=4)
    make = {**FITTED, **SAMPLERS, **POINTS}[name]
    if name == "AutoIAFNormal":
        make = functools.partial(make, hidden_dim=8)
    fast = {"steps": 5, "particles": 2, "lr": 0.01 if name == "Langevin" else 0.1}
    reference = fit(model, make, rows, **fast)
    changed = fixed_rows(rows.tokens.clone())
    changed.tokens[3] += 3.0
    others = fit(model, make, type(rows)(changed.tokens, *parts(rows)), **fast)
    alone = fit(model, make, rows[:1], **fast)
    moved = 0.0
    for key, value in states(reference).items():
        dim = 1 if key in ("particles", "squares") else 0
        where = value.shape.index(4) if value.dim() else None
        assert where == dim, key
        assert torch.equal(value.narrow(dim, 0, 3), states(others)[key].narrow(dim, 0, 3)), key
        close = states(alone)[key]
        assert torch.allclose(value.narrow(dim, 0, 1), close, atol=1e-4), key
        moved += float((value - states(others)[key]).abs().sum())
    assert moved > 0


def parts(rows):
    return rows.lengths, rows.document, rows.bytes


def states(guide):
    return {k: v for k, v in guide.state_dict().items() if v.dim()}


@pytest.mark.parametrize("name", [*FITTED, *SAMPLERS, *POINTS])
def test_it_moves_to_another_dtype(name):
    model, rows = linear_gaussian(documents=3)
    model = model.double()
    rows = type(rows)(rows.tokens.double(), *parts(rows))
    make = {**FITTED, **SAMPLERS, **POINTS}[name]
    guide = fit(model, make, rows, steps=2, particles=2, lr=0.01)
    latents = draw_latents(guide, rows, 2)
    assert all(value.dtype == torch.float64 for value in latents.values())
    if name != "AutoIAFNormal":  # Pyro inverts it in the default dtype
        assert log_density(guide, latents, rows).dtype == torch.float64
    assert sum(log_joint(model, latents, rows)).dtype == torch.float64


@pytest.mark.parametrize("name", [*FITTED, *SAMPLERS])
def test_figures_of_a_decoder_take_it(name, model, rows):
    fast = Fast(steps=3, lr=0.003 if name == "Langevin" else 0.1)
    make = {**FITTED, **SAMPLERS}[name]
    report = ltm.evaluate(
        model, rows, ["elbo:2", "iwae:4"], guide=make, fast=fast, repeat=0, progress=False
    )
    assert all(torch.isfinite(torch.tensor(f.nats)).all() for f in report.figures.values())


def test_names_and_options_go_to_a_saved_run_and_back():
    known = set(names(guides, Guide))
    assert {"mean-field", "covariance", "laplace-approximation", "semi-amortized"} <= known
    for named in (
        Named("covariance", {"scope": "layer", "rank": 2}),
        Named("mixture", {"components": 3}),
        Named("flow", {"bins": 4, "transforms": 1}),
        Named("auto", {"guide": "AutoIAFNormal", "hidden_dim": 4}),
        Named("hamiltonian", {"particles": 4, "leapfrogs": 2}),
    ):
        made = find("guide", named, guides, Guide)
        assert describe(made, guides, Guide) == named
        assert isinstance(made(Thoughts(2, 1, 2), 3), Guide)
    model, _ = linear_gaussian()
    bound_to_an_encoder = guides.Amortized.of(model, width=16)
    assert describe(bound_to_an_encoder, guides, Guide) == Named("amortized", {"width": 16})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (functools.partial(guides.Covariance, scope="slot"), "unknown scope 'slot'"),
        (functools.partial(guides.Covariance, rank=7), "rank is 7: expected 1 to 6"),
        (
            functools.partial(guides.Mixture, components=0),
            "components is 0: expected a whole",
        ),
        (functools.partial(guides.Flow, bins=1), "bins is 1: expected a whole number, 2 or more"),
        (functools.partial(guides.LaplaceApproximation, floor=0.0), "floor is 0.0: expected a fin"),
        (
            functools.partial(guides.Langevin, particles=1),
            "particles is 1: expected a whole",
        ),
        (
            functools.partial(guides.Hamiltonian, leapfrogs=0),
            "leapfrogs is 0: expected a whole",
        ),
        (functools.partial(guides.Auto, guide="AutoNorml"), "did you mean 'AutoNormal'"),
        (functools.partial(guides.Auto, guide="AutoDelta"), "use the guide Point"),
        (
            functools.partial(guides.Auto, guide="AutoStructured"),
            "cannot be used for each document",
        ),
        (functools.partial(guides.Auto, rank=2), "AutoNormal takes no rank"),
        (functools.partial(guides.Auto, init_scale=-1), "init_scale is -1: expected a finite"),
        (guides.Amortized, r"Amortized needs an encoder: Amortized.of\(model\)"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(ltm.InputError, match=message):
        make(Thoughts(2, 1, 3), 4)


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (guides.Covariance, "scope='layer', a rank"),
        (guides.Layerwise, "Covariance with a rank, or MeanField"),
        (guides.LaplaceApproximation, "MeanField, or Covariance with a rank"),
    ],
)
def test_too_many_dimensions_are_refused_with_a_way_out(make, advice):
    with pytest.raises(ltm.InputError, match=advice):
        make(Thoughts(3, 16, 64), 4)
