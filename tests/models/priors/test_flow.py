"""The flow: invertible, normalised, of either kind, and told of when zuko is missing."""

import subprocess
import sys

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Thoughts
from ltm_pyro.models.priors import Flow

from .common import LINE, PLANE, THOUGHTS, draw, grid, log_prob, roughen

kinds = pytest.mark.parametrize(
    "options",
    [{}, {"kind": "maf"}, {"autoregressive": True}, {"kind": "maf", "autoregressive": True}],
    ids=str,
)


def rough(thoughts=THOUGHTS, **options):
    return roughen(Flow(thoughts, **{"hidden": 8} | options))


@kinds
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_density_of_a_draw_is_the_same_from_both_directions(options, dtype, error):
    """A draw's density is known from the noise it was made of; `log_prob` inverts the flow."""
    prior = rough(**options).to(dtype)
    z, from_noise = draw(prior, 500)
    with torch.no_grad():
        from_z = log_prob(prior, z)
        transform = prior.transform()
        back = transform.inv(transform(z.flatten(1))).unflatten(1, prior.shape)
    assert (from_z - from_noise).abs().max() < 10 * error
    assert (back - z).abs().max() < error


@kinds
@pytest.mark.parametrize("thoughts", [LINE, PLANE], ids=["line", "plane"])
def test_each_kind_is_normalised_and_without_the_log_determinant_is_not(options, thoughts):
    prior = rough(thoughts, **options).double()
    z, weights = grid(thoughts.dim)
    with torch.no_grad():
        total = (log_prob(prior, z).exp() * weights).sum()
        noise = prior.transform()(z.flatten(1))
        normal = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum(1)
        wrong = (normal.exp() * weights).sum()
    assert total == pytest.approx(1.0, abs=5e-3)  # splines have kinks; the grid does not
    assert abs(wrong - 1) > 0.01


@kinds
def test_a_new_flow_is_the_identity(options):
    z = 3 * torch.randn(50, 2, 2, 3)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum((1, 2, 3))
    assert torch.allclose(log_prob(Flow(THOUGHTS, **options), z), expected, atol=1e-3)


@kinds
def test_dimensions_depend_on_one_another(options):
    transform = rough(**options).transform()
    jacobian = torch.autograd.functional.jacobian(transform, torch.randn(12))
    assert (jacobian - torch.diag(jacobian.diagonal())).abs().sum() > 1e-3


def test_a_wide_draw_costs_two_passes_unless_autoregressive():
    passes = {}
    for autoregressive in (False, True):
        prior = Flow(Thoughts(2, 2, 4), hidden=4, autoregressive=autoregressive)
        network = prior.transform.transforms[0].hyper
        calls = []
        network.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        prior.distribution().sample((3,))
        passes[autoregressive] = len(calls)
    assert passes == {False: 2, True: 16}


def test_without_zuko_it_tells_how_to_get_it(monkeypatch):
    for name in [m for m in sys.modules if m.split(".")[0] == "zuko"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(ltm.InputError, match=r"pip install 'ltm_pyro\[flows\]'"):
        Flow(THOUGHTS)


@pytest.mark.slow
def test_the_other_priors_do_without_zuko():
    """Nothing imports zuko until a flow is made."""
    code = "import sys, ltm_pyro.models.priors; assert 'zuko' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
