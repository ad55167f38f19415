"""The energy's constant, its gradient and its draws, against sums over a grid."""

import dataclasses

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.errors import NotFinite
from ltm_pyro.guides import MeanField
from ltm_pyro.models import LinearGaussianModel
from ltm_pyro.models.priors import EnergyTilt
from ltm_pyro.programs.densities import log_weights, simulate
from ltm_pyro.programs.elbo import frozen
from ltm_pyro.seeds import seeded

from .common import LINE, PLANE, grid, z_scores

shapes = pytest.mark.parametrize("thoughts", [LINE, PLANE], ids=["line", "plane"])


def energy(thoughts=PLANE, weights=0, **options):
    """Strong random weights: f reaches far up and down."""
    prior = EnergyTilt(thoughts, **{"hidden": 6} | options).double()
    source = torch.Generator().manual_seed(weights)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=source, dtype=torch.float64))
    return prior


def standard(z):
    return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum((-1, -2, -3))


def exact_log_c(prior):
    z, weights = grid(prior.thoughts.dim)
    return (standard(z) + prior.tilt(z) + weights.log()).logsumexp(0)


def normalisers(prior, seeds, draws):
    found = [prior.log_normaliser(draws, seed) for seed in range(seeds)]
    return np.array([n.lower for n in found]), np.array([n.upper for n in found])


def excesses(prior, seeds):
    """Estimates minus the truth, (temperatures, draws) -> (lower, upper), for few draws."""
    truth = float(exact_log_c(prior).detach())
    found = {}
    for temperatures, draws in ((1, 2), (1, 16), (4, 2), (4, 16)):
        prior.temperatures = temperatures
        lower, upper = normalisers(prior, seeds, draws)
        found[temperatures, draws] = (lower - truth, upper - truth)
        assert z_scores(lower, truth) < 4
        assert z_scores(upper, truth) > -4
    return found


@shapes
def test_the_constant_is_bounded_from_both_sides(thoughts):
    found = excesses(energy(thoughts, weights=4), seeds=200)
    lower, upper = found[1, 2]
    assert z_scores(lower, 0.0) < -4, "the forward direction would be no upper bound"
    assert upper.mean() > found[1, 16][1].mean(), "more draws tighten it"
    assert upper.mean() > found[4, 2][1].mean(), "more temperatures tighten it"


@pytest.mark.slow
@shapes
@pytest.mark.parametrize("weights", range(6))
@pytest.mark.parametrize("bound", [1.0, 3.0, 4.5])
def test_the_constant_is_bounded_from_both_sides_at_full_size(thoughts, weights, bound):
    excesses(energy(thoughts, weights, bound=bound, hidden=12), seeds=1500)


@shapes
def test_the_constant_is_tight_and_knows_its_error(thoughts):
    prior = energy(thoughts)
    truth = float(exact_log_c(prior).detach())
    lower, upper = normalisers(prior, 20, 1024)
    claimed = prior.log_normaliser(1024)
    assert abs(upper.mean() - truth) < 0.03
    assert abs(lower.mean() - truth) < 0.03
    assert claimed.upper_error < 0.05
    for values, error in ((upper, claimed.upper_error), (lower, claimed.lower_error)):
        assert 0.5 < values.std(ddof=1) / error < 1.6
    assert abs(claimed.upper - truth) < 4.5 * claimed.upper_error


def test_the_figures_stay_bounds_and_without_the_constant_they_would_not():
    """log p(x) of a linear-Gaussian model whose prior is tilted, by importance weights."""
    prior = energy(weights=1, draws=8, temperatures=1)
    model = LinearGaussianModel(PLANE, torch.randn(4, 2, dtype=torch.float64), scale=1.5).double()
    model.prior = prior
    rows, _ = simulate(model, torch.tensor([4, 3, 4]), seed=0)
    z, cells = grid(2)
    likelihood = torch.distributions.Normal(z.flatten(1) @ model.weight.T + model.bias, 1.5)
    with torch.no_grad():
        truth = torch.stack([
            (standard(z) + prior.tilt(z) - exact_log_c(prior) + cells.log()
             + likelihood.log_prob(x)[:, :n].sum(1)).logsumexp(0)
            for x, n in zip(rows.tokens, rows.lengths, strict=True)
        ])  # fmt: skip
        found, without = [], []
        for seed in range(60):
            prior.seed, prior._known = seed, None
            weights = log_weights(model, MeanField(PLANE, 3).double(), rows, 400)
            found.append((weights.logsumexp(0) - np.log(400) - truth).mean().item())
            without.append(found[-1] + prior.log_constant())
    assert exact_log_c(prior) > 0.1
    assert z_scores(found, 0.0) < 4
    assert z_scores(without, 0.0) > 4


def exact_gradient(prior):
    prior.zero_grad()
    exact_log_c(prior).backward()
    return torch.cat([p.grad.flatten() for p in prior.parameters()])


def surrogate_gradients(prior, seeds):
    """Of the constant in log p(z), by what `log_prob` adds to the gradient of log N + f."""
    z = torch.randn(1, *prior.shape, dtype=torch.float64)
    found = []
    for _ in range(seeds):
        prior.zero_grad()
        (standard(z) + prior.tilt(z) - prior.log_prob(z)).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in prior.parameters()]))
    return torch.stack(found)


@shapes
@pytest.mark.parametrize("weights", [0, 1, 2])
def test_the_gradient_of_the_constant_is_unbiased(thoughts, weights):
    prior = energy(thoughts, weights, chains=64)
    truth = exact_gradient(prior)
    found = surrogate_gradients(prior, 150)
    assert abs(z_scores(found, truth)).max() < 4.5
    assert abs(z_scores(found, 0.0)).max() > 4.5, "a constant without a gradient would be wrong"


@pytest.mark.slow
@shapes
@pytest.mark.parametrize("weights", range(8))
def test_the_gradient_of_the_constant_is_unbiased_at_full_size(thoughts, weights):
    prior = energy(thoughts, weights, chains=64, bound=4.0)
    found = surrogate_gradients(prior, 3000)
    assert abs(z_scores(found, exact_gradient(prior))).max() < 4.5


def test_a_long_langevin_run_gives_the_same_gradient_and_a_short_one_comes_near():
    truth = exact_gradient(energy())
    long = energy(negatives="langevin", langevin_steps=150, step=0.3, chains=64)
    found = surrogate_gradients(long, 40)
    assert abs(z_scores(found, truth)).max() < 4.5
    short = surrogate_gradients(energy(negatives="langevin", chains=256), 40).mean(0)
    assert torch.nn.functional.cosine_similarity(short, truth, 0) > 0.9


def features(z):
    z = z.flatten(1)
    return torch.cat([z, z.square(), z.prod(1, keepdim=True), (-z.square()).exp()], 1)


@shapes
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_by_rejection_have_the_right_moments(thoughts, seed, temperature):
    check_moments(energy(thoughts, seed), seed, temperature)


@shapes
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_draws_by_langevin_have_the_right_moments(thoughts, seed):
    check_moments(energy(thoughts, seed, step=0.3), seed, by_langevin=True)


def check_moments(prior, seed, temperature=1.0, by_langevin=False):
    z, weights = grid(prior.thoughts.dim)
    with torch.no_grad(), seeded(seed):
        drawn = (
            prior.langevin_draws(3000, 150) if by_langevin else prior.exact_draws(3000, temperature)
        )
        assert drawn.shape == (3000, *prior.shape)
        for power in (temperature, 0.0):
            density = (standard(z) + power * prior.tilt(z) + weights.log()).softmax(0)
            truth = (density[:, None] * features(z)).sum(0)
            away = abs(z_scores(features(drawn), truth)).max()
            if power:
                assert away < 4.5
            elif seed == 0:
                assert away > 4.5, "draws from N(0, I) would be wrong"


def test_the_constant_is_kept_while_the_weights_are_the_same():
    prior = energy(draws=16)
    state = torch.get_rng_state()
    first = prior.log_constant()
    assert torch.equal(torch.get_rng_state(), state), "its draws come from its own seed"
    prior.log_normaliser = None
    assert prior.log_constant() == first
    del prior.log_normaliser

    def by_optimizer():
        for parameter in prior.parameters():
            parameter.grad = torch.ones_like(parameter)
        torch.optim.SGD(prior.parameters(), lr=0.1).step()

    def by_data():  # some optimizers do; the version counter does not see it
        prior.last.weight.data.mul_(0.5)

    def by_loading():
        prior.load_state_dict(energy(weights=3).state_dict())

    for change in (by_optimizer, by_data, by_loading):
        change()
        found = prior.log_constant()
        assert found != first
        prior._known = None
        assert prior.log_constant() == found
        first = found


def test_negative_draws_are_others_each_time_and_only_where_gradients_are_wanted():
    def gradient(prior):
        prior.zero_grad()
        prior.log_prob(z).sum().backward()
        return prior.last.weight.grad.clone()

    z = torch.randn(4, *PLANE.shape, dtype=torch.float64)
    prior = energy(chains=4)
    assert not torch.equal(gradient(prior), gradient(prior))
    after = []
    for other in (prior, prior, energy(weights=2, chains=50)):
        torch.manual_seed(1)
        after.append((gradient(other), torch.rand(1)))
    assert torch.equal(after[0][0], after[1][0])
    assert after[0][1] == after[2][1], "what is drawn next does not depend on how many it took"

    state = torch.get_rng_state()
    with torch.no_grad():
        prior.log_prob(z)
    with frozen(prior):
        prior.log_prob(z.requires_grad_()).sum().backward()
    assert torch.equal(torch.get_rng_state(), state)
    assert z.grad is not None


def test_the_gradient_in_z_is_that_of_the_density():
    prior = energy()
    z = torch.randn(3, *PLANE.shape, dtype=torch.float64, requires_grad=True)
    with frozen(prior):
        assert torch.autograd.gradcheck(prior.log_prob, (z,))


def test_it_learns_two_clusters():
    """Fitted to draws from two narrow normals; scored by the exact constant."""
    source = torch.Generator().manual_seed(0)
    data = 0.4 * torch.randn(512, *PLANE.shape, generator=source)
    data[:256] += 1.2
    data[256:] -= 1.2
    prior = EnergyTilt(PLANE, hidden=16, draws=64)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        (-prior.log_prob(data).mean()).backward()
        optimizer.step()
    prior, data = prior.double(), data.double()
    with torch.no_grad():
        gain = (prior.tilt(data) - exact_log_c(prior)).mean()
    assert gain > 0.4


def test_weights_that_are_not_finite_are_told():
    prior = energy()
    with torch.no_grad():
        prior.first.weight[0, 0] = float("nan")
    with pytest.raises(NotFinite, match="the energy of the prior is not finite"):
        prior.distribution().sample()
    with pytest.raises(NotFinite, match="the energy of the prior is not finite"):
        prior.log_prob(torch.zeros(1, *PLANE.shape, dtype=torch.float64))


def test_draws_are_cheap_at_the_start_and_bounded_in_memory(monkeypatch):
    """At the start nothing is rejected, however large `bound` is; proposals come in pieces."""
    prior = EnergyTilt(Thoughts(2, 4, 8), bound=4.9, hidden=16)
    proposals = []
    plain = prior._tilt_along
    prior._tilt_along = lambda u, inside: proposals.append(u.shape) or plain(u, inside)
    monkeypatch.setattr("ltm_pyro.models.priors.energy.PROPOSED_AT_ONCE", 16 * 1000)
    assert prior.exact_draws(5000).shape == (5000, 2, 4, 8)
    assert sum(n for n, _ in proposals) < 1.2 * 5000
    assert {(n <= 1000, k) for n, k in proposals} == {(True, 16)}


@pytest.mark.parametrize("hidden", [3, 6, 40], ids=["narrow", "square", "wide"])
def test_proposals_along_the_rows_are_those_of_the_whole_z(hidden):
    """Six dimensions: the tilt of draws, and their means along and across W's rows."""
    prior = energy(Thoughts(1, 2, 3), weights=5, hidden=hidden)
    with torch.no_grad():
        z = prior.exact_draws(4000)
        basis, inside = prior._along_the_rows()
        along = z.flatten(1) @ basis
        assert torch.allclose(prior._tilt_along(along, inside), prior.tilt(z))
        assert torch.allclose(basis @ inside, prior.first.weight.T)
        proposed = torch.randn(400_000, *prior.shape, dtype=torch.float64)
        kept = torch.rand(400_000).log() < prior.tilt(proposed) - prior.bound
        plain = proposed[kept]
    assert len(plain) > 2000
    pooled = (z.flatten(1).var(0) / len(z) + plain.flatten(1).var(0) / len(plain)).sqrt()
    assert ((z.mean(0) - plain.mean(0)).flatten().abs() < 4.5 * pooled).all()
    covariance = torch.cov(z.flatten(1).T) - torch.cov(plain.flatten(1).T)
    assert covariance.abs().max() < 0.15  # some 4.5 standard errors of 2,000 draws


def test_the_constant_in_the_density_is_not_understated():
    """On average over seeds what `log_prob` uses lies above log C, known by quadrature."""
    prior = energy(weights=4, draws=4, temperatures=1)
    log_c, used = exact_log_c(prior), []
    for seed in range(150):
        prior.seed, prior._known = seed, None
        used.append(prior.log_constant() - float(log_c))
    assert z_scores(used, 0.0) > 4  # the lower end: below -4


def test_the_constants_error_is_part_of_every_figure_that_holds_it():
    """Constants from other seeds move a figure's total by what its error says, all rows alike."""
    model = LinearGaussianModel(PLANE, torch.tensor([[1.0, 0.5], [0.2, 1.0]]).double())
    model.prior = energy(draws=64)
    rows, _ = simulate(model, torch.full((30,), 2), 0)
    names, found = ["elbo:2", "ais:2", "ais_prior:2", "prior:2"], []
    for seed in range(30):
        model.prior.seed, model.prior._known = seed, None
        found.append(ltm.evaluate(model, rows, names, fast=Fast(steps=0), repeat=0, progress=False))
    for name in ("elbo", "ais"):
        values = np.array([one[name].nats_per_token for one in found])
        printed = np.mean([one[name].to_dict()["constant_error"] for one in found])
        assert values.std(ddof=1) == pytest.approx(printed, rel=0.5)
        figure = found[0][name]
        assert figure.monte_carlo_error > figure.constant_error / figure.tokens.sum() > 0
        assert figure.standard_error > figure.constant_error / figure.tokens.sum()
    for name in ("prior", "ais_prior"):  # which holds no density, or in which it cancels
        assert found[0][name].constant_error == 0
        assert np.ptp([one[name].nats_per_token for one in found]) < 1e-4


def test_chunks_that_are_drawn_by_rejection_have_draws_of_their_own():
    """A figure's error over seeds is the printed one however many chunks there are: with one draw
    for all of them, as of one stream, twelve chunks err three times as much."""
    model = LinearGaussianModel(PLANE, torch.eye(2).double())
    model.prior = energy(draws=64)
    rows, _ = simulate(model, torch.full((96,), 2), 0)
    alike = 2 + 0.1 * rows.tokens  # so that one draw of z does the same to all
    rows = dataclasses.replace(rows, tokens=alike)
    found = [
        ltm.evaluate(
            model, rows, ["prior:4"], fast=Fast(steps=0), seed=seed, chunk=8, progress=False
        )["prior"]
        for seed in range(40)
    ]
    values = np.array([one.nats_per_token for one in found])
    printed = np.sqrt(np.mean([one.monte_carlo_error**2 for one in found]))
    reach = 3.5 / np.sqrt(2 * (len(found) - 1))
    assert abs(np.log(values.std(ddof=1) / printed)) < reach
