import dataclasses
import functools
import math

import matplotlib.pyplot as plt
import numpy as np
import pyro.distributions as dist
import pytest
import torch

from ltm_pyro import guides
from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.diagnostics import plot_ablation, plot_kl, thought_use
from ltm_pyro.diagnostics.thoughts import ThoughtUse
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LinearGaussianModel, priors
from ltm_pyro.programs.densities import simulate

from ..conftest import some_rows
from ..display.dressed import dressed
from ..exact import exact_guide, linear_gaussian, no_fit


@pytest.fixture(scope="module")
def half_used():
    """Orthogonal weights, layer 1 unused: the posterior is mean-field and known."""
    weight = torch.zeros(8, 6)
    weight[:3, 3:] = 2 * torch.eye(3)
    model = LinearGaussianModel(Thoughts(2, 1, 3), weight, scale=1.0)
    rows, _ = simulate(model, torch.full((200,), 8), 0)
    return model, rows


def test_known_kl_and_active_units(half_used):
    model, rows = half_used
    fast = Fast(steps=300, lr=0.1, particles=8, final=0.02)
    use = thought_use(infer(model, rows, MeanField, fast, chunk=200), 64)
    mean, covariance = model.posterior(rows)
    variance = covariance[0].diag()
    exact = 0.5 * (variance + mean.square().mean(0) - 1 - variance.log())
    assert use.factorised
    np.testing.assert_allclose(use.kl[1, 0], exact[3:].detach(), rtol=0.05)
    assert use.kl[0].max() < 0.01
    assert use.active[1].all()
    assert not use.active[0].any()
    # Nothing is earned by layer 1, everything by layer 2, and the whole is prior minus bound.
    assert abs(use.ablation[1, 0]) < 0.05
    assert use.ablation[0, 0] == 0
    assert use.ablation[2, 0] == pytest.approx(use.earned[0], abs=4 * use.earned[1] / 3 + 0.3)
    assert use.verdict.startswith("The thoughts are used")
    assert list(use.to_frame().active_units) == [0, 3]


def test_the_elbo_surgery_at_the_exact_posterior():
    """Exact posteriors average to the prior, so the KL is all mutual information."""
    weight = torch.zeros(8, 6)
    weight[:2, :2] = torch.eye(2)
    model = LinearGaussianModel(Thoughts(2, 1, 3), weight, scale=1.0)
    rows, _ = simulate(model, torch.full((1600,), 8), 0)
    use = thought_use(infer(model, rows, exact_guide(model), no_fit(), chunk=400), 4)
    exact = 2 * 0.5 * np.log(2.0)  # of two unit signals in unit noise
    error = use.total_kl[1]
    assert error < 0.02
    assert use.mutual_information == pytest.approx(exact, abs=4.5 * error)
    assert abs(use.marginal_kl) < 0.06
    assert use.mutual_information + use.marginal_kl == pytest.approx(use.total_kl[0])
    assert use.ablation[-1] == pytest.approx(use.earned)
    assert use.ablation[0] == pytest.approx((0, 0))
    assert use.mutual_information < use.ceiling


def test_a_guide_that_is_no_product_says_so():
    model, rows = linear_gaussian(0)
    use = thought_use(infer(model, rows, exact_guide(model), no_fit()), 8)
    assert not use.factorised
    assert use.kl.shape == (2, 1, 3)


def test_a_leftover_of_the_loop_is_told_from_a_kl_that_pays(model):
    """Thoughts that change nothing, a narrow start, and a loop too short to undo it."""
    with torch.no_grad():
        for layer in model.decoder.layers:
            layer.thought.out.weight.zero_()
    rows = some_rows(30)
    guide = functools.partial(MeanField, log_variance=-2.0)
    short = infer(model, rows, guide, Fast(steps=3, lr=0.1))
    long = infer(model, rows, guide, Fast(steps=60, lr=0.3))
    use = thought_use(short, 8, longer=long)
    assert use.total_kl[0] > 1
    assert use.verdict.startswith("The KL here is only the loop's leftover")
    assert "The posterior has collapsed" in thought_use(long, 8).verdict
    assert "cost more than they give" in thought_use(short, 8).verdict
    with pytest.raises(InputError, match="longer has 29 rows"):
        thought_use(short, longer=infer(model, rows[:29], guide, Fast(steps=1)))


def test_plots_take_an_axis_and_return_it(half_used):
    model, rows = half_used
    use = thought_use(infer(model, rows[:20], MeanField, Fast(steps=5)), 4)
    figure, axes = plt.subplots(1, 2)
    assert dressed(plot_kl(use, axes[0])) is axes[0]
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["0.0", "1.0"]
    assert dressed(plot_ablation(use, axes[1])) is axes[1]
    plt.close(figure)


GUIDES = [guides.MeanField, guides.Covariance, guides.Layerwise, guides.Flow]


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("documents", [20, 120])
def test_nothing_is_active_or_used_where_thoughts_change_nothing(guide, documents):
    """The KL is 0; a mean of 64 draws has variance 1 / 64, more than the threshold."""
    model = LinearGaussianModel(Thoughts(2, 1, 3), torch.zeros(8, 6))
    rows, _ = simulate(model, torch.full((documents,), 8), 0)
    use = thought_use(infer(model, rows, guide, Fast(steps=0)), 8)
    assert not use.active.any()
    assert abs(use.kl.sum()) < 0.06  # in place of 0.2, the bias of moments of 64 draws
    assert use.verdict.startswith("The posterior has collapsed to the prior: KL 0.00")


@pytest.mark.parametrize("scale", [1.0, 0.05])
@pytest.mark.parametrize("factorised", [True, False])
def test_active_units_do_not_depend_on_the_units_of_the_prior(half_used, scale, factorised):
    """The same model, its thoughts measured in units of another size."""
    model = LinearGaussianModel(Thoughts(2, 1, 3), half_used[0].weight.detach() / scale)
    model.prior = priors.LearnedNormal(model.thoughts)
    rows, _ = simulate(half_used[0], torch.full((100,), 8), 0)
    with torch.no_grad():
        model.prior.log_scale.fill_(math.log(scale))

    class Scaled(MeanField):
        def start(self, model, batch):
            mean, covariance = half_used[0].posterior(batch)
            self.loc.data = scale * mean.reshape(self.loc.shape).detach()
            self.log_variance.data = (scale**2 * covariance.diagonal(0, -2, -1)).log().detach()
            self.log_variance.data = self.log_variance.data.reshape(self.loc.shape)

        def distribution(self):
            law = super().distribution()
            shift = dist.transforms.AffineTransform(0.0, 1.0, event_dim=3)
            return law if factorised else dist.TransformedDistribution(law, [shift])

    use = thought_use(infer(model, rows, Scaled, Fast(steps=0)), 16)
    assert use.factorised == factorised
    assert use.active[1].all()
    assert not use.active[0].any()
    variance = 1 / 5  # of a posterior of unit noise and weight 2
    kl = 0.5 * (variance + 0.8 - 1 - math.log(variance))
    assert use.kl[1, 0].mean() == pytest.approx(kl, rel=0.15)
    assert use.verdict.startswith("The thoughts are used")


def test_information_is_an_interval_where_the_number_of_rows_limits_it():
    weight = torch.zeros(8, 6)
    weight[:6] = 4 * torch.eye(6)  # 6 / 2 log 17 = 8.5 nats
    model = LinearGaussianModel(Thoughts(2, 1, 3), weight)
    rows, _ = simulate(model, torch.full((60,), 8), 0)
    use = thought_use(infer(model, rows, exact_guide(model), no_fit()), 8)
    low, high = use.information
    assert low < math.log(60) < 8.5 < high + 3 * use.total_kl[1]
    assert f"I(x; z) between {low:.2f} and {high:.2f}" in use.verdict
    # Exact posteriors average to the prior; an estimate of that KL would be 4 nats too high.
    assert use.marginal[0] < 0.05 < 3 < use.marginal[1]
    for inner, outer in zip(use.information, use.marginal[::-1], strict=True):
        assert inner + outer == pytest.approx(use.total_kl[0], abs=0.3)
    free = thought_use(infer(model, rows, MeanField, Fast(steps=0)), 8)
    assert free.information == (free.mutual_information,) * 2


def use_of(gain, error, kl, freedom=math.inf, **more):
    one = np.zeros((1, 1, 1))
    earned, freedoms = (gain, error), dict.fromkeys(("total_kl", "earned", "leftover"), freedom)
    return ThoughtUse(
        one, True, one > 0, (kl, 0.01), kl, 0.0, 9.0, one, earned, freedom=freedoms, **more
    )


@pytest.mark.parametrize(
    ("gain", "error", "kl", "words"),
    [
        (1e-6, 1e-8, -1e-7, "The posterior has collapsed to the prior: KL 0.00"),
        (1e-6, 1e-8, 3.0, "The thoughts cost more than they give"),
        (2.0, 0.1, 3.0, "The thoughts are used"),
        (-2.0, 0.1, 3.0, "The thoughts cost more than they give"),
        (0.5, 0.4, 3.0, "Whether the thoughts earn anything cannot be told"),
    ],
)
def test_effects_in_nats_decide(gain, error, kl, words):
    assert use_of(gain, error, kl).verdict.startswith(words)
    assert "-0.00" not in use_of(gain, error, kl).verdict


@pytest.mark.parametrize(
    ("gain", "documents", "words"),
    [
        (2.5, 3, "Whether the thoughts earn anything cannot be told"),  # 4.3 errors are needed
        (4.5, 3, "The thoughts are used"),
        (2.5, 30, "The thoughts are used"),  # and here 2.05
        (-2.5, 3, "Whether the thoughts earn anything cannot be told"),
        (-4.5, 3, "The thoughts cost more than they give"),
        (2.5, 1, "Whether the thoughts earn anything cannot be told"),
    ],
)
def test_few_documents_are_judged_by_students_t(gain, documents, words):
    assert use_of(gain, 1.0, 3.0, documents - 1.0).verdict.startswith(words)
    small = use_of(
        0.02, 0.03, 3.0, documents - 1.0
    )  # within 0.1 of zero by 2.05 errors, not by 4.3
    assert ("cost more than they give" in small.verdict) == (documents == 30)
    long = use_of(0.0, 1.0, 3.0, documents - 1.0, leftover=(abs(gain), 1.0), leftover_kl=0.1)
    leftover = long.verdict.startswith("The KL here is only the loop's leftover")
    assert leftover == (documents == 30 or abs(gain) == 4.5)


def test_errors_and_verdicts_are_over_documents_not_rows():
    """Four rows of each document, all alike: as many documents as there are, and no more."""
    model, _ = linear_gaussian(0)
    rows, _ = simulate(model, torch.full((5,), 8), 0)
    fourfold = rows[torch.arange(5).repeat_interleave(4)]
    fourfold = dataclasses.replace(fourfold, key=torch.arange(20))
    one = thought_use(infer(model, rows, exact_guide(model), no_fit()), 64)
    use = thought_use(infer(model, fourfold, exact_guide(model), no_fit()), 64)
    assert use.freedom == one.freedom == {"total_kl": 4.0, "earned": 4.0}
    for name in ("total_kl", "earned"):
        assert getattr(use, name) == pytest.approx(getattr(one, name), rel=0.2)
        reach = np.diff(use.interval(name)) / 2
        assert reach == pytest.approx(2.7764451 * getattr(use, name)[1])  # Student's t, 4
    assert math.isnan(use.interval("ahead")[0])


def test_windows_of_one_document_limit_the_information():
    """Thirty-two windows, eight to a document: the estimate ends at the log of four of them."""
    weight = torch.zeros(8, 6)
    weight[:6] = 4 * torch.eye(6)  # 6 / 2 log 17 = 8.5 nats
    model = LinearGaussianModel(Thoughts(2, 1, 3), weight)
    rows, _ = simulate(model, torch.full((4,), 8), 0)
    windows = rows[torch.arange(4).repeat_interleave(8)]
    key, own = torch.arange(32), torch.arange(32)
    for rows in (
        dataclasses.replace(windows, key=key),  # the rows of a document say which it is
        dataclasses.replace(windows, key=key, document=own, packed=True),
    ):
        use = thought_use(infer(model, rows, exact_guide(model), no_fit()), 16)
        low, high = use.information
        assert low == pytest.approx(math.log(4), abs=0.01)
        assert low < use.ceiling - 2 < use.total_kl[0] == high
        assert use.freedom["total_kl"] <= 4


def test_a_shift_of_all_thoughts_is_no_information():
    """Every document's guide is N(1, 1): a KL of 3 nats, all of it the aggregate's."""

    class Shifted(MeanField):
        def start(self, model, batch):
            self.loc.data.fill_(1.0)

    model, rows = linear_gaussian(0)
    use = thought_use(infer(model, rows, Shifted, Fast(steps=0)), 64)
    assert use.total_kl[0] == pytest.approx(3.0)
    assert abs(use.mutual_information) < 0.05
    assert use.marginal_kl == pytest.approx(3.0, abs=0.2)
    assert use.marginal[1] == use.marginal_kl


@pytest.mark.parametrize(
    ("kl", "freedom", "between"),
    [
        (7.9, math.inf, False),  # the ceiling is 9
        (8.1, math.inf, True),
        (1.9, 19.0, False),  # of 20 documents it is 3.0
        (2.1, 19.0, True),
    ],
)
def test_information_is_an_interval_from_a_nat_below_the_most_it_can_be(kl, freedom, between):
    use = dataclasses.replace(use_of(1.0, 0.1, kl, freedom), mutual_information=1.0, marginal_kl=kl)
    assert use.information == ((1.0, kl) if between else (1.0, 1.0))
    assert use.marginal == ((0.0, kl) if between else (kl, kl))
    more = dataclasses.replace(use, mutual_information=kl + 0.5)  # by chance more than the KL
    assert more.information == (kl + 0.5, kl + 0.5)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (use_of(0.101, 0.01, 3.0), "The thoughts are used"),
        (use_of(0.099, 0.01, 3.0), "Whether the thoughts earn anything cannot be told"),
        (use_of(0.099, 0.0001, 3.0), "The thoughts cost more than they give"),
        (use_of(0.0, 0.01, 0.099), "The posterior has collapsed"),
        (use_of(0.0, 0.1, 0.101), "Whether the thoughts earn anything cannot be told"),
        (use_of(-0.09, 0.0001, 3.0), "The thoughts cost more than they give"),
        (use_of(0.0, 0.05, 3.0), "The thoughts cost more than they give"),  # 1.96 errors are 0.098
        (use_of(0.0, 0.052, 3.0), "Whether the thoughts earn anything cannot be told"),
        (use_of(0.0, 1.0, 3.0, leftover=(2.0, 0.1), leftover_kl=1.49), "The KL here is only"),
        (use_of(0.0, 1.0, 3.0, leftover=(2.0, 0.1), leftover_kl=1.51), "Whether the thoughts"),
        (use_of(5.0, 1.0, 3.0, leftover=(2.0, 0.1), leftover_kl=0.1), "The thoughts are used"),
    ],
)
def test_where_a_verdict_turns(use, words):
    assert use.verdict.startswith(words)


def test_a_longer_loop_is_measured_against_the_shorter(half_used):
    model, rows = half_used
    short, long = (infer(model, rows[:20], MeanField, Fast(steps=steps)) for steps in (1, 30))
    use = thought_use(short, 8, longer=long, seed=3)
    one, other = short.elbo(8, 3), long.elbo(8, 3)
    gain = (other.elbo - one.elbo).mean(0)
    assert use.leftover == pytest.approx((float(gain.mean()), float(gain.std()) / 20**0.5))
    assert use.leftover_kl == pytest.approx(float(other.kl.mean()))
    assert use.total_kl[0] == pytest.approx(float(one.kl.mean()))
    assert use.freedom["leftover"] == 19


def test_what_is_known_beside_is_told():
    words = use_of(2.0, 0.1, 3.0, ahead=(-1.5, 0.2), leftover=(0.25, 0.1), leftover_kl=2.5).verdict
    assert "; -1.50 ± 0.20 nats ahead of no latents; four times the fast steps:" in words
    assert words.endswith("bound +0.25 ± 0.10, KL 2.50.")
