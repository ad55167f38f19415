"""The conditional prior: a normal for each value of a column, held against known cases."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Normal

import ltm_pyro as ltm
from ltm_pyro.bounds import sandwich
from ltm_pyro.config import Fast, Slow, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.diagnostics.calibration import calibrate
from ltm_pyro.errors import InputError
from ltm_pyro.models import LatentThoughtModel, LinearGaussianModel
from ltm_pyro.models.priors import Conditional, Layerwise, Prior, StandardNormal
from ltm_pyro.programs.densities import log_density, prior_of, simulate
from ltm_pyro.seeds import seeded

from ...conftest import some_rows, strong
from .common import LINE, THOUGHTS, roughen

COLUMNS = {"group": ("a", "b"), "other": ("x",)}
CODES = torch.tensor([1, -1, 0, 1])


def of_codes(codes=CODES, name="group"):
    return dataclasses.replace(some_rows(len(codes)), columns={name: codes})


def log_prob(prior, z, rows):
    return log_density(prior_of(SimpleNamespace(prior=prior)), {"z": z}, rows)


def test_its_density_is_the_values_normal():
    prior = roughen(Conditional(THOUGHTS, "group", COLUMNS))
    assert prior.columns == {"group": ("a", "b")}
    z = torch.randn(5, 4, *THOUGHTS.shape)
    found = log_prob(prior, z, of_codes())
    for document, code in enumerate(CODES.tolist()):
        loc, log_scale = prior.loc, prior.log_scale
        if code >= 0:
            loc, log_scale = loc + prior.loc_of[code], log_scale + prior.log_scale_of[code]
        expected = Normal(loc, log_scale.exp()).log_prob(z[:, document]).sum((1, 2, 3))
        assert torch.allclose(found[:, document], expected, atol=1e-4)
        alone = prior.distribution(torch.tensor(code)).log_prob(z[:, document])
        assert torch.allclose(alone, expected, atol=1e-4)
    common = Normal(prior.loc, prior.log_scale.exp()).log_prob(z).sum((2, 3, 4))
    assert torch.allclose(prior.distribution().log_prob(z), common, atol=1e-4)


def test_every_value_starts_at_the_standard_normal():
    prior = Conditional(THOUGHTS, "group", COLUMNS)
    z = 2 * torch.randn(5, 4, *THOUGHTS.shape)
    assert torch.allclose(log_prob(prior, z, of_codes()), log_prob(StandardNormal(THOUGHTS), z,
                          some_rows(4)), atol=1e-4)  # fmt: skip


def test_a_column_of_no_known_value_has_the_common_normal():
    prior = roughen(Conditional(THOUGHTS, "group", {"group": ()}))
    z = torch.randn(2, 4, *THOUGHTS.shape)
    found = log_prob(prior, z, of_codes(torch.full((4,), -1)))
    assert torch.allclose(found, prior.distribution().log_prob(z), atol=1e-4)


def test_the_common_normal_lies_where_the_docstring_says():
    """Gradient descent to known means m_1, m_2, m_3: it ends at 3/4 of their average."""
    means = torch.tensor([-1.0, 2.0, 5.0])
    prior = Conditional(LINE, "group", {"group": ("a", "b", "c")})
    codes = torch.tensor([0, 1, 2, 2, 2, 1])  # however many documents each has
    optimizer = torch.optim.SGD([prior.loc, prior.loc_of], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        z = means[codes].view(1, -1, 1, 1, 1)
        (-log_prob(prior, z, of_codes(codes)).sum()).backward()
        optimizer.step()
    assert torch.allclose((prior.loc + prior.loc_of).flatten(), means, atol=1e-3)
    assert prior.loc.item() == pytest.approx(0.75 * float(means.mean()), abs=1e-3)


def grouped(seed, documents=80, noise=1.0):
    """A linear-Gaussian model whose prior has two groups of known means, and its documents."""
    weight = torch.tensor([[1.0], [-1.0], [0.5], [1.5]])
    model = LinearGaussianModel(LINE, weight, scale=noise)
    model.requires_grad_(False)
    truth = Conditional(LINE, "group", COLUMNS)
    with torch.no_grad():
        truth.loc_of.copy_(torch.tensor([-2.0, 1.0]).view(2, 1, 1, 1))
        truth.log_scale_of.copy_(torch.tensor([0.6, 1.2]).log().view(2, 1, 1, 1))
    model.prior = truth
    codes = torch.arange(documents) % 2
    rows, _ = simulate(model, torch.full((documents,), 4), seed, {"group": codes})
    model.prior = Conditional(LINE, "group", COLUMNS)
    return model, rows, weight[:, 0]


@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(3), marks=pytest.mark.slow)])
def test_training_finds_the_groups(seeds):
    """Against the maximum of the likelihood, which is known, and the truth, in standard errors.

    y = w'x / w'w of group g is N(m_g, s_g^2 + 1 / w'w).
    """
    z_scores = []
    for seed in seeds:
        model, rows, weight = grouped(seed)
        slow = Slow(lr=0.15, final=0.02, warmup=0, decay=0.0, optimizer="Adam")
        fast = Fast(steps=10, lr=1.0, optimizer="NaturalGradient", particles=32)
        svi = ltm.DualRateSVI(model, fast=fast, slow=slow, seed=seed)
        for _ in range(60):
            svi.step(rows, total=60)
        y = rows.tokens @ weight / weight.square().sum()
        error = 1 / float(weight.square().sum())
        for code, (mean, scale) in enumerate(((-2.0, 0.6), (1.0, 1.2))):
            mine = y[rows.columns["group"] == code]
            p = model.prior.distribution(torch.tensor(code)).base_dist
            assert p.loc.item() == pytest.approx(float(mine.mean()), abs=0.1)
            best = Normal(mine.mean(), mine.std(correction=0)).log_prob(mine).mean()
            fitted = Normal(p.loc, (p.scale**2 + error).sqrt()).log_prob(mine).mean()
            assert 0 <= best - fitted < 0.02  # nats a document
            z_scores.append((p.loc.item() - mean) / math.sqrt((scale**2 + error) / len(mine)))
    assert max(map(abs, z_scores)) < 4
    assert abs(sum(z_scores)) / math.sqrt(len(z_scores)) < 3


def test_knowing_the_group_is_worth_its_nats():
    """At the true prior, exact figures of own groups beat those of exchanged ones, and of none."""
    model, rows, _ = grouped(0)
    with torch.no_grad():
        model.prior.loc_of.copy_(torch.tensor([-2.0, 1.0]).view(2, 1, 1, 1))
    swapped = dataclasses.replace(rows, columns={"group": 1 - rows.columns["group"]})
    none = dataclasses.replace(rows, columns={"group": torch.full((len(rows),), -1)})
    nats = [
        ltm.evaluate(model, some, ["grid:2001"], progress=False)["grid"].nats.mean()
        for some in (rows, none, swapped)
    ]
    assert nats[0] < nats[1] - 0.5
    assert nats[1] < nats[2] - 0.5


def test_every_figure_and_diagnostic_carries_the_column(config):
    prior = roughen(Conditional(config.thoughts, "group", COLUMNS))
    model = strong(LatentThoughtModel(config, prior))
    rows = of_codes()
    fast = Fast(steps=2)
    names = ["elbo:2", "iwae:4", "ais:2", "ais_prior:2", "prior:4", "predictive:4"]
    report = ltm.evaluate(model, rows, names, fast=fast, chunk=3, repeat=0, progress=False)
    assert all(math.isfinite(one.nats_per_token) for one in report.figures.values())
    found = sandwich(model, rows.lengths, ["elbo:2"], temperatures=2, fast=fast,
                     columns=rows.columns, progress=False)  # fmt: skip
    assert (found.upper - found.lower).mean() > -50
    assert calibrate(model, rows.lengths, fast=fast, draws=3, columns=rows.columns)
    posterior = ltm.DualRateSVI(model, fast=fast).infer(rows)
    tree = ltm.to_datatree(posterior, draws=3)
    assert tree["prior"]["z"].shape[:3] == (1, 3, 4)
    again = ltm.evaluate(model, of_codes(torch.tensor([0, 0, 1, 0])), ["prior:4"], progress=False)
    assert (again["prior"].nats != report["prior"].nats).all()


def test_predictive_prefixes_have_the_column():
    """Scored from the left the group's own prior is worth at least its nats too."""
    model, rows, _ = grouped(1, documents=16)
    with torch.no_grad():
        model.prior.loc_of.copy_(torch.tensor([-2.0, 1.0]).view(2, 1, 1, 1))
    swapped = dataclasses.replace(rows, columns={"group": 1 - rows.columns["group"]})
    own, other = (
        ltm.evaluate(model, some, ["predictive:2"], fast=Fast.quick(6), repeat=0, progress=False)
        for some in (rows, swapped)
    )
    assert own["predictive"].nats.mean() < other["predictive"].nats.mean() - 1


class FromZero(Prior):
    """Written before priors could read columns."""

    def forward(self):
        return super().forward()

    def distribution(self):
        return StandardNormal.distribution(self)


class Longer(Layerwise):
    def forward(self):
        return super().forward() + 1


@pytest.mark.parametrize("make", [FromZero, Longer])
def test_a_prior_whose_forward_takes_nothing_still_works(make):
    rows = some_rows(3)
    for arguments in ((), (rows,)):
        with seeded(0):
            z = make(THOUGHTS)(*arguments)
        assert z.shape == THOUGHTS.shape
    model = SimpleNamespace(prior=make(Thoughts(2, 2, 3)))
    assert prior_of(model)(rows).shape[-3:] == (2, 2, 3)


def test_what_it_cannot_read_is_told():
    with pytest.raises(
        InputError, match=r"reads a column .group., and the data have none: keep it"
    ):
        Conditional(THOUGHTS, "group")
    with pytest.raises(InputError, match=r"give --prior.column NAME, of group, other"):
        Conditional(THOUGHTS, columns=COLUMNS)
    prior = Conditional(THOUGHTS, "group", COLUMNS)
    model = SimpleNamespace(prior=prior)
    with pytest.raises(InputError, match="reads column 'group', which these rows do not carry: ke"):
        prior_of(model)(some_rows(3))
    with pytest.raises(InputError, match="with --column group, or load_corpus"):
        prior()
    floats = Rows(*(getattr(some_rows(4), f) for f in ("tokens", "lengths", "document", "bytes")),
                  columns={"group": torch.zeros(4)})  # fmt: skip
    with pytest.raises(InputError, match=r"holds torch.float32: expected codes, whole numbers fro"):
        prior_of(model)(floats)
