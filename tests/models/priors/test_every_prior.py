"""What holds for every prior: sites and plates, densities, gradients, dtypes, names, options."""

import copy
import dataclasses

import pytest
import torch
from torch.distributions import biject_to, kl_divergence

import ltm_pyro as ltm
from ltm_pyro.config import Named
from ltm_pyro.guides import MeanField
from ltm_pyro.models import LatentThoughtModel, priors
from ltm_pyro.models.priors import Prior
from ltm_pyro.models.priors.build import build_prior, named_prior
from ltm_pyro.names import names

from .common import (
    CASES,
    CLASSES,
    COLUMNS,
    LINE,
    PLANE,
    THOUGHTS,
    distribution,
    draw,
    grid,
    in_plates,
    log_prob,
    made,
    sites,
    z_scores,
)

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_prior = pytest.mark.parametrize("name", CASES)


def test_the_cases_are_all_there_are():
    assert names(priors, Prior) == CLASSES


@every_prior
@pytest.mark.parametrize("rough", [False, True])
def test_sites_in_plates(name, rough):
    prior = made(name, rough=rough)
    trace = in_plates(prior, particles=3, documents=4)
    z = trace.nodes["_RETURN"]["value"]
    assert z.shape == (3, 4, 2, 2, 3)
    found = sites(trace)
    layers = name == "layerwise"
    assert list(found) == (["z_0", "z_1"] if layers else ["z"])
    for site in found.values():
        assert site["fn"].batch_shape == (3, 4)
        assert site["fn"].event_shape == ((2, 3) if layers else (2, 2, 3))
        log_p = site["fn"].log_prob(site["value"])
        assert log_p.shape == (3, 4)
        assert torch.isfinite(log_p).all()
        assert biject_to(site["fn"].support)(site["value"]).equal(site["value"])
    assert len(z.flatten(0, 1).unique(dim=0)) == 12, "every particle and document has its own draw"


@every_prior
def test_the_density_at_a_draw_depends_on_that_draw_alone(name):
    prior = made(name)
    z, together = draw(prior, 3, 4)
    apart = torch.cat([log_prob(prior, one[None]) for one in z])
    assert torch.allclose(together, apart, atol=1e-4)
    if name != "layerwise":
        assert torch.allclose(distribution(prior).log_prob(z), together, atol=1e-4)
        assert distribution(prior).log_prob(z[0]).shape == ()
        wide = distribution(prior).expand([3, 4])
        assert wide.log_prob(z[0]).shape == (3, 4)
        assert wide.sample((2,)).shape == (2, 3, 4, 2, 2, 3)


@every_prior
@pytest.mark.parametrize("thoughts", [LINE, PLANE], ids=["line", "plane"])
def test_the_density_integrates_to_one(name, thoughts):
    """By a sum over a grid; the energy's constant, which is an estimate, put right first."""
    prior = made(name, thoughts, seed=1).double()
    z, weights = grid(thoughts.dim)
    with torch.no_grad():
        total = float((log_prob(prior, z).exp() * weights).sum())
    if name == "energy-tilt":
        bound = prior.log_normaliser(draws=20_000)
        assert bound.upper - bound.lower < 0.2
        total *= torch.tensor(prior.log_constant() - 0.5 * (bound.lower + bound.upper)).exp()
        assert total == pytest.approx(1.0, abs=0.05)
    else:
        assert total == pytest.approx(1.0, abs=2e-3)


@every_prior
@pytest.mark.parametrize("seed", [0, 1])
def test_draws_have_the_densitys_moments(name, seed):
    """On the plane, means of tanh z, its products and exp(-z^2) against sums over a grid."""
    prior = made(name, PLANE, seed=2).double()
    z, weights = grid(2)
    with torch.no_grad():
        density = log_prob(prior, z).exp() * weights
    density = density / density.sum()
    torch.manual_seed(seed)
    drawn, _ = draw(prior, 4000)

    def features(z):
        t = z[:, 0, 0].tanh()
        within = (-z[:, 0, 0].square()).exp()
        products = (t[:, 0] * t[:, 1])[:, None]
        return torch.cat([t, t**2, products, within], 1)

    truth = (density[:, None] * features(z)).sum(0)
    assert (abs(z_scores(features(drawn), truth)) < 4.5).all()


@every_prior
def test_gradients_reach_every_parameter(name):
    prior = made(name)
    if not list(prior.parameters()):
        pytest.skip("nothing to learn")
    log_prob(prior, torch.randn(6, 2, 2, 3)).sum().backward()
    for key, parameter in prior.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key
        assert torch.isfinite(parameter.grad).all(), key


@every_prior
def test_ascent_from_the_start_raises_the_likelihood_of_draws_from_elsewhere(name):
    """Where a prior has parameters, gradient steps from its start fit shifted draws."""
    prior = made(name, rough=False)
    z = 1.5 * torch.randn(64, 2, 2, 3) + 2.0
    z[:32] *= -1
    parameters = list(prior.parameters())
    if not parameters:
        pytest.skip("nothing to learn")
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    with torch.no_grad():
        before = log_prob(prior, z).mean()
    for _ in range(60):
        optimizer.zero_grad()
        (-log_prob(prior, z).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        assert log_prob(prior, z).mean() > before + 0.02


@every_prior
@pytest.mark.parametrize("seed", [0, 1])
def test_the_analytic_kl_agrees_with_monte_carlo(name, seed):
    """Where torch knows KL(q || p) for a mean-field q; the others are estimated at the draw."""
    prior = made(name)
    torch.manual_seed(seed)
    guide = MeanField(THOUGHTS, 4)
    with torch.no_grad():
        guide.loc.normal_()
        guide.log_variance.normal_()
        q = guide.distribution()
        z = q.sample((4000,))
        if name == "layerwise":
            pairs = []
            for layer in range(2):
                before = [z[:1, :, i].expand_as(z[:, :, i]) for i in range(layer)]
                loc, log_scale = prior.parameters_of(layer, before)
                p = torch.distributions.Normal(loc, log_scale.exp())
                scale = (0.5 * guide.log_variance[:, layer]).exp()
                normal = torch.distributions.Normal(guide.loc[:, layer], scale)
                at = z[:, :, layer]
                difference = (normal.log_prob(at) - p.log_prob(at)).sum((-1, -2))
                exact = kl_divergence(normal, p).sum((-1, -2))
                pairs.append((difference, exact[0] if exact.dim() == 2 else exact))
        else:
            p = distribution(prior)
            difference = q.log_prob(z) - p.log_prob(z)
            try:
                pairs = [(difference, kl_divergence(q, p.expand([4])))]
            except NotImplementedError:
                assert name not in ("standard-normal", "learned-normal", "laplace", "conditional")
                return
    for difference, exact in pairs:
        assert (abs(z_scores(difference, exact)) < 4.5).all()


@every_prior
@pytest.mark.parametrize("device", DEVICES)
def test_follows_the_module_to_its_dtype_and_device(name, device):
    prior = made(name).double().to(device)
    z, log_p = (x.to(device) for x in draw(prior, 3, 4))
    assert z.dtype == log_p.dtype == torch.float64
    assert all(p.dtype == torch.float64 for p in prior.parameters())
    assert log_prob(prior, z).device.type == device
    single = copy.deepcopy(prior).float()
    values = log_prob(single, z.float())
    assert values.dtype == torch.float32
    tolerance = {"energy-tilt": 0.5}.get(name, 1e-3)  # other draws for its constant
    assert torch.allclose(values.double(), log_p, atol=tolerance, rtol=1e-4)


@every_prior
def test_state_dict_and_named_options_rebuild_it(name):
    prior = made(name)
    named = named_prior(prior)
    assert named.name == name
    assert CASES[name].items() <= dict(named.options).items()
    assert all(isinstance(v, int | float | str | bool) for v in named.options.values())
    again = build_prior(named, THOUGHTS, COLUMNS)
    again.load_state_dict(prior.state_dict())
    z = torch.randn(5, 2, 2, 3)
    with torch.no_grad():
        assert torch.equal(log_prob(again, z), log_prob(prior, z))


@every_prior
def test_a_model_has_the_prior_that_its_configuration_names(name):
    config = ltm.preset("tiny").replace(prior=Named(name, CASES[name]), thoughts=THOUGHTS)
    config = config.replace(data=dataclasses.replace(config.data, columns=COLUMNS))
    assert named_prior(LatentThoughtModel(config).prior) == named_prior(made(name))
    # One that is given goes first; a program of one's own is not given what it did not ask for.
    assert isinstance(LatentThoughtModel(config, priors.Mixture).prior, priors.Mixture)
    assert type(OwnProgram(config).prior) is priors.StandardNormal


class OwnProgram(LatentThoughtModel):
    """A program that takes no prior."""

    def __init__(self, config):
        super().__init__(config)


@every_prior
def test_draws_follow_from_the_global_seed(name):
    prior = made(name)
    first, second = (draw(prior, 3, 2)[0] for _ in range(2))
    assert not torch.equal(first, second)
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(draw(prior, 3, 2)[0])
    assert torch.equal(*found)


@pytest.mark.parametrize("name", ["standard-normal", "learned-normal", "layerwise", "flow",
                                  "energy-tilt", "conditional"])  # fmt: skip
def test_these_start_at_the_standard_normal(name):
    prior = made(name, rough=False)
    z = 2 * torch.randn(20, 2, 2, 3)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum((1, 2, 3))
    assert torch.allclose(log_prob(prior, z), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["mixture", "vamp-prior"])
def test_these_start_with_unit_variance_and_components_apart(name):
    prior = made(name, rough=False, components=4000)
    p = distribution(prior)
    variance = (p.loc.square().mean() + p.scale.square().mean()).item()
    assert variance == pytest.approx(1.0, abs=0.02)
    assert p.loc.std(0).min() > 0.4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mixture", {"components": 0}, "components is 0: expected a whole number, 1 or more"),
        ("mixture", {"components": 2.5}, "components is 2.5: expected a whole number"),
        ("mixture", {"components": True}, "components is True: expected a whole number"),
        (
            "mixture",
            {"spread": 1.0},
            "spread is 1.0: expected .*, more than 0 and less than 1",
        ),
        ("vamp-prior", {"components": -1}, "components is -1"),
        ("vamp-prior", {"spread": 0.0}, "spread is 0.0"),
        ("layerwise", {"hidden": 0}, "hidden is 0"),
        ("flow", {"kind": "nfs"}, "unknown prior.kind 'nfs': did you mean 'nsf'"),
        ("flow", {"transforms": 0}, "transforms is 0"),
        ("flow", {"hidden": "8"}, "hidden is '8': expected a whole number"),
        ("flow", {"autoregressive": 1}, "autoregressive is 1: expected True or False"),
        ("student-t", {"degrees": 0.0}, "degrees is 0.0: expected a finite number, more than 0"),
        ("student-t", {"degrees": float("nan")}, "degrees is nan"),
        ("student-t", {"scale": float("inf")}, "scale is inf"),
        ("laplace", {"scale": -1.0}, "scale is -1.0"),
        ("laplace", {"learned": "yes"}, "learned is 'yes': expected True or False"),
        ("horseshoe", {"nodes": 0}, "nodes is 0"),
        ("horseshoe", {"scale": 0}, "scale is 0"),
        (
            "energy-tilt",
            {"bound": 9.0},
            "bound is 9.0: expected .* more than 0 and less than 5",
        ),
        ("energy-tilt", {"draws": 1}, "draws is 1: expected a whole number, 2 or more"),
        ("energy-tilt", {"temperatures": 0}, "temperatures is 0"),
        ("energy-tilt", {"negatives": "mala"}, "unknown prior.negatives 'mala'"),
        ("energy-tilt", {"chains": 0}, "chains is 0"),
        ("energy-tilt", {"langevin_steps": 0}, "langevin_steps is 0"),
        ("energy-tilt", {"step": 0.0}, "step is 0.0"),
        ("energy-tilt", {"seed": -1}, "seed is -1"),
        ("mixture", {"component": 3}, "did you mean 'components'"),
        ("conditional", {}, "needs the name of the column it reads: give --prior.column NAME, of"),
        ("conditional", {"column": "gruop"}, "unknown column 'gruop': did you mean 'group'"),
        ("conditional", {"columns": 3}, "unknown option of prior conditional 'columns'"),
    ],
)
def test_options_that_cannot_be_used_are_told(name, options, message):
    with pytest.raises(ltm.InputError, match=message):
        build_prior(Named(name, options), THOUGHTS, COLUMNS)
