import functools

import pytest
import torch

from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference import fit_guide
from ltm_pyro.inference.released import LOG_VARIANCE, Released
from ltm_pyro.seeds import Noise


@pytest.fixture
def silent(model):
    """A decoder to which thoughts make no difference: its posterior is the prior."""
    with torch.no_grad():
        for layer in model.decoder.layers:
            layer.thought.out.weight.zero_()
    return model


def test_the_fast_loop_raises_the_bound(model, rows):
    guide = MeanField(model.thoughts, 5)
    inner = fit_guide(model, guide, rows, Fast(steps=40, lr=0.1, particles=8), Noise(0))
    assert inner.elbo.shape == inner.kl.shape == inner.gradient_norm.shape == (40, 5)
    gain = inner.elbo[-5:].mean(0) - inner.elbo[:5].mean(0)
    assert (gain > 0).all()
    assert inner.lr[0] == pytest.approx(0.1)
    assert inner.lr[-1] == pytest.approx(0.01)


def test_no_gradient_reaches_the_model(model, rows):
    fit_guide(model, MeanField(model.thoughts, 5), rows, Fast(steps=2), Noise(0))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_the_released_leak_is_there_when_asked_for(model, rows):
    fit_guide(model, MeanField(model.thoughts, 5), rows, Fast(steps=2), Noise(0), leak=True)
    assert all(p.grad is not None for p in model.parameters())


def test_every_step_has_fresh_noise_unless_fixed(silent, rows):
    seen = {}
    for kind in ("fresh", "fixed"):
        draws = []

        class Spy(MeanField):
            def forward(self, batch, draws=draws):
                z = super().forward(batch)
                draws.append(((z - self.loc) / (0.5 * self.log_variance).exp()).detach())
                return z

        fast = Fast(steps=4) if kind == "fresh" else Released(steps=4)
        fit_guide(silent, Spy(silent.thoughts, 5), rows, fast, fast.draws(0, rows.key))
        seen[kind] = [not torch.allclose(a, draws[0], atol=1e-5) for a in draws[1:]]
    assert seen == {"fresh": [True] * 3, "fixed": [False] * 3}


def kl_left(model, rows, guide, fast):
    """KL per latent dimension after the loop, where the text says nothing about the thoughts."""
    fit_guide(model, guide, rows, fast, Noise(0))
    return (
        torch.distributions.kl_divergence(
            guide.distribution(), model.prior.distribution().expand((5,))
        )
        .mean()
        .item()
        / 12
    )


def test_the_default_loop_can_return_to_the_prior(silent, rows):
    fast = Fast()
    assert kl_left(silent, rows, MeanField(silent.thoughts, 5), fast) < 1e-6
    displaced = MeanField(silent.thoughts, 5, log_variance=-1.0)
    with torch.no_grad():
        displaced.loc += 1.0
    before = (
        torch.distributions.kl_divergence(
            displaced.distribution(), silent.prior.distribution().expand((5,))
        )
        .mean()
        .item()
        / 12
    )
    assert before > 0.6
    assert kl_left(silent, rows, displaced, fast) < 0.05


def test_the_released_loop_cannot(silent, rows):
    guide = MeanField(silent.thoughts, 5, log_variance=LOG_VARIANCE)
    assert kl_left(silent, rows, guide, Released(16)) > 0.5


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [("SGD", {"momentum": 0.9}), ("RMSprop", {}), (torch.optim.Adagrad, {})],
)
def test_any_torch_optimizer(model, rows, optimizer, options):
    guide = MeanField(model.thoughts, 5)
    fit_guide(
        model, guide, rows, Fast(steps=2, lr=0.01, optimizer=optimizer, options=options), Noise(0)
    )
    assert guide.loc.abs().sum() > 0


@pytest.mark.parametrize(
    ("fast", "message"),
    [
        (functools.partial(Fast, optimizer="LBFGS"), "optimizer LBFGS evaluates the loss itself"),
        (functools.partial(Fast, optimizer="Adm"), "unknown optimizer 'Adm': did you mean 'Adam'"),
        (
            functools.partial(Fast, options={"beta": 1}),
            "optimizer Adam.*unexpected keyword.*'beta'",
        ),
    ],
)
def test_a_wrong_optimizer_is_named(model, rows, fast, message):
    with pytest.raises(InputError, match=message):
        fit_guide(model, MeanField(model.thoughts, 5), rows, fast(), Noise(0))
