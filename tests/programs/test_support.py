"""Laws of bounded and curved supports on the reals, and what is refused as no density."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import special, stats

import ltm_pyro as ltm
from ltm_pyro.bounds.annealed import ais_prior
from ltm_pyro.bounds.importance import grid
from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.diagnostics import thought_use
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Guide, LaplaceApproximation, MeanField
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LatentThoughtModel, LinearGaussianModel, priors
from ltm_pyro.models.priors import Prior
from ltm_pyro.programs.densities import simulate
from ltm_pyro.programs.proper import check_proper
from ltm_pyro.programs.support import on_the_reals
from ltm_pyro.testing import check_prior

from ..conftest import some_rows
from ..exact import task, z_score

LINE, PLANE = Thoughts(1, 1, 1), Thoughts(1, 1, 2)
ONE = torch.ones(())


def prior_of(make):
    """A prior class whose law is `make(self)`."""
    return type("Mine", (Prior,), {"distribution": make})


BOUNDED = {
    "beta": lambda p: dist.Beta(p.anchor + 2, p.anchor + 3).expand(p.shape).to_event(3),
    "uniform": lambda p: dist.Uniform(p.anchor - 1, p.anchor + 2).expand(p.shape).to_event(3),
    "gamma": lambda p: dist.Gamma(p.anchor + 2, p.anchor + 1.5).expand(p.shape).to_event(3),
    "log-normal": lambda p: dist.LogNormal(p.anchor, p.anchor + 1).expand(p.shape).to_event(3),
    "half-normal": lambda p: dist.HalfNormal(p.anchor + 1).expand(p.shape).to_event(3),
}
CURVED = {
    "dirichlet": lambda p: dist.Dirichlet(
        p.anchor + torch.arange(1.0, 1 + p.shape[-1])
    ).expand(p.shape[:2]).to_event(2),
    "von-mises": lambda p: dist.VonMises(p.anchor + 1, p.anchor + 2).expand(
        (*p.shape[:2], p.shape[-1] // 2)
    ).to_event(3),
}  # fmt: skip


def mass(law, size, points=801, reach=30.0):
    """The integral of a law's density over the reals, u = sinh(t)."""
    t = torch.linspace(-math.asinh(reach), math.asinh(reach), points)
    weights = torch.cartesian_prod(*[t.cosh()] * size).reshape(-1, size).prod(-1)
    places = torch.cartesian_prod(*[t.sinh()] * size).reshape(-1, size)
    return places, law.log_prob(places).exp() * weights * float(t[1] - t[0]) ** size


@pytest.mark.parametrize(
    ("law", "size", "moment", "truth"),
    [
        (dist.Beta(2 * ONE, 3 * ONE).expand((1,)).to_event(1), 1, lambda z: z[:, 0], 0.4),
        (dist.Gamma(2 * ONE, 1.5 * ONE).expand((1,)).to_event(1), 1, lambda z: z[:, 0], 2 / 1.5),
        (dist.LogNormal(0 * ONE, ONE).expand((1,)).to_event(1), 1, lambda z: z[:, 0].log(), 0.0),
        (dist.Dirichlet(torch.tensor([1.0, 3.0])), 2, lambda z: z[:, 0] ** 2, 0.25 * 2 / 5),
        (dist.VonMises(ONE, 2 * ONE).expand((1,)).to_event(1), 2, lambda z: z[:, 0],
         math.cos(1) * special.i1(2) / special.i0(2)),
    ],
    ids=["beta", "gamma", "log-normal", "dirichlet", "von-mises"],
)  # fmt: skip
def test_a_carried_law_is_a_density_with_the_moments_of_the_first(law, size, moment, truth):
    real, to_support = on_the_reals(law)
    places, density = mass(real, size)
    assert float(density.sum()) == pytest.approx(1.0, abs=2e-3)
    assert float((density * moment(to_support(places))).sum()) == pytest.approx(truth, abs=3e-3)
    torch.manual_seed(0)
    drawn = real.sample((20_000,))
    assert abs(z_score(moment(to_support(drawn)).numpy(), truth)) < 4.5
    # Draws follow the density in what the support leaves open, too.
    norm = (density * places.square().sum(-1).clamp(max=9)).sum()
    assert abs(z_score(drawn.square().sum(-1).clamp(max=9).numpy(), float(norm))) < 4.5


def test_without_the_jacobian_it_would_be_no_density():
    law = dist.Gamma(2 * ONE, 1.5 * ONE).expand((1,)).to_event(1)
    places, density = mass(on_the_reals(law)[0], 1)
    wrong = (law.log_prob(places.exp()) - law.log_prob(places.exp()).max()).exp()
    assert not torch.allclose(wrong / wrong.sum(), density / density.sum(), atol=1e-3)


OFTEN = {"beta", "gamma", "dirichlet", "von-mises"}


@pytest.mark.parametrize(
    "name",
    [n if n in OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in (*BOUNDED, *CURVED)],
)
def test_any_continuous_prior_gives_valid_figures(name):
    """A linear model whose z is bounded: every figure against quadrature over the support."""
    make = BOUNDED.get(name) or CURVED[name]
    thoughts = LINE if name in BOUNDED else PLANE
    size = thoughts.dim
    model = LinearGaussianModel(thoughts, torch.tensor([[1.0, -0.5], [0.5, 1.0]])[:, :size], 0.5)
    model.prior = prior_of(make)(thoughts)
    rows, _ = simulate(model, torch.full((24,), 2), 0)
    fast = Fast(steps=30, lr=0.1, particles=4)
    names = ["elbo:16", "iwae:32", "ais:6", "predictive:2", "prior:64"]
    report = ltm.evaluate(model, rows, names, fast=fast, repeat=0, progress=False)
    truth = exact(model, rows, name)
    points = 400 if size == 1 else 80
    assert np.abs(grid(task(model, rows, MeanField), points).nats.numpy() - truth).max() < 0.03
    gaps = {n: f.nats - truth for n, f in report.figures.items()}
    gaps["ais_prior"] = ais_prior(task(model, rows, MeanField, fast), 6).nats.numpy() - truth
    for figure, gap in gaps.items():
        assert z_score(gap) > -4.5, figure
    assert np.median(gaps["iwae"]) < 0.25
    use = thought_use(infer(model, rows, MeanField, fast), 4)
    assert math.isfinite(use.mutual_information)
    z = infer(model, rows, MeanField, Fast(steps=1)).sample(3)
    assert z.shape == (3, 24, *thoughts.shape)
    support = {"beta": (0, 1), "uniform": (-1, 2), "dirichlet": (0, 1), "von-mises": (-1, 1)}
    low, high = support.get(name, (0, math.inf))
    assert bool(((z >= low) & (z <= high)).all())


def exact(model, rows, name):
    """-log p(x) by quadrature over the support itself, without the library's densities."""
    weight, scale = model.weight.detach().double().numpy(), model.scale
    x = rows.tokens.double().numpy()
    q = (np.arange(20_000) + 0.5) / 20_000  # equal masses of the prior
    if name in BOUNDED:
        law = {
            "beta": stats.beta(2, 3), "uniform": stats.uniform(-1, 3),
            "gamma": stats.gamma(2, scale=1 / 1.5), "log-normal": stats.lognorm(1),
            "half-normal": stats.halfnorm(),
        }[name]  # fmt: skip
        z = law.ppf(q)[:, None]
    elif name == "dirichlet":
        first = stats.beta(1, 2).ppf(q)
        z = np.stack([first, 1 - first], 1)
    else:
        angle = 2 * math.pi * q
        z = np.stack([np.cos(angle), np.sin(angle)], 1)
    score = stats.norm.logpdf(x[None], (z @ weight.T)[:, None], scale).sum(-1)
    if name == "von-mises":
        score += (2 * np.cos(angle - 1) - math.log(special.i0(2)))[:, None]
    return -(special.logsumexp(score, 0) - math.log(len(q)))


def test_a_bounded_prior_passes_what_is_asked_of_priors():
    checked = check_prior(prior_of(BOUNDED["beta"]))
    assert "bounds of a solvable model with this prior hold" in checked.passed


def test_hessians_are_taken_on_the_reals(config):
    model = LatentThoughtModel(config, prior_of(BOUNDED["gamma"])(config.thoughts))
    rows = some_rows(3)
    report = ltm.evaluate(model, rows, ["elbo:4"], guide=LaplaceApproximation, fast=Fast(steps=3),
                          repeat=0, progress=False)  # fmt: skip
    assert math.isfinite(report["elbo"].nats_per_token)


IMPROPER = {
    "ImproperUniform": (
        lambda p: dist.ImproperUniform(dist.constraints.real, (), p.shape),
        "has no density that integrates to one",
    ),
    "masked": (
        lambda p: dist.Normal(p.anchor, p.anchor + 1).expand(p.shape).to_event(3).mask(False),
        "is masked",
    ),
    "a point": (lambda p: dist.Delta(p.anchor.expand(p.shape), event_dim=3), "is a point"),
    "von Mises": (
        lambda p: dist.VonMises(p.anchor, p.anchor + 1).expand(p.shape).to_event(3),
        "does not fall off far from its draws.*half as many angles",
    ),
    "Bernoulli": (
        lambda p: dist.Bernoulli(p.anchor + 0.5).expand(p.shape).to_event(3),
        "support Boolean",
    ),
    "other sizes": (lambda p: dist.Beta(ONE, ONE).expand((3,)).to_event(1), "event shape"),
}


@pytest.mark.parametrize("kind", IMPROPER)
@pytest.mark.parametrize("figure", ["elbo:2", "prior:2"])
def test_a_prior_without_a_density_gives_no_figure(config, kind, figure):
    make, message = IMPROPER[kind]
    model = LatentThoughtModel(config, prior_of(make)(config.thoughts))
    with pytest.raises(InputError, match=message) as error:
        ltm.evaluate(model, some_rows(2), [figure], fast=Fast(steps=1), progress=False)
    assert str(error.value).startswith("prior Mine: ")
    assert "\n" not in str(error.value)


def test_a_guide_without_a_density_gives_no_bound(model):
    class Peak(Guide):  # calls itself one with a density
        def distribution(self):
            return dist.Delta(torch.zeros(self.batch_size, *self.thoughts.shape), event_dim=3)

    class Turning(Guide):
        def distribution(self):
            angle = torch.zeros(self.batch_size, *self.thoughts.shape)
            return dist.VonMises(angle, angle + 1).to_event(3)

    class Positive(Guide):
        def forward(self, batch):
            with pyro.plate("documents", self.batch_size, dim=-1):
                scale = torch.ones(self.batch_size, *self.thoughts.shape)
                return pyro.sample("z", dist.HalfNormal(scale).to_event(3))

    for guide, message in ((Peak, "is a point"), (Turning, "not fall off"), (Positive, "support")):
        with pytest.raises(InputError, match=f"guide {guide.__name__}: .*{message}"):
            ltm.evaluate(model, some_rows(2), ["iwae:2"], guide=guide, fast=Fast(steps=0),
                         progress=False)  # fmt: skip


HEAVY = [
    priors.StudentT(PLANE, degrees=0.5),
    priors.Horseshoe(PLANE),
    priors.Laplace(PLANE, scale=1e-3),
    priors.StandardNormal(Thoughts(3, 8, 64)),
]


@pytest.mark.parametrize("prior", HEAVY, ids=lambda p: type(p).__name__)
def test_heavy_tails_and_odd_scales_are_densities(prior):
    from types import SimpleNamespace

    from ltm_pyro.programs.densities import prior_of as program_of

    for seed in range(5):
        rows = some_rows(1, seed=seed)
        check_proper(program_of(SimpleNamespace(prior=prior)), rows, "prior")


class Mixed(dist.Normal):
    """Normal in all dimensions but one, of an angle: along that one it does not fall off."""

    flat_at = 0

    def log_prob(self, value):
        found = super().log_prob(value)
        angle = dist.VonMises(self.loc, self.scale).log_prob(value)
        here = torch.arange(value.shape[-1]) == self.flat_at
        return torch.where(here, angle, found)


@pytest.mark.parametrize("place", range(3))
def test_one_dimension_that_does_not_fall_off_is_found(config, place):
    class Partly(Prior):
        def distribution(self):
            law = Mixed(self.anchor.expand(self.shape), self.anchor + 1)
            law.flat_at = place
            return law.to_event(3)

    model = LatentThoughtModel(config, Partly(config.thoughts))
    with pytest.raises(InputError, match="does not fall off far from its draws"):
        ltm.evaluate(model, some_rows(2), ["prior:2"], progress=False)


def test_text_cannot_be_more_probable_than_certain(config):
    class Doubled(Prior):  # a density that is 10^9 times too high
        def distribution(self):
            return Scaled(self.anchor.expand(self.shape), self.anchor + 1)

    class Scaled(dist.Normal):
        def log_prob(self, value):
            return super().log_prob(value) + 20.0

    class Summed(Doubled):
        def distribution(self):
            return super().distribution().to_event(3)

    model = LatentThoughtModel(config, Summed(config.thoughts))
    with pytest.raises(InputError, match="-log p\\(x\\) of discrete text cannot be negative"):
        ltm.evaluate(model, some_rows(4), ["elbo:4"], guide=Layered, progress=False)


class Layered(MeanField):
    """A guide whose KL torch has no formula for, so that it is that of draws."""

    def distribution(self):
        shift = dist.transforms.AffineTransform(0.0, 1.0, event_dim=3)
        return dist.TransformedDistribution(super().distribution(), [shift])


def test_the_grid_finds_wide_priors_and_refuses_those_it_misses():
    model = LinearGaussianModel(LINE, torch.tensor([[1.0], [0.5]]))
    rows, _ = simulate(model, torch.full((8,), 2), 0)
    near = grid(task(model, rows, MeanField), 96).nats
    torch.testing.assert_close(near, -model.log_marginal(rows), atol=1e-3, rtol=0)
    model.prior = priors.LearnedNormal(LINE)
    with torch.no_grad():
        model.prior.log_scale.fill_(math.log(30.0))  # 82 % of it lies outside [-7, 7]
    wide = grid(task(model, rows, MeanField), 400).nats
    model.weight.data *= 30  # the same model, z in other units
    torch.testing.assert_close(wide, -model.log_marginal(rows), atol=0.01, rtol=0)
    with torch.no_grad():
        model.prior.loc.fill_(50.0)
        model.prior.log_scale.fill_(math.log(0.01))
    with pytest.raises(InputError, match=r"the prior's mass comes out as 0 .*in place of 1"):
        grid(task(model, rows, MeanField), 64)
