"""log p(x) between two ends on models where it is known, and what must be refused."""

import dataclasses
import json
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro import seeds
from ltm_pyro.bounds import certify, sandwich
from ltm_pyro.bounds.annealed import Path, State
from ltm_pyro.bounds.certify import CHAINS
from ltm_pyro.bounds.enclosed import Ends, Setup, enclose, ends_of
from ltm_pyro.bounds.gate import Gate, Misses, gate
from ltm_pyro.bounds.importance import grid
from ltm_pyro.bounds.schedule import EvenPath, _between
from ltm_pyro.bounds.upper import SIMULATED, upper
from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.models import LatentThoughtModel, LinearGaussianModel, priors
from ltm_pyro.programs.densities import prior_of, simulate
from ltm_pyro.seeds import Noise, generator

from ..conftest import some_rows
from ..exact import linear_gaussian, task, tiny_decoder, z_score

FITTED = Fast(steps=20, lr=0.5, optimizer="NaturalGradient", particles=4)


def gentle(documents: int = 40, size: int = 6, scale: float = 0.15):
    """A linear-Gaussian model whose posterior a mean-field guide nearly is; exact log p(x)."""
    weight = scale * torch.randn(8, size, generator=generator(3))
    model = LinearGaussianModel(Thoughts(2, 1, size // 2), weight, scale=0.8)
    rows, _ = simulate(model, torch.full((documents,), 8), 1)
    return model, rows, model.log_marginal(rows).detach().double().numpy()


def log_normal(spread: float, draws: int, documents: int, seed: int) -> torch.Tensor:
    """Log weights whose mean weight is 1."""
    noise = torch.randn(draws, documents, generator=generator(seed), dtype=torch.float64)
    return spread * noise - spread**2 / 2


def heavy(k: float, draws: int, documents: int, seed: int) -> torch.Tensor:
    """Log weights with a Pareto tail of shape k and mean weight 1."""
    uniform = torch.rand(draws, documents, generator=generator(seed), dtype=torch.float64)
    return -k * uniform.log() + math.log(1 - k)


def test_two_runs_enclose_and_each_end_is_off_by_half_the_variance():
    lower, upper = ends_of(log_normal(1.0, 64, 20_000, 0), log_normal(1.0, 64, 20_000, 1))
    half = math.expm1(1.0) / 64 / 2
    assert (upper >= lower).all()
    assert z_score(lower.numpy()) < -4
    assert z_score(upper.numpy()) > 4
    assert float(lower.mean()) == pytest.approx(-half, rel=0.35)
    assert float(upper.mean()) == pytest.approx(half, rel=0.35)


def test_documents_chosen_by_their_own_draws_would_fall_below_the_truth():
    """Weights that missed their tail look light: the gate needs draws of its own."""
    first, second, own = (heavy(0.6, 128, 1500, seed) for seed in (0, 1, 2))
    upper = ends_of(first, second)[1].numpy()
    honest, circular = gate(own).allowed, gate(first).allowed & gate(second).allowed
    assert honest.sum() > 50
    assert circular.sum() > 30
    assert z_score(upper[honest]) > -3
    assert z_score(upper[circular]) < -4


@pytest.mark.parametrize("seeds_", [4, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("size", [6, 24])
def test_the_ends_enclose_what_is_known(size, seeds_):
    model, rows, exact = gentle(size=size, scale=0.15 if size == 6 else 0.12)
    lower, upper, inside = [], [], []
    for seed in range(seeds_):
        found = certify(
            model, rows, fast=FITTED, temperatures=1, simulated=20, seed=seed, progress=False
        )
        here = found.certified
        assert here.mean() > 0.5
        lower.append((found.lower - exact)[here].sum())
        upper.append((found.upper - exact)[here].sum())
        least, most = found.interval
        inside.append(least <= -exact[here].sum() <= most)
        assert (found.width >= 0).all()
        assert found.width[here].mean() < 0.02
    assert z_score(lower) < 4
    assert z_score(upper) > -4
    # 95% each: fewer would be seen once in 10,000 times
    assert sum(inside) >= {4: 2, 24: 18}[seeds_]


def test_annealing_certifies_what_importance_weights_do_not():
    model, rows, exact = gentle(8, 6, 0.3)
    plain = certify(model, rows, fast=FITTED, temperatures=1, simulated=0, progress=False)
    found = certify(model, rows, fast=FITTED, temperatures=4, simulated=0, progress=False)
    assert found.certified.sum() > plain.certified.sum()
    assert set(found.temperatures) > {1}
    here = found.certified
    assert z_score((found.lower - exact)[here]) < 4
    assert z_score((found.upper - exact)[here]) > -4


def test_a_decoder_beside_quadrature():
    model, rows = tiny_decoder(0, 12)
    exact = -grid(task(model, rows, MeanField), 72).nats.double().numpy()
    found = certify(model, rows, fast=FITTED, temperatures=1, simulated=24, progress=False)
    here = found.certified
    least, most = found.interval
    assert here.mean() > 0.5
    assert least - 0.01 * here.sum() < -exact[here].sum() < most + 0.01 * here.sum()


class Even(LinearGaussianModel):
    """x depends on |z|: a posterior of two modes, of which a normal guide finds one."""

    def forward(self, batch, prelude=None):
        with pyro.plate("documents", len(batch), dim=-1):
            z = self.prior(batch)
            mean = z.flatten(-3).abs() @ self.weight[: batch.tokens.shape[1]].T
            fn = dist.Normal(mean, self.scale).mask(batch.mask).to_event(1)
            pyro.sample("tokens", fn, obs=batch.tokens)
        return z


def test_a_mode_that_the_guide_misses_is_refused():
    model = Even(Thoughts(1, 1, 1), torch.full((8, 1), 2.0), scale=0.5)
    rows, _ = simulate(model, torch.full((24,), 8), 0)
    exact = -grid(task(model, rows, MeanField), 4000).nats.double().numpy()
    found = certify(model, rows, fast=FITTED, temperatures=1, simulated=48, progress=False)
    assert not found.certified.any()
    assert "missed the thoughts" in found.reason[0]
    assert found.misses.missed > 0.2 * found.misses.tried
    # Weights alone tell nothing: without the model's own documents half of p(x) is certified.
    blind = certify(model, rows, fast=FITTED, temperatures=1, simulated=0, progress=False)
    here = blind.certified
    assert here.mean() > 0.5
    assert (blind.upper - exact)[here].mean() < -0.5
    assert "not looked for" in str(blind)


@pytest.mark.parametrize("particles", [1, 16])
def test_weights_of_even_steps_are_unbiased(particles):
    model, rows = linear_gaussian(0, documents=4)
    with torch.no_grad():
        exact = model.log_marginal(rows)
    path = EvenPath(model, prior_of(model), rows, 6, 0, particles=particles)
    ratio = (path.forward({1: 4000, 16: 500}[particles]) - exact).exp().numpy()
    for document in range(4):
        assert abs(z_score(ratio[:, document], 1.0)) < 4.5
    again, other = path.forward(3, 1), path.forward(3, 2)
    assert not torch.equal(again, other)
    assert torch.equal(again, path.forward(3, 1))


def test_temperatures_stand_where_they_cost_least():
    model, rows = linear_gaussian(0, documents=16)
    even, sigmoid = (
        kind(model, prior_of(model), rows, 8, 0).forward(200).std(0).mean()
        for kind in (EvenPath, Path)
    )
    assert even < 0.85 * sigmoid
    path = EvenPath(model, prior_of(model), rows, 8, 0)
    betas = torch.stack(list(path.betas))
    assert betas.shape == (9, 16)
    assert ((betas[1:] - betas[:-1]) > 0).all()
    assert betas[0].max() == 0
    assert betas[-1].min() == 1


def test_temperatures_of_a_document_are_its_own():
    """A neighbour whose chains move a thousand times as much changes nothing."""
    model, rows = linear_gaussian(0, documents=6)
    loud = dataclasses.replace(rows, tokens=rows.tokens * torch.tensor([[1e4], *[[1.0]] * 5]))
    beside = EvenPath(model, prior_of(model), loud, 4, 0)
    alone = EvenPath(model, prior_of(model), loud[1:], 4, 0)
    for ours, its in zip(beside.betas, alone.betas, strict=True):
        torch.testing.assert_close(ours[1:], its, atol=1e-5, rtol=1e-4)


def test_resampling_helps_where_weights_are_uneven():
    model, rows = linear_gaussian(0, documents=16)
    path = EvenPath(model, prior_of(model), rows, 8, 0, particles=8)
    population = path.forward(60).std(0)
    log_w = EvenPath(model, prior_of(model), rows, 8, 0).forward(480)
    alone = (torch.logsumexp(log_w.reshape(60, 8, 16), 1) - math.log(8)).std(0)
    assert population.mean() < alone.mean()


def test_fit_pilot_gate_and_both_runs_share_no_draw(monkeypatch):
    model, rows, _ = gentle(4)
    found = []
    mixed = seeds._mixed

    def spy(seed, keys):
        found.append(seed)
        return mixed(seed, keys)

    monkeypatch.setattr(seeds, "_mixed", spy)
    monkeypatch.setattr("ltm_pyro.bounds.gate.TOLERANCE", 1e-3)  # all are annealed
    monkeypatch.setattr("ltm_pyro.bounds.enclosed.HOPE", 1e9)
    certify(
        model, rows, fast=dataclasses.replace(FITTED, steps=2), temperatures=2, chains=30,
        simulated=0, progress=False,
    )  # fmt: skip
    steps = 2 * 2  # a draw and an optimizer's step for each of two; fitted again to be annealed
    assert len(found) - len(set(found)) == steps
    certificate = set(found)
    found.clear()
    ltm.evaluate(model, rows, ["elbo:4", "iwae:9", "ais:3", "prior:4"], fast=FITTED, progress=False)
    assert not certificate & set(found)


def test_a_khat_that_is_no_number_certifies_nothing(monkeypatch):
    model, rows, _ = gentle(2)
    unknown = lambda log_w: np.full(len(log_w[0]), np.nan)  # noqa: E731
    monkeypatch.setattr("ltm_pyro.bounds.gate.pareto_khat", unknown)
    found = certify(
        model, rows, fast=dataclasses.replace(FITTED, steps=2), temperatures=1, chains=30,
        simulated=0, progress=False,
    )  # fmt: skip
    assert not found.certified.any()
    assert all("k-hat nan" in reason for reason in found.reason)


def test_the_gate_tells_why():
    seen = gate(torch.cat([log_normal(0.5, 256, 1, 0), log_normal(3.0, 256, 1, 1)], 1))
    assert seen.allowed.tolist() == [True, False]
    assert seen.reason(0, 1) == ""
    assert "log weights spread by" in seen.reason(1, 1)
    assert "temperatures needed" in seen.reason(1, 1)
    assert "k-hat" in gate(heavy(0.9, 256, 1, 0) * 0.99).reason(0, 1)
    broken = log_normal(0.5, 256, 1, 0)
    broken[0] = -torch.inf
    assert gate(broken).reason(0, 1) == "log weights are not finite"
    with pytest.raises(InputError, match="its gate needs 30 or more"):
        gate(log_normal(0.5, 10, 1, 0))


def test_the_share_of_misses_has_an_exact_limit():
    assert Misses(32, 32, 0).limit == pytest.approx(1 - 0.05 ** (1 / 32))
    assert Misses(32, 20, 20).limit == 1.0
    assert Misses(32, 32, 1).verdict == ""
    assert "missed the thoughts of 2 of 32" in Misses(32, 32, 2).verdict
    assert "none passed the gate" in Misses(32, 0, 0).verdict
    assert "only 7 passed the gate, too few to tell" in Misses(32, 7, 0).verdict
    assert Misses(32, 8, 0).verdict == "" == Misses(4, 4, 0).verdict
    assert Misses(32, 8, 0).limit < 1 / 3


def test_rows_of_a_document_are_summed_and_all_must_pass():
    model, rows, _ = gentle(12)
    shared = dataclasses.replace(rows, document=torch.arange(12) // 3)
    one = certify(model, rows, fast=FITTED, temperatures=1, simulated=0, progress=False)
    found = certify(model, shared, fast=FITTED, temperatures=1, simulated=0, progress=False)
    np.testing.assert_allclose(found.lower, one.lower.reshape(4, 3).sum(1), rtol=1e-6)
    np.testing.assert_allclose(found.error, np.sqrt((one.error.reshape(4, 3) ** 2).sum(1)))
    np.testing.assert_array_equal(found.certified, one.certified.reshape(4, 3).all(1))


def test_what_it_prints_and_gives():
    model, rows, _ = gentle(16)
    found = certify(model, rows, fast=FITTED, temperatures=1, simulated=0, progress=False)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    least, most = data["nats_per_token"]
    assert least < most
    assert data["perplexity"] == pytest.approx([math.exp(least), math.exp(most)])
    assert data["interval_95"]["nats_per_token"][0] < least
    assert len(data["per_document"]) == 16
    one = data["per_document"][0]
    assert one["width"] == pytest.approx(one["at_most"] - one["at_least"])
    whole = [sum(one[end] for one in data["per_document"] if one["certified"])
             for end in ("at_least", "at_most")]  # fmt: skip
    assert [least, most] == pytest.approx([nats / data["tokens"] for nats in whole])
    assert data["constant_error_nats"] == 0
    fit = "MeanField, 20 fast steps of NaturalGradient at 0.5 by 4 draws each"
    assert f"{fit}; two runs of 256" in data["protocol"]
    assert "annealed" not in data["protocol"]
    assert data["share"] == found.certified.mean()
    assert "enclosed for" in str(found)
    for wrong in ({"temperatures": 0}, {"chains": 24}, {"simulated": -1}, {"particles": 0}):
        with pytest.raises(InputError, match="expected a whole number"):
            certify(model, rows, **wrong)
    annealed = Setup(MeanField, FITTED, 16, 256, 2, 64, False).protocol
    assert "(128 where annealed, over at most 16 temperatures, 2 particles a weight)" in annealed
    with pytest.raises(InputError, match="no rows to score"):
        certify(model, rows[:0])


def test_the_figure_stands_beside_the_others():
    model, rows = tiny_decoder(0, 8)
    report = ltm.evaluate(
        model, rows, ["iwae:64", "upper:1"], fast=FITTED, repeat=0, progress=False
    )
    upper = report["upper"]
    assert not upper.is_bound
    assert "the other side" in upper.protocol
    assert upper.nats.min() >= 0
    exact = grid(task(model, rows, MeanField), 72).nats.numpy()
    assert (upper.nats - exact)[upper.nats > 0].mean() < 0.02
    assert upper.nats_per_token < report["iwae"].nats_per_token


def tilted(draws: int, bound: float = 3.0):
    """A linear-Gaussian model of two dimensions whose prior is an energy, its constant from few."""
    thoughts = Thoughts(2, 1, 1)
    model = LinearGaussianModel(thoughts, 0.4 * torch.tensor([[1.0, 0.5], [0.2, 1.0]]))
    prior = priors.EnergyTilt(thoughts, bound=bound, hidden=6, draws=draws, temperatures=1)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.copy_(2 * torch.randn(parameter.shape, generator=generator(1)))
    model.prior = prior
    return model


ENERGY = {"fast": FITTED, "temperatures": 1, "simulated": 0, "progress": False}


@pytest.mark.slow
def test_intervals_hold_what_is_known_whatever_the_constants_draws():
    model, inside = tilted(64, bound=1.0), 0
    rows, _ = simulate(model, torch.full((24,), 2), 0)
    model.prior.draws, model.prior.temperatures = 60_000, 4
    exact = grid(task(model, rows, MeanField), 96).nats.double().numpy()
    model.prior.draws, model.prior.temperatures = 64, 1
    for seed in range(12):
        model.prior.seed, model.prior._known = seed, None
        found = certify(model, rows, **ENERGY)
        least, most = found.interval
        inside += least <= exact[found.certified].sum() <= most
    assert inside >= 10  # fewer would be seen once in 50 times at 95%


def test_both_ends_hold_the_constant_of_an_energy(monkeypatch):
    model, options = tilted(64, bound=1.0), ENERGY
    rows, _ = simulate(model, torch.full((24,), 2), 0)
    rows = dataclasses.replace(rows, document=torch.arange(24) // 2)
    found = certify(model, rows, **options)
    assert found.certified.any()
    error, gap = max(model.prior.constant_gap()[1], model.prior.constant_error()), 0.5
    assert found.constant_error == pytest.approx(2 * error)  # of the two rows of a document
    shared = found.constant_error[
        found.certified
    ].sum()  # one number for all: it does not average out
    reach = 1.96 * math.hypot(found.monte_carlo_error, shared)
    assert found.interval == pytest.approx((found.nats[0] - reach, found.nats[1] + reach))
    assert "both ends may be off together" in str(found)
    assert found.to_dict()["constant_error_nats"] == pytest.approx(shared)
    # log p(z) has the upper end of log C: what bounds log p(x) from above takes the lower one.
    known = []
    for value in (0.0, gap):
        monkeypatch.setattr(model.prior, "constant_gap", lambda value=value: (value, 0.0))
        known.append(certify(model, rows, **options))
    assert known[1].upper - known[0].upper == pytest.approx(2 * gap)
    assert known[1].lower == pytest.approx(known[0].lower)
    assert known[1].monte_carlo_error == pytest.approx(known[0].monte_carlo_error)


def test_ends_of_a_sandwich_move_together():
    model, lengths = tilted(64), torch.full((8,), 2)
    options = {"temperatures": 4, "fast": FITTED, "progress": False}
    prior = sandwich(model, lengths, ["elbo:4", "ais_prior:4"], **options)
    fitted = sandwich(model, lengths, ["elbo:4", "ais_prior:4"], start="guide", **options)
    error = model.prior.constant_error()
    assert prior.constant_error == 0  # it cancels
    assert fitted.constant_error >= error > 0
    assert "both ends may be off together" in str(fitted)
    assert "together" not in str(prior)
    assert prior.protocol.startswith("annealed from the prior over 4 temperatures")
    fit = "MeanField, 20 fast steps of NaturalGradient at 0.5 by 4 draws each"
    assert f"the guide ({fit})" in fitted.protocol
    assert fitted.to_dict()["constant_error_per_document"] == fitted.constant_error
    # What holds the constant has its error in its slack, and so has all beside ends that hold it.
    own, its = error, fitted.constant_error
    for one, name, errors in (
        (prior, "elbo", (own,)), (prior, "ais_prior", ()),
        (fitted, "elbo", (own, its)), (fitted, "ais_prior", (its,)),
    ):  # fmt: skip
        assert one.slack(name)[1] == pytest.approx(math.hypot(_spread(one, name), *errors))


def _spread(one, name):
    above = one.upper + one.report[name].nats
    return above.std(ddof=1) / math.sqrt(len(above))


def test_improper_priors_are_refused_before_anything_is_done(config):
    class Flat(priors.Prior):
        def distribution(self):
            made = dist.ImproperUniform(dist.constraints.real, (), ())
            return made.expand(self.shape).to_event(3)

    model = LatentThoughtModel(config, Flat(config.thoughts))
    rows, lengths = some_rows(3), torch.full((3,), 5)
    for use in (
        lambda: certify(model, rows, progress=False),
        lambda: sandwich(model, lengths, progress=False),
        lambda: ltm.diagnostics.calibrate(model, lengths),
        lambda: ltm.DualRateSVI(model).step(rows),
        lambda: ltm.DualRateSVI(model).fit(rows, 1, 2, progress=False),
    ):
        with pytest.raises(InputError, match=r"^prior Flat: .*has no density"):
            use()


def test_a_certificate_of_more_than_certain_is_refused(config, monkeypatch):
    model = LatentThoughtModel(config)
    whole = {name: np.full(4, value) for name, value in (("lower", 30.0), ("upper", 30.1))}
    zeros = {name: np.zeros(4) for name in ("variance", "temperatures", "spread", "khat", "missed")}
    ends = Ends(**whole, **zeros, reason=[""] * 4, light={})
    monkeypatch.setattr("ltm_pyro.bounds.enclosed._enclose", lambda *_: ends)
    with pytest.raises(InputError, match=r"-120\.4 nats, but -log p\(x\) of discrete text"):
        certify(model, some_rows(4), simulated=0, progress=False)


def test_limits_of_the_gate_by_hand():
    spread, khat = np.array([1.0, 2 * 1.6832, 1.6833, 1.0]), np.array([0.3, 0.1, 0.1, 0.40])
    seen = Gate(spread, khat, spread, 256)
    assert seen.limit == pytest.approx(math.sqrt(math.log(17)), abs=1e-6)  # 1 + 256 / 4^2
    assert seen.khat_limit == pytest.approx(0.5 - 0.75 / math.sqrt(48), abs=1e-6)  # a tail of 48
    assert Gate(spread, khat, spread, 100).khat_limit == pytest.approx(0.5 - 0.75 / math.sqrt(20))
    assert seen.narrow.tolist() == [True, False, False, True]
    assert seen.allowed.tolist() == [True, False, False, False]
    # log-normal weights: the spread falls with the root of the temperatures; one more at least
    assert seen.needed(4) == pytest.approx([5, 16, 5, 5], abs=1e-2)
    assert "about 16 temperatures needed" in seen.reason(1, 4)
    assert seen.reason(3, 1) == "k-hat 0.40, more than 0.39"


@pytest.mark.parametrize("light", [[(3, 0), (3, 2)], [(3, 0), (3, 1)]])
def test_where_most_tails_are_heavy_the_light_ones_may_be_so_by_chance(monkeypatch, light):
    """Over all chunks together, at each number of temperatures."""
    parts = []
    for number, seen in enumerate(light):
        arrays = {name: np.zeros(3) for name in ("lower", "upper", "variance", "spread", "khat")}
        levels = {1: seen} if number else {1: seen, 2: (1, 1)}  # one chunk went on, one did not
        parts.append(Ends(**arrays, temperatures=np.array([1.0, 1.0, 2.0 - number]),
                          reason=["", "k-hat", ""], missed=np.zeros(3), light=levels))  # fmt: skip
    monkeypatch.setattr("ltm_pyro.bounds.enclosed._enclose", lambda *_: parts.pop(0))
    model, rows, _ = gentle(6)
    found = enclose(model, rows, Setup(MeanField, FITTED, 2, 64, 1, 3, False), 0)
    believed = light[1][1] >= 2  # a third of six
    chance = "" if believed else f"only {light[1][1]} of 6 pass by k-hat: they may do so by chance"
    assert found.light == {1: (6, light[1][1]), 2: (1, 1)}
    assert [reason.removeprefix("at 1 temperature(s) ") for reason in found.reason] == [
        chance, "k-hat", "", chance, "k-hat", chance,
    ]  # fmt: skip


def test_lines_are_followed_document_by_document():
    known = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
    values = torch.tensor([[5.0, 0.0], [15.0, 8.0], [25.0, 0.0]])
    x = torch.tensor([[0.0, 1.0], [0.5, 2.0], [1.0, 3.0], [2.0, 4.0], [3.0, 5.0]])
    wanted = [[5.0, 4.0], [10.0, 8.0], [15.0, 4.0], [20.0, 0.0], [25.0, 0.0]]  # not beyond an end
    assert _between(x, known, values).tolist() == wanted


def test_populations_are_drawn_anew_from_themselves_alone():
    """Four particles of two populations and two documents, each known by its number."""
    model, rows = linear_gaussian(0, documents=2)
    path = EvenPath(model, prior_of(model), rows, 2, 0, particles=4)
    number = torch.arange(16.0).reshape(8, 2)
    z = {"z": number[..., None, None, None].expand(8, 2, 2, 1, 3).clone()}
    state = State(z, number + 100, number + 200, z, z)
    log_w = torch.zeros(8, 2)
    log_w[:4, 0] = torch.tensor([-torch.inf, -torch.inf, 1.0, -torch.inf])  # one carries all
    log_w[4:, 1] = torch.tensor([0.0, 0.0, -torch.inf, -torch.inf])  # two of four are enough
    drawn, log_after = path._resampled(state, log_w, Noise(0, rows.key))
    found = drawn.z["z"][..., 0, 0, 0]
    assert found[:4, 0].tolist() == [4.0] * 4  # the third of the first population
    assert torch.equal(found[4:, 0], number[4:, 0])
    assert torch.equal(found[:, 1], number[:, 1])
    assert torch.equal(drawn.start, found + 100)
    assert torch.equal(drawn.end, found + 200)
    # each population's mean weight stays
    assert log_after[:4, 0].tolist() == pytest.approx([1 - math.log(4)] * 4)
    assert torch.equal(log_after[4:], log_w[4:])
    # three to one: systematic, so three or four of four, whatever is drawn
    log_w[:4, 0] = torch.tensor([0.0, math.log(15), -torch.inf, -torch.inf])
    for seed in range(20):
        drawn, _ = path._resampled(state, log_w, Noise(seed, rows.key))
        ours = drawn.z["z"][:4, 0, 0, 0, 0].tolist()
        assert ours.count(2.0) in (3, 4)
        assert set(ours) <= {0.0, 2.0}


def test_the_figure_is_what_is_certified_and_says_nothing_elsewhere():
    for model, rows, nothing in ((*gentle(12)[:2], -math.inf), (*tiny_decoder(0, 8), 0.0)):
        one = dataclasses.replace(rows, document=torch.arange(len(rows)))
        some = dataclasses.replace(task(model, one, MeanField), fast=FITTED, seed=3)
        found = certify(
            model, one, guide=MeanField, fast=FITTED, temperatures=1, simulated=SIMULATED, seed=3,
            chunk=len(one), progress=False,
        )  # fmt: skip
        estimate, allowed = upper(some, 1), found.certified
        assert allowed.any()
        np.testing.assert_allclose(estimate.nats[allowed], -found.upper[allowed], rtol=1e-6)
        np.testing.assert_allclose(estimate.variance[allowed], found.error[allowed] ** 2, rtol=1e-6)
        assert estimate.draws == 3 * CHAINS
        unfit = upper(dataclasses.replace(some, fast=Fast(steps=0), _posterior=None), 1)
        assert (unfit.nats == nothing).any()
        assert ((unfit.nats == nothing) == (unfit.variance == 0)).all()
