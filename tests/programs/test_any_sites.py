"""Models of any sites: latent ones of any support, discrete ones, several observed ones."""

import dataclasses
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import ltm_pyro as ltm
from ltm_pyro.bounds.certify import certify
from ltm_pyro.bounds.estimate import constant_of
from ltm_pyro.config import Architecture, Config, Fast, Slow, Thoughts, Warm
from ltm_pyro.diagnostics import calibrate
from ltm_pyro.diagnostics.functionals import Draws
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Covariance, Guide, Langevin, MeanField
from ltm_pyro.inference.posterior import infer
from ltm_pyro.inference.speaking import silence
from ltm_pyro.models import LatentThoughtModel, LinearGaussianModel, TextModel
from ltm_pyro.programs.densities import (
    draw_latents,
    log_joint,
    log_weights,
    prior_of,
    simulate,
    token_log_prob,
)
from ltm_pyro.programs.elbo import elbo_terms
from ltm_pyro.programs.reading import Sites
from ltm_pyro.seeds import Noise, seeded

from ..conftest import some_rows
from .models_of_many_sites import (
    LINE,
    MOVES,
    SHARES,
    WEIGHT,
    coupled,
    log_marginal,
    many_sites,
)

QUICK = Fast(steps=40, lr=0.1, particles=4)


def test_the_sites_are_read_from_a_trace():
    model, rows = many_sites()
    sites = Sites.of(model, rows)
    assert {s.name: s.kind for s in sites} == {
        "z": "local", "pace": "local", "topic": "discrete", "tokens": "observed",
        "speed": "observed", "label": "observed",
    }  # fmt: skip
    assert sites.all["topic"].values == 3
    assert sites.all["z"].shape == (1, 1, 1)
    assert "3 values, summed out" in str(sites)


def test_reading_draws_nothing_from_the_caller():
    model, rows = many_sites()
    torch.manual_seed(3)
    first = torch.rand(3)
    torch.manual_seed(3)
    Sites.of(model, rows)
    assert torch.equal(torch.rand(3), first)


@pytest.mark.parametrize("seed", range(4))
def test_weights_of_the_prior_average_to_the_exact_density(seed):
    """E_p[p(x | z)] = p(x), discrete sites summed out and a missing label left out."""
    model, rows = many_sites(seed=seed)
    with torch.no_grad(), seeded(seed, 9):
        latents = draw_latents(prior_of(model), rows, 20_000)
        assert set(latents) == {"z", "pace"}
        weights = log_joint(model, latents, rows)[1].double().exp()
    ratio = weights / torch.from_numpy(np.exp(log_marginal(rows)))
    error = ratio.std(0) / len(ratio) ** 0.5
    assert ((ratio.mean(0) - 1) / error).abs().max() < 4.5
    # a likelihood that forgets to weigh the topics is seen to be wrong
    wrong = ratio * 3 * float(SHARES.max())
    assert ((wrong.mean(0) - 1) / error).abs().max() > 4.5


def test_weights_of_a_fitted_guide_average_to_the_exact_density():
    model, rows = many_sites(seed=5)
    posterior = infer(model, rows, MeanField, QUICK)
    guide, _ = posterior.chunks[0]
    with torch.no_grad(), seeded(1):
        log_w = log_weights(model, guide, rows, 10_000).double()
    ratio = (log_w - torch.from_numpy(log_marginal(rows))).exp()
    error = ratio.std(0) / len(ratio) ** 0.5
    assert ((ratio.mean(0) - 1) / error).abs().max() < 4.5


def test_figures_bound_the_exact_density_and_name_their_sites():
    model, rows = many_sites(8, seed=2)
    exact = -log_marginal(rows)
    names = ["elbo:64", "iwae:64", "ais:8", "ais_prior:8"]
    report = ltm.evaluate(model, rows, names, fast=QUICK, progress=False, repeat=0)
    for name, slack in (("elbo", 2.0), ("iwae", 0.15), ("ais", 0.5), ("ais_prior", 1.0)):
        gap = report[name].nats - exact
        assert gap.mean() > -4.5 * gap.std() / len(gap) ** 0.5
        assert gap.mean() < slack, name
        assert report[name].observed == ("tokens", "speed", "label")
        assert math.isnan(report[name].monte_carlo_error)  # of tokens alone it is not known
    elbo = report["elbo"]
    np.testing.assert_allclose(sum(elbo.parts.values()), elbo.nats, rtol=1e-5)
    of_tokens = -log_marginal(rows, ("tokens",))
    assert elbo.nats_per_token == pytest.approx(
        (elbo.parts["tokens"] + elbo.parts["kl"]).sum() / 16
    )
    assert elbo.nats_per_token > of_tokens.sum() / 16  # a bound of tokens alone
    assert math.isnan(report["iwae"].nats_per_token)
    assert "of tokens, speed, label" in str(report)
    assert report.to_dict()["elbo"]["label_per_document"] > 0
    assert report.to_dict()["iwae"]["nats_per_token"] is None


def test_certificates_are_of_plain_models():
    model, rows = many_sites(3)
    with pytest.raises(InputError, match="this one has pace, topic, speed, label"):
        certify(model, rows)


def test_a_hidden_column_is_summed_out_of_the_figure():
    model, rows = many_sites(12, seed=3)
    report = ltm.evaluate(model, rows.hiding("label"), ["iwae:256"], fast=QUICK, progress=False,
                          repeat=0)  # fmt: skip
    gap = report["iwae"].nats + log_marginal(rows, ("tokens", "speed"))
    assert abs(gap.mean()) < 0.05
    with pytest.raises(InputError, match="column"):
        rows.hiding("lable")


def test_topics_are_drawn_from_their_posterior():
    model, rows = many_sites(4, seed=1)
    posterior = infer(model, rows, MeanField, QUICK)
    drawn = posterior.sites(400)
    assert set(drawn) == {"z", "pace", "topic"}
    assert (drawn["pace"] > 0).all()
    z = drawn["z"].flatten(2)[..., 0]
    # p(k | z, x) by hand, averaged over the draws of z
    score = SHARES.log().expand(400, 4, 3)
    for n in range(2):
        mean = model.weight[n].detach() * z[..., None] + MOVES
        score = score + dist.Normal(mean, 0.8).log_prob(rows.tokens[:, n, None])
    label = rows.columns["label"]
    logits = z[..., None] + MOVES
    of_label = dist.Bernoulli(logits=logits).log_prob(
        label.clamp(min=0)[:, None].float().expand(4, 3)
    )
    score = score + torch.where(label[:, None] >= 0, of_label, 0.0)
    expected = score.softmax(-1).mean(0)
    for k in range(3):
        seen = (drawn["topic"] == k).double().mean(0)
        error = (expected[:, k] * (1 - expected[:, k]) / 400).sqrt() + 1e-4
        assert ((seen - expected[:, k]) / error).abs().max() < 4.5


def test_two_discrete_sites_are_each_their_own():
    class Two(LinearGaussianModel):
        def forward(self, batch, prelude=None):
            with pyro.plate("documents", len(batch), dim=-1):
                z = self.prior(batch)
                a = pyro.sample("a", dist.Categorical(torch.tensor([0.9, 0.1])))
                b = pyro.sample(
                    "b", dist.Categorical(torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]])[a])
                )
                mean = (a + 10.0 * b)[..., None] + 0 * z.flatten(-3)
                pyro.sample("tokens", dist.Normal(mean, 0.1).to_event(1), obs=batch.tokens)
            return z

    model = Two(ltm.Thoughts(1, 1, 1), torch.ones(1, 1))
    rows = dataclasses.replace(some_rows(3), tokens=torch.tensor([[0.0], [21.0], [11.0]]))
    latents = {"z": torch.zeros(2, 3, 1, 1, 1)}
    _, likelihood = log_joint(model, latents, rows)
    peak = dist.Normal(0.0, 0.1).log_prob(torch.tensor(0.0))
    expected = peak + torch.tensor([0.9 * 0.1, 0.1 * 0.1, 0.1 * 0.4]).log()
    torch.testing.assert_close(likelihood, expected.expand(2, 3), atol=1e-3, rtol=0)
    posterior = infer(model, rows, MeanField, Fast(steps=1))
    drawn = posterior.sites(50)
    assert (drawn["a"].float().mean(0).round() == torch.tensor([0.0, 1.0, 1.0])).all()
    assert (drawn["b"].float().mean(0).round() == torch.tensor([0.0, 2.0, 1.0])).all()


def test_training_tells_each_site_in_its_own_unit():
    model, rows = many_sites(8)
    svi = ltm.DualRateSVI(model, fast=Fast(steps=5), slow=Slow(lr=1e-2, warmup=1))
    history = svi.fit(rows, 3, 4, progress=False).history
    assert {"tokens_per_document", "label_per_document", "nats_per_document"} <= set(history)
    one = svi.step(rows)
    assert one.nats_per_token == pytest.approx(
        float((one.kl - one.by_site["tokens"]).sum() / one.tokens.sum())
    )


def test_present_models_tell_what_they_told(model, rows):
    record = ltm.DualRateSVI(model, fast=Fast(steps=1)).step(rows).record()
    assert "nats_per_document" not in record
    assert set(record) == {
        "step", "nats_per_token", "objective", "kl_per_token", "kl_weight", "lr",
        "gradient_norm", "tokens", "seconds",
    }  # fmt: skip


def test_a_document_is_fitted_by_itself():
    model, rows = many_sites(5)
    together = infer(model, rows, MeanField, Fast(steps=6)).sites(3)
    alone = infer(model, rows[[2]], MeanField, Fast(steps=6)).sites(3)
    for site in ("z", "pace"):
        torch.testing.assert_close(together[site][:, 2], alone[site][:, 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["NaturalGradient", "Adam"])
def test_sites_of_far_scales_are_reached(optimizer):
    """A site whose prior lies at 1,000 is fitted at the rate that suits z."""

    class Year(LinearGaussianModel):
        def forward(self, batch, prelude=None):
            with pyro.plate("documents", len(batch), dim=-1):
                z = self.prior(batch)
                far = pyro.sample("far", dist.Normal(torch.tensor(1000.0), 50.0))
                mean = z.flatten(-3) @ self.weight.T
                pyro.sample("tokens", dist.Normal(mean, 1.0).to_event(1), obs=batch.tokens)
                pyro.sample("year", dist.Normal(far, 50.0), obs=batch.columns["year"])
            return z

    model = Year(ltm.Thoughts(1, 1, 1), torch.ones(1, 1))
    rows = dataclasses.replace(
        some_rows(3),
        tokens=torch.zeros(3, 1),
        columns={"year": torch.tensor([900.0, 1000.0, 1200.0])},
    )
    fast = Fast(
        steps=60,
        lr=0.5 if optimizer == "NaturalGradient" else 0.1,
        particles=8,
        optimizer=optimizer,
    )
    drawn = infer(model, rows, MeanField, fast).sites(400)["far"]
    assert (drawn.mean(0) - torch.tensor([950.0, 1000.0, 1100.0])).abs().max() < 12
    assert (drawn.std(0) - 50 / 2**0.5).abs().max() < 9


def test_other_guides_have_normals_beside_them():
    model, rows = many_sites()
    posterior = infer(model, rows, Covariance, Fast(steps=3))
    assert set(posterior.elbo(2).kl_by_site) == {"z", "pace"}
    with pytest.raises(InputError, match=r"Langevin moves the thoughts z alone.*samples pace"):
        infer(model, rows, Langevin, Fast(steps=3))


class Own(Guide):
    """Names the sites itself, on the model's own supports; parameters are of any shape."""

    def __init__(self, thoughts, batch_size):
        super().__init__(thoughts, batch_size)
        self.loc = torch.nn.Parameter(torch.zeros(batch_size, 1, 1, 1))
        self.log_rate = torch.nn.Parameter(torch.zeros(batch_size))

    def forward(self, batch):
        with pyro.plate("documents", self.batch_size, dim=-1):
            pyro.sample("pace", dist.Gamma(3.0, 2 * self.log_rate.exp()))
            return pyro.sample("z", dist.Normal(self.loc, 0.5).to_event(3))


def test_a_guide_of_ones_own_names_its_sites(tmp_path):
    model, rows = many_sites()
    posterior = infer(model, rows, Own, QUICK)
    gap = -posterior.elbo(256).elbo.mean(0).double().numpy() + log_marginal(rows)
    assert (gap > -0.1).all()
    assert gap.mean() < 3
    warm = ltm.DualRateSVI(model, Own, Fast(steps=2), warm=Warm(2, 0.05))
    warm.fit(rows, 2, 3, progress=False)  # a parameter of shape (documents,) is remembered


def test_a_model_without_thoughts_has_sites():
    class Plain(TextModel):
        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(()))

        def read(self, batch):
            return None

        def forward(self, batch, prelude=None):
            with pyro.plate("documents", len(batch), dim=-1):
                level = pyro.sample("level", dist.Normal(0 * self.bias, 1.0))
                law = dist.Normal((level + self.bias)[..., None].expand(*level.shape, 2), 1.0)
                pyro.sample("tokens", law.to_event(1), obs=batch.tokens)

    rows = dataclasses.replace(some_rows(4), tokens=torch.randn(4, 2), lengths=torch.full((4,), 2))
    model = Plain()
    exact = dist.MultivariateNormal(torch.zeros(2), torch.eye(2) + 1).log_prob(rows.tokens)
    posterior = infer(model, rows, MeanField, Fast(steps=150, lr=0.1, particles=16))
    elbo = posterior.elbo(128).elbo
    gap, error = exact - elbo.mean(0), elbo.std(0) / 128**0.5
    assert (gap > -4.5 * error).all()
    assert (gap < 4.5 * error + 0.05).all()
    with pytest.raises(InputError, match="no thoughts to sample"):
        posterior.sample(2)
    ltm.DualRateSVI(model, fast=Fast(steps=2)).fit(rows, 2, 2, progress=False)


def with_site(sample, **columns):
    """A model with one more site, and rows for it."""

    class More(LinearGaussianModel):
        def forward(self, batch, prelude=None):
            with pyro.plate("documents", len(batch), dim=-1):
                z = self.prior(batch)
                sample(batch)
                mean = z.flatten(-3) @ self.weight.T
                pyro.sample("tokens", dist.Normal(mean, 1.0).to_event(1), obs=batch.tokens)
            return z

    rows = dataclasses.replace(some_rows(4), tokens=torch.zeros(4, 2), columns=columns)
    return More(ltm.Thoughts(1, 1, 1), torch.ones(2, 1)), rows


def scaled(batch):
    with poutine.scale(scale=0.5):
        pyro.sample("a", dist.Normal(torch.zeros(()), 1.0))


def masked(batch):
    with poutine.mask(mask=torch.tensor(False)):
        pyro.sample("a", dist.Normal(torch.zeros(()), 1.0))


REFUSED = {
    "scaled": (scaled, "site 'a' is scaled"),
    "masked": (masked, "site 'a' is masked"),
    "no event": (
        lambda b: pyro.sample("a", dist.Normal(torch.zeros(3), 1.0)),
        r"at site a dim -1.*add \.to_event",
    ),
    "left of documents": (
        lambda b: pyro.sample("a", dist.Normal(torch.zeros(5, 1, 1), 1.0)),
        r"site 'a' \(Normal\) has batch shape .*to_event",
    ),
    "counts": (
        lambda b: pyro.sample("a", dist.Poisson(torch.tensor(2.0))),
        r"site 'a' \(Poisson\) has the discrete support",
    ),
    "a vector of bits": (
        lambda b: pyro.sample("a", dist.Bernoulli(torch.full((4,), 0.5)).to_event(1)),
        r"site 'a' \(Bernoulli\) has the discrete support",
    ),
    "a point": (lambda b: pyro.sample("a", dist.Delta(torch.zeros(()))), "site 'a' is a point"),
    "a factor": (lambda b: pyro.factor("a", torch.zeros(len(b))), "site 'a' is a factor"),
    "of the store": (lambda b: pyro.param("a", torch.zeros(())), "pyro.param 'a' stands in"),
    "too many values": (
        lambda b: [pyro.sample(f"a{i}", dist.Categorical(torch.ones(20))) for i in range(3)],
        "8,000 values together",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("how", ["fit", "infer", "evaluate"])
def test_what_cannot_be_handled_is_refused_by_name(kind, how):
    sample, message = REFUSED[kind]
    model, rows = with_site(sample)
    do = {
        "fit": lambda: ltm.DualRateSVI(model).fit(rows, 1, 2, progress=False),
        "infer": lambda: infer(model, rows, MeanField, Fast(steps=1)),
        "evaluate": lambda: ltm.evaluate(model, rows, ["elbo"], fast=Fast(steps=1), progress=False),
    }[how]
    with pytest.raises(InputError, match=message) as error:
        do()
    assert "\n" not in str(error.value)


def test_a_mask_that_comes_later_is_refused_too():
    """Whatever a model does when it is read: no density is scored in part."""
    look = []

    def late(batch):
        with poutine.mask(mask=torch.tensor(len(look) == 0)):
            look.append(pyro.sample("a", dist.Normal(torch.zeros(()), 1.0)))

    model, rows = with_site(late)
    with pytest.raises(InputError, match="latent site 'a' is masked"):
        log_joint(model, {"z": torch.zeros(1, 4, 1, 1, 1), "a": torch.zeros(1, 4)}, rows)


def test_models_without_a_plate_or_tokens_are_refused():
    class Loose(LinearGaussianModel):
        def forward(self, batch, prelude=None):
            return pyro.sample("z", dist.Normal(torch.zeros(1, 1, 1), 1.0).to_event(3))

    class Blind(LinearGaussianModel):
        def forward(self, batch, prelude=None):
            with pyro.plate("documents", len(batch), dim=-1):
                return self.prior(batch)

    for cls, message in ((Loose, "no site stands in a plate"), (Blind, "no site 'tokens'")):
        model = cls(ltm.Thoughts(1, 1, 1), torch.ones(2, 1))
        with pytest.raises(InputError, match=message):
            ltm.DualRateSVI(model).fit(some_rows(3), 1, 2, progress=False)


def guide_that(sample):
    class Wrong(MeanField):
        def forward(self, batch):
            with pyro.plate("documents", self.batch_size, dim=-1):
                sample(self)
                return pyro.sample("z", self.distribution())

    return Wrong


WRONG_GUIDES = {
    "another shape": (
        guide_that(lambda g: pyro.sample("pace", dist.Normal(torch.zeros(3), 1.0).to_event(1))),
        r"guide Wrong: site 'pace' has event shape \(3,\): expected \(\)",
    ),
    "another support": (
        guide_that(lambda g: pyro.sample("pace", dist.Beta(torch.tensor(1.0), 1.0))),
        r"guide Wrong: site 'pace' \(Beta\) has the support Interval.*expected the same support",
    ),
    "another name": (
        guide_that(lambda g: pyro.sample("pase", dist.Normal(torch.tensor(1.0), 1.0))),
        "guide Wrong: site 'pase' has no counterpart: the model samples z, pace",
    ),
    "discrete": (
        guide_that(lambda g: pyro.sample("topic", dist.Categorical(SHARES))),
        "guide Wrong: site 'topic' has no counterpart",
    ),
}


@pytest.mark.parametrize("kind", WRONG_GUIDES)
def test_guides_of_other_sites_are_told_what_is_expected(kind):
    guide, message = WRONG_GUIDES[kind]
    model, rows = many_sites()
    with pytest.raises(InputError, match=message) as error:
        ltm.DualRateSVI(model, guide).fit(rows, 1, 2, progress=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "value", [lambda n: torch.zeros(n, 2, 2, 3, requires_grad=True),
              lambda n: [torch.nn.Parameter(torch.zeros(n, 2, 2, 3))]],
    ids=["tensor", "list"],
)  # fmt: skip
def test_parameters_that_torch_does_not_see_are_named(model, rows, value):
    class Loose(MeanField):
        def __init__(self, thoughts, batch_size):
            super().__init__(thoughts, batch_size)
            self.extra = value(batch_size)

    with pytest.raises(InputError, match="Loose keeps parameters where torch does not see them"):
        ltm.DualRateSVI(model, Loose).fit(rows, 1, 2, progress=False)


def test_a_labelled_decoder_may_read_its_topic(config):
    """Semi-supervised: a known label is observed, a missing one summed out, for each document."""

    class Labelled(LatentThoughtModel):
        def __init__(self, config):
            super().__init__(config)
            self.means = torch.nn.Parameter(torch.randn(2, *config.thoughts.shape))

        def forward(self, batch, prelude=None, positions=None):
            with pyro.plate("documents", len(batch), dim=-1):
                code = batch.columns["label"]
                label = pyro.sample(
                    "label", dist.Categorical(torch.tensor([0.3, 0.7])), obs=code.clamp(min=0),
                    obs_mask=code >= 0,
                )  # fmt: skip
                z = pyro.sample("z", dist.Normal(self.means[label], 1.0).to_event(3))
                return self.observe(batch, z, prelude, positions)

    model = Labelled(config)
    rows = dataclasses.replace(some_rows(4), columns={"label": torch.tensor([0, 1, -1, -1])})
    kinds = {s.name: s.kind for s in Sites.of(model, rows)}
    assert kinds == {
        "label_observed": "observed", "label_unobserved": "discrete", "z": "local",
        "tokens": "observed",
    }  # fmt: skip
    z = torch.randn(3, 4, *config.thoughts.shape)
    log_prior, likelihood = log_joint(model, {"z": z}, rows)
    by_label = [
        log_joint(
            model, {"z": z}, dataclasses.replace(rows, columns={"label": torch.full((4,), k)})
        )
        for k in (0, 1)
    ]
    shares = torch.tensor([0.3, 0.7]).log()
    joint = log_prior + likelihood
    known = [sum(part) for part in by_label]
    torch.testing.assert_close(joint[:, 0], known[0][:, 0])
    torch.testing.assert_close(joint[:, 1], known[1][:, 1])
    missing = torch.logsumexp(torch.stack(known), 0)  # p(label) stands in each of them
    torch.testing.assert_close(joint[:, 2:], missing[:, 2:])
    mixture = torch.logsumexp(torch.stack([p[0] for p in by_label]) + shares[:, None, None], 0)
    torch.testing.assert_close(log_prior[:, 2:], mixture[:, 2:])


def test_thoughts_that_follow_from_a_label_are_of_its_posterior(config):
    """z + mean[label]: what the decoder attends to has no dimension for each value left over."""

    class Moved(LatentThoughtModel):
        def __init__(self, config):
            super().__init__(config)
            self.means = torch.nn.Parameter(10.0 * torch.randn(3, *config.thoughts.shape))

        def forward(self, batch, prelude=None, positions=None):
            zero = self.decoder.head.new_zeros(config.thoughts.shape)
            with pyro.plate("documents", len(batch), dim=-1):
                label = pyro.sample("label", dist.Categorical(SHARES))
                z = pyro.sample("z", dist.Normal(zero, 1.0).to_event(3))
                return self.observe(batch, z + self.means[label], prelude, positions)

    model = Moved(config)
    posterior = infer(model, some_rows(4), MeanField, Fast(steps=2))
    sites, thoughts = posterior.sites(30), posterior.sample(30)
    assert len(sites["label"].unique()) == 3
    torch.testing.assert_close(thoughts, sites["z"] + model.means[sites["label"]])
    torch.testing.assert_close(posterior.sample(30)[:, :2], thoughts[:, :2])
    tree = ltm.to_datatree(posterior, draws=30, posterior_predictive=False)
    for group in ("posterior", "prior"):
        means = model.means.detach()[torch.as_tensor(tree[group]["label"].values[0])]
        left = torch.as_tensor(tree[group]["z"].values[0]) - means
        assert left.abs().max() < 6  # a mean that is not the label's would leave some 30 of it


def test_labels_behind_thoughts_are_ranked_as_draws_of_their_own():
    """A decoder that does not listen, a guide that is the prior: the posterior, so calibrated.

    Labels of the truth that shared their stream with those of the guide would call it too wide.
    """
    config = Config(Architecture(20, 0, 12, 4, 1, 16, 1, 24), Thoughts(1, 1, 1))

    class Moved(LatentThoughtModel):
        def forward(self, batch, prelude=None, positions=None):
            zero = self.decoder.head.new_zeros(config.thoughts.shape)
            with pyro.plate("documents", len(batch), dim=-1):
                label = pyro.sample("label", dist.Categorical(torch.ones(3) / 3))
                z = pyro.sample("z", dist.Normal(zero, 1.0).to_event(3))
                moved = z + 10.0 * (label - 1.0)[..., None, None, None]
                return self.observe(batch, moved, prelude, positions)

    model = Moved(config)
    silence(model, 0)
    found = calibrate(model, torch.full((600,), 3), draws=3, fast=Fast(steps=0))
    assert found.verdict.startswith("No miscalibration"), str(found)
    rows = some_rows(5)
    several = Draws(model, {"z": torch.zeros(40, 5, 1, 1, 1)}, rows, Noise(0, rows.key))
    assert several.z is several.z  # drawn once
    assert several.z.unique().tolist() == [-10.0, 0.0, 10.0]


def test_a_prediction_says_what_else_its_guides_have_seen(config):
    class Rated(LatentThoughtModel):
        def forward(self, batch, prelude=None, positions=None):
            with pyro.plate("documents", len(batch), dim=-1):
                z = self.prior(batch)
                pyro.sample(
                    "rating", dist.Normal(z.sum((-1, -2, -3)), 1), obs=batch.columns["rating"]
                )
                return self.observe(batch, z, prelude, positions)

    rows = dataclasses.replace(some_rows(3), columns={"rating": torch.tensor([0.0, 1.0, 2.0])})
    options = {"fast": Fast(steps=1), "progress": False, "repeat": 0}
    report = ltm.evaluate(Rated(config), rows, ["predictive:6"], **options)
    assert report["predictive"].observed == ("tokens",)
    assert report["predictive"].protocol.endswith("; of tokens given rating")
    plain = ltm.evaluate(LatentThoughtModel(config), some_rows(3), ["predictive:6"], **options)
    assert "given" not in plain["predictive"].protocol


class Voiced(LinearGaussianModel):
    """kind moves a latent site, and each token: x_n ~ N(w_n z + a + move[kind], 0.8)."""

    def __init__(self):
        super().__init__(LINE, WEIGHT, 0.8)

    def forward(self, batch, prelude=None):
        with pyro.plate("documents", len(batch), dim=-1):
            z = self.prior(batch)
            moved = MOVES[pyro.sample("kind", dist.Categorical(SHARES))]
            a = pyro.sample("a", dist.Normal(moved, 1.0))
            mean = z.flatten(-3) @ self.weight.T + self.bias + (a + moved)[..., None]
            likelihood = dist.Normal(mean, self.scale).mask(batch.mask).to_event(1)
            pyro.sample("tokens", likelihood, obs=batch.tokens)
        return z


def test_each_token_has_its_share_of_a_sum_over_values():
    """log p(x_n | z, a, x_<n) against sums over the three kinds, written out."""
    model = Voiced()
    rows = simulate(model, torch.full((5,), 2), 0)[0]
    source = torch.Generator().manual_seed(1)
    z, a = (torch.randn(4, 5, *shape, generator=source) for shape in ((1, 1, 1), ()))
    found = token_log_prob(model, {"z": z, "a": a}, rows)
    assert found.shape == (4, 5, 2)
    joint = SHARES.log() + dist.Normal(MOVES, 1.0).log_prob(a[..., None])  # (4, 5, kinds)
    sums = [joint.logsumexp(-1)]
    for n in range(2):
        mean = WEIGHT[n] * z.reshape(4, 5, 1) + a[..., None] + MOVES
        joint = joint + dist.Normal(mean, 0.8).log_prob(rows.tokens[:, n][None, :, None])
        sums.append(joint.logsumexp(-1))
    exact = torch.stack([after - before for before, after in itertools.pairwise(sums)], -1)
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.sum(-1), log_joint(model, {"z": z, "a": a}, rows)[1])


def test_no_kl_is_lost_of_sites_that_a_discrete_one_couples():
    """Beside a KL of z that is known in closed form, theirs is the draws', of all in one."""
    model, rows = coupled()
    guide, _ = infer(model, rows, MeanField, QUICK).chunks[0]
    with torch.no_grad(), seeded(1):
        terms = elbo_terms(model, guide, rows, 400)
    with torch.no_grad(), seeded(1):
        log_w = log_weights(model, guide, rows, 400)
    assert set(terms.kl_by_site) == {"z", "a+b"}
    assert terms.kl_by_site["a+b"].mean() > 0.3  # nats: the rating says much of them
    gap = terms.elbo.mean(0) - log_w.mean(0)  # of one expectation, z's part but for its noise
    assert abs(gap.mean()) < 4 * gap.std() / len(gap) ** 0.5
    report = ltm.evaluate(
        model, rows, ["elbo:64", "iwae:256"], fast=QUICK, repeat=0, progress=False
    )
    with torch.no_grad():
        exact = -(model.log_rating(rows) + model.log_marginal(rows)).numpy()
    for name, figure in report.figures.items():
        above = figure.nats - exact
        error = above.std(ddof=1) / len(above) ** 0.5
        assert above.mean() > -4 * error, name
    assert (report["elbo"].nats - exact).mean() < 2


def test_the_released_protocol_is_of_thoughts_alone():
    model, rows = many_sites()
    with pytest.raises(InputError, match="this model also samples pace, topic"):
        ltm.evaluate(model, rows, ["same_noise"], progress=False)


def test_a_model_without_a_prior_of_its_own_has_no_constant():
    assert constant_of(SimpleNamespace(prior=None)) == (0.0, 0.0)
    assert constant_of(SimpleNamespace()) == (0.0, 0.0)
