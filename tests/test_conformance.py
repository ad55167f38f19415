"""Every prior, guide and local optimizer passes the checks that users run on their own."""

import functools
import inspect

import pyro.distributions as dist
import pytest
import torch

from ltm_pyro import guides
from ltm_pyro.config import Fast
from ltm_pyro.guides import Guide, MeanField, NoGuide, Point, Sampler
from ltm_pyro.models import priors
from ltm_pyro.models.priors import Prior
from ltm_pyro.testing import check_guide, check_optimizer, check_prior


def members(module, base, without=()):
    return {
        name: cls
        for name, cls in vars(module).items()
        if inspect.isclass(cls) and issubclass(cls, base) and cls is not base and cls not in without
    }


PRIORS = members(priors, Prior)
GUIDES = members(guides, Guide, (NoGuide, Sampler))
SETTINGS = {
    "Langevin": {"fast": Fast(steps=100, lr=0.05)},
    "Hamiltonian": {"fast": Fast(steps=30, lr=0.2)},
    "Stein": {"fast": Fast(steps=150, lr=0.1)},
    "SemiAmortized": {"fast": Fast(steps=20, lr=0.05, particles=2), "slow_steps": 60},
}
COSTLY = {"Flow", "SemiAmortized", "Stein", "Mixture", "Layerwise", "Langevin"}  # see tests/guides
OF_DATA = {"Conditional": {"column": "group", "columns": {"group": ("a", "b")}}}


@pytest.mark.parametrize("name", PRIORS)
def test_priors(name):
    passed = check_prior(functools.partial(PRIORS[name], **OF_DATA.get(name, {}))).passed
    assert len(passed) == 7


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in COSTLY else []) for n in GUIDES]
)
def test_guides(name):
    make = GUIDES[name]
    if name == "Stein":  # few particles come out too close together in 12 dimensions
        make = functools.partial(make, particles=96)
    assert len(check_guide(make, **SETTINGS.get(name, {})).passed) >= 6


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(guides.Covariance, scope="layer"),
        functools.partial(guides.Covariance, rank=2),
        functools.partial(guides.Auto, guide="AutoMultivariateNormal"),
    ],
    ids=["layer", "low-rank", "auto-multivariate"],
)
@pytest.mark.slow
def test_guides_with_options(make):
    assert len(check_guide(make).passed) >= 6


@pytest.mark.parametrize(
    ("fast", "make"),
    [
        (Fast(steps=40, lr=0.1), MeanField),
        (Fast(steps=40, lr=0.05, optimizer="SGD", options={"momentum": 0.5}), MeanField),
        (Fast(steps=40, lr=0.05, optimizer="RMSprop"), MeanField),
        (Fast(steps=40, lr=0.2, optimizer="NaturalGradient", particles=4), MeanField),
        (Fast(steps=40, lr=0.01, optimizer="Langevin"), Point),
    ],
    ids=["Adam", "SGD", "RMSprop", "NaturalGradient", "Langevin"],
)
def test_optimizers(fast, make):
    assert check_optimizer(fast, make).passed


def test_the_checks_fail_priors_that_are_wrong():
    class Unnormalised(Prior):
        def distribution(self):
            return Scaled(dist.Normal(self.anchor, 1.0).expand(self.shape).to_event(3), 1.5)

    class WrongDraws(Prior):
        def distribution(self):
            return Scaled(dist.Normal(self.anchor, 1.0).expand(self.shape).to_event(3), 1.0, 1.3)

    class WrongShape(Prior):
        def distribution(self):
            return dist.Normal(self.anchor, 1.0).expand(self.shape[1:]).to_event(2)

    class Idle(priors.StandardNormal):
        def __init__(self, thoughts):
            super().__init__(thoughts)
            self.unused = torch.nn.Parameter(torch.zeros(3))

    for wrong, message in (
        (Unnormalised, "integrates to"),
        (WrongDraws, "over draws"),
        (WrongShape, r"batch shape \(\) and event shape \(2, 3\): expected"),
        (Idle, "no gradient reaches parameter 'unused'"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_prior(wrong)


def test_the_checks_fail_guides_that_are_wrong():
    class Narrow(MeanField):
        """Draws from half the scale that its density has: its "bound" is none."""

        def distribution(self):
            return Scaled(super().distribution(), 1.0, 0.5)

    class Mixing(MeanField):
        """Documents share a location."""

        def distribution(self):
            scale = (0.5 * self.log_variance).exp()
            loc = self.loc.mean(0, keepdim=True).expand_as(self.loc)
            return dist.Normal(loc, scale).to_event(3)

    class Stuck(MeanField):
        """Its location does not reach the draws."""

        def distribution(self):
            return dist.Normal(self.loc.detach(), (0.5 * self.log_variance).exp()).to_event(3)

    class Fixed(MeanField):
        """Nothing to fit: it stays at the prior."""

        def __init__(self, thoughts, batch_size):
            super().__init__(thoughts, batch_size)
            self.requires_grad_(False)

        def distribution(self):
            return dist.Normal(torch.zeros_like(self.loc) + 1.0, 1.0).to_event(3)

    for wrong, message in (
        (Narrow, "over draws"),
        (Mixing, "fitted beside other documents"),
        (Stuck, "no gradient of the ELBO reaches local parameter 'loc'"),
        (Fixed, "no gradient of the ELBO reaches"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_guide(wrong)


class Scaled(dist.TorchDistribution):
    """Another's density times a constant, and its draws times another."""

    has_rsample = True
    arg_constraints = {}  # noqa: RUF012

    def __init__(self, inner, density=1.0, draws=1.0):
        self.inner, self.density, self.draws = inner, density, draws
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return Scaled(self.inner.expand(batch_shape), self.density, self.draws)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008
        return self.draws * self.inner.rsample(sample_shape)

    def log_prob(self, value):
        return self.inner.log_prob(value) + torch.tensor(self.density).log()
