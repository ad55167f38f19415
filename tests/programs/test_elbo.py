import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import nn

from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.guides import Guide, MeanField, NoGuide
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import AutoregressiveModel, LinearGaussianModel
from ltm_pyro.models.likelihood import TokenSequence
from ltm_pyro.models.priors import StandardNormal
from ltm_pyro.programs.densities import (
    draw_latents,
    joined,
    log_density,
    log_joint,
    log_weights,
    prior_of,
)
from ltm_pyro.programs.elbo import Finite, assert_finite, elbo_terms
from ltm_pyro.seeds import Noise, seeded

from ..conftest import some_rows
from ..exact import linear_gaussian


@pytest.fixture
def guide(config):
    guide = MeanField(config.thoughts, 5)
    nn.init.normal_(guide.loc)
    nn.init.normal_(guide.log_variance)
    return guide


def test_it_equals_the_sum_written_by_hand(model, guide, rows):
    with seeded(3):
        terms = elbo_terms(model, guide, rows, particles=4)
    mean, variance = guide.loc, guide.log_variance.exp()
    kl = 0.5 * (variance + mean**2 - 1 - guide.log_variance).flatten(1).sum(1)
    torch.testing.assert_close(terms.kl, kl.expand(4, 5))
    likelihood = TokenSequence(model.decoder, terms.z, rows.lengths, 12).log_prob(rows.tokens)
    torch.testing.assert_close(terms.elbo, likelihood - kl)
    assert terms.z.shape == (4, 5, 2, 2, 3)


def test_it_equals_pyros_own(model, guide, rows):
    with seeded(3):
        ours = elbo_terms(model, guide, rows).elbo.sum()
    with seeded(3):
        theirs = -TraceMeanField_ELBO().differentiable_loss(model, guide, rows)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


class StudentGuide(Guide):
    """A pair of distributions whose KL torch does not know."""

    def distribution(self):
        zero = torch.zeros(self.batch_size, *self.thoughts.shape)
        return dist.StudentT(8.0, zero + 0.3, 0.7).to_event(3)


def test_without_a_closed_form_the_kl_is_estimated(config, model, rows):
    guide = StudentGuide(config.thoughts, 5)
    with torch.no_grad(), seeded(0):
        terms = elbo_terms(model, guide, rows, particles=2000)
    q, p = dist.StudentT(8.0, 0.3, 0.7), dist.Normal(0.0, 1.0)
    x = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
    log_q = q.log_prob(x)
    exact = 12 * torch.trapezoid(log_q.exp() * (log_q - p.log_prob(x)), x).item()
    error = terms.kl.std().item() / math.sqrt(terms.kl.numel())
    assert terms.kl.mean().item() == pytest.approx(exact, abs=4 * error)
    assert error < 0.02 * exact


def test_each_particle_and_document_has_its_own_draw(model, guide, rows):
    z = elbo_terms(model, guide, rows, particles=3).z
    assert len(z.flatten().unique()) == z.numel()


def test_a_model_without_thoughts_has_no_kl(config, rows):
    terms = elbo_terms(AutoregressiveModel(config), NoGuide(), rows)
    assert terms.kl_by_site == {}
    torch.testing.assert_close(terms.elbo, terms.log_likelihood)
    with pytest.raises(InputError, match="no thoughts"):
        infer(AutoregressiveModel(config), rows, NoGuide, Fast(steps=0)).sample(2)


def test_thoughts_sampled_follow_the_guide(model, guide, rows):
    with seeded(0):
        z = joined(model, draw_latents(guide, rows, 4000), rows, Noise(0, rows.key))
    error = guide.log_variance.mul(0.5).exp() / math.sqrt(4000)
    assert ((z.mean(0) - guide.loc) / error).abs().max() < 4.5
    assert len(pyro.get_param_store()) == 0


def test_a_nan_names_its_site_and_rows(model, guide, rows):
    with torch.no_grad():
        guide.loc[2] = math.nan
    with pytest.raises(NotFinite, match=r"site '(tokens|z)' is not finite for rows \[2\]"):
        assert_finite(elbo_terms(model, guide, some_rows()), "a batch")
    terms = elbo_terms(model, MeanField(model.thoughts, 5), rows)
    terms.log_likelihood[0, 3] = math.inf
    with pytest.raises(NotFinite, match=r"site 'tokens' is not finite for rows \[3\] of batch 9"):
        assert_finite(terms, "batch 9")


def flat_guide(model, rows):
    """One normal over all dimensions, at the exact posterior: its KL here has no closed form."""
    mean, covariance = model.posterior(rows)
    normal = dist.MultivariateNormal(mean.detach(), covariance.detach())

    class Flat(Guide):
        def __init__(self):
            super().__init__(model.thoughts, len(rows))
            self.loc = torch.nn.Parameter(normal.loc.clone())
            self.factor = torch.nn.Parameter(normal.scale_tril.clone())

        def distribution(self):
            flat = dist.MultivariateNormal(self.loc, scale_tril=self.factor, validate_args=False)
            shape = torch.Size(self.thoughts.shape)
            reshape = dist.transforms.ReshapeTransform(torch.Size([shape.numel()]), shape)
            return dist.TransformedDistribution(flat, [reshape])

    return Flat()


def test_at_the_posterior_a_drawn_kl_has_no_gradient():
    """Sticking the landing: every draw's gradient vanishes, not only their mean."""
    model, rows = linear_gaussian(0, documents=6)
    guide = flat_guide(model, rows)
    with seeded(0):
        elbo_terms(model, guide, rows, 3).elbo.sum().backward()
    assert guide.loc.grad.abs().max() < 1e-3
    assert guide.factor.grad.tril().abs().max() < 1e-3
    with seeded(0):  # and with the part that only adds noise, it does not
        latents = draw_latents(guide, rows, 3)
        loud = sum(log_joint(model, latents, rows)) - log_density(guide, latents, rows)
    (gradient,) = torch.autograd.grad(loud.sum(), guide.loc)
    assert gradient.abs().max() > 0.1


def test_a_drawn_kl_has_the_gradient_of_the_analytic_one():
    model, rows = linear_gaussian(1, documents=3)
    exact = MeanField(model.thoughts, 3)
    with torch.no_grad():
        exact.loc.normal_()
        exact.log_variance.normal_()

    class Drawn(MeanField):
        """The same normal, as a distribution that torch knows no KL of."""

        def distribution(self):
            plain = super().distribution()
            return dist.TransformedDistribution(plain, [dist.transforms.AffineTransform(0.0, 1.0)])

    drawn = Drawn(model.thoughts, 3)
    drawn.load_state_dict(exact.state_dict())
    elbo_terms(model, exact, rows, 1).kl.sum().backward()
    gradients = []
    for seed in range(300):
        with seeded(seed):
            kl = elbo_terms(model, drawn, rows, 16).kl.mean(0).sum()
        gradients.append(torch.stack(torch.autograd.grad(kl, [drawn.loc, drawn.log_variance])))
    found = torch.stack(gradients)
    error = found.std(0) / len(found) ** 0.5
    z = (found.mean(0) - torch.stack([exact.loc.grad, exact.log_variance.grad])) / error
    assert z.abs().max() < 4.5


def test_sites_of_a_layer_each_and_one_site_are_the_same_thing():
    model, rows = linear_gaussian(2, documents=5)

    class Layers(MeanField):
        """The mean-field guide, a site for each layer."""

        def forward(self, batch):
            scale = (0.5 * self.log_variance).exp()
            with pyro.plate("documents", self.batch_size, dim=-1):
                layers = [
                    pyro.sample(f"z_{i}", dist.Normal(self.loc[:, i], scale[:, i]).to_event(2))
                    for i in range(self.thoughts.layers)
                ]
            return torch.stack(layers, dim=-3)

    class LayerPrior(StandardNormal):
        def forward(self):
            normal = dist.Normal(self.anchor, 1.0)
            layers = [
                pyro.sample(f"z_{i}", normal.expand(self.shape[1:]).to_event(2))
                for i in range(self.shape[0])
            ]
            return torch.stack(layers, dim=-3)

    layered = copy.deepcopy(model)
    layered.prior = LayerPrior(model.thoughts)
    one, many = MeanField(model.thoughts, 5), Layers(model.thoughts, 5)
    with torch.no_grad():
        one.loc.normal_()
        one.log_variance.normal_()
    many.load_state_dict(one.state_dict())
    exact = elbo_terms(model, one, rows, 2).kl[0]
    assert set(elbo_terms(layered, many, rows).kl_by_site) == {"z_0", "z_1"}
    torch.testing.assert_close(elbo_terms(layered, many, rows).kl[0], exact)
    for p in (model, layered):
        for q in (one, many):
            with torch.no_grad(), seeded(4):
                terms = elbo_terms(p, q, rows, 20_000)
                latents = draw_latents(q, rows, 6)
            error = terms.kl.std(0) / len(terms.kl) ** 0.5 + 1e-5
            assert ((terms.kl.mean(0) - exact).abs() < 4.5 * error).all()
            assert terms.z.shape == (20_000, 5, *model.thoughts.shape)
            z = joined(p, latents, rows, Noise(0, rows.key))
            torch.testing.assert_close(
                log_density(prior_of(p), latents, rows),
                StandardNormal(model.thoughts).distribution().log_prob(z),
            )


def test_latents_that_do_not_determine_a_site_are_named():
    model, rows = linear_gaussian(0, documents=3)
    with pytest.raises(InputError, match=r"no value for site 'z': the other side has topic"):
        log_joint(model, {"topic": torch.zeros(1, 3, 2, 1, 3)}, rows)


def test_a_site_of_the_guide_alone_is_refused():
    """Its entropy would make the "bound" as low as one likes."""
    model, rows = linear_gaussian(0, documents=3)

    class More(MeanField):
        def forward(self, batch):
            with pyro.plate("documents", self.batch_size, dim=-1):
                pyro.sample("a", dist.Normal(torch.zeros(self.batch_size), 1e6))
                return pyro.sample("z", self.distribution())

    guide = More(model.thoughts, 3)
    with pytest.raises(InputError, match="site a has no counterpart"):
        elbo_terms(model, guide, rows)
    with pytest.raises(InputError, match="site a has no counterpart"):
        log_weights(model, guide, rows, 2)


def test_a_guide_that_goes_through_its_layers_the_other_way():
    """A site's KL by itself is not its part of the whole: the draw's is taken."""

    class Down(Guide):
        """q(z_1), then q(z_0 | z_1) = N(z_1, 0.1)."""

        def forward(self, batch):
            with pyro.plate("documents", self.batch_size, dim=-1):
                one = torch.zeros(self.batch_size, 1, 1)
                second = pyro.sample("z_1", dist.Normal(one, 1.0).to_event(2))
                first = pyro.sample("z_0", dist.Normal(second, 0.1).to_event(2))
            return torch.stack([first, second], dim=-3)

    class Up(StandardNormal):
        """p(z_0), then p(z_1 | z_0) = N(-z_0, 1)."""

        def forward(self):
            first = pyro.sample("z_0", dist.Normal(self.anchor, 1.0).expand([1, 1]).to_event(2))
            second = pyro.sample("z_1", dist.Normal(-first, 1.0).to_event(2))
            return torch.stack([first, second], dim=-3)

    thoughts = Thoughts(2, 1, 1)
    model = LinearGaussianModel(thoughts, torch.ones(3, 2))
    model.prior = Up(thoughts)
    rows = some_rows(3, length=3)
    rows = type(rows)(rows.tokens.float(), rows.lengths, rows.document, rows.bytes)
    with torch.no_grad(), seeded(0):
        kl = elbo_terms(model, Down(thoughts, 3), rows, 40_000).kl
    # KL = E log q - E log p: entropies and second moments of normals.
    exact = -0.5 * (1 + math.log(0.01) + 1) + 0.5 * (1 + 0.01) + 0.5 * (4 + 0.01)
    assert ((kl.mean(0) - exact).abs() < 4.5 * kl.std(0) / 200).all()


def test_the_first_step_that_is_not_finite_is_named_at_the_end(model, guide, rows):
    fine, broken = (elbo_terms(model, guide, rows) for _ in range(2))
    broken.log_likelihood[0, 1] = math.nan

    def run(error=None):
        with Finite() as seen:
            for number, terms in enumerate((fine, broken, broken), start=1):
                seen.add(terms, f"step {number}")
            if error is not None:
                raise error

    for error in (None, torch.linalg.LinAlgError("what a NaN breaks gives way to it")):
        with pytest.raises(NotFinite, match=r"rows \[1\] of step 2"):
            run(error)
    with pytest.raises(KeyboardInterrupt):
        run(KeyboardInterrupt())
    broken = fine
    with pytest.raises(ValueError, match="another"):
        run(ValueError("another"))
