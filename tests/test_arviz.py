"""The tree's groups, dimensions and numbers; netCDF; what ArviZ makes of it."""

import dataclasses
import subprocess
import sys

import arviz_plots
import arviz_stats
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from arviz_stats.base import array_stats

import ltm_pyro as ltm
from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError, Notice
from ltm_pyro.guides import MeanField, NoGuide
from ltm_pyro.inference import Hierarchical
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import AutoregressiveModel
from ltm_pyro.programs.densities import log_weights

from .exact import exact_guide, linear_gaussian, no_fit, tiny_decoder
from .inference.test_shared_sites import grouped
from .programs.models_of_many_sites import SHARES, many_sites
from .runs.programs import Labelled

DRAWS = 9  # more than are scored at once


@pytest.fixture(scope="module")
def posterior():
    """Five rows of two documents, in two chunks of different widths."""
    model, rows = tiny_decoder(documents=5)
    rows = rows[rows.lengths.argsort(descending=True)]
    rows = Rows(rows.tokens, rows.lengths, torch.tensor([0, 0, 1, 1, 1]), rows.bytes)
    return infer(model, rows, MeanField, Fast(steps=2), seed=3, chunk=3)


@pytest.fixture(scope="module")
def tree(posterior):
    return ltm.to_datatree(posterior, draws=DRAWS, log_likelihood=True)


def exact_tree(draws=DRAWS, widen=1.0, scale=0.8):
    model, rows = linear_gaussian(0, 6)
    model.scale = scale
    fitted = infer(model, rows, exact_guide(model, widen), no_fit(), chunk=4)
    return model, rows, ltm.to_datatree(fitted, draws=draws, log_likelihood=True)


def test_every_dimension_has_its_name(tree, posterior):
    sample = ("chain", "draw", "row")
    for group in ("posterior", "prior"):
        assert tree[group]["z"].dims == (*sample, "layer", "slot", "dim")
        assert tree[group]["z"].shape == (1, DRAWS, 5, 1, 1, 2)
    assert tree["posterior_predictive"]["tokens"].dims == (*sample, "position")
    width = posterior.rows.tokens.shape[1]
    assert posterior.chunks[1][1].tokens.shape[1] < width
    assert tree["posterior_predictive"]["tokens"].shape == (1, DRAWS, 5, width)
    assert tree["log_likelihood"]["tokens"].dims == sample
    assert {v.dims for v in tree["sample_stats"].data_vars.values()} == {sample}
    assert set(tree["sample_stats"].data_vars) == {"log_prior", "log_q"}
    assert tree["observed_data"]["tokens"].dims == ("row", "position")
    assert tree["observed_data"]["lengths"].dims == ("row",)
    assert len(tree.children) == 6


def test_layers_slots_and_dims_are_told_apart():
    _, _, tree = exact_tree(draws=1)
    sizes = {"chain": 1, "draw": 1, "document": 6, "layer": 2, "slot": 1, "dim": 3}
    assert dict(tree["posterior"].sizes) == dict(tree["prior"].sizes) == sizes


def test_rows_of_cut_documents_are_counted_and_their_documents_told(tree):
    for group in tree.children.values():
        assert group["row"].values.tolist() == [0, 1, 2, 3, 4]
        assert group["document"].values.tolist() == [0, 0, 1, 1, 1]
        assert group["document"].dims == ("row",)


def test_a_document_of_one_row_is_found_by_its_number():
    model, rows, tree = exact_tree(draws=1)
    tree = ltm.to_datatree(infer(model, rows[[4, 2]], MeanField, Fast(steps=0)), draws=1)
    for group in tree.children.values():
        assert group["document"].values.tolist() == [4, 2]
        assert "document" in group.indexes


def test_z_is_what_the_posterior_draws(posterior, tree):
    z = torch.from_numpy(tree["posterior"]["z"].values[0])
    assert torch.equal(z, posterior.sample(DRAWS))
    assert not np.allclose(tree["prior"]["z"], tree["posterior"]["z"], atol=0.1)


def test_densities_are_those_of_the_draws(posterior, tree):
    z = torch.from_numpy(tree["posterior"]["z"].values[0])
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum((-3, -2, -1))
    q = torch.cat([g.distribution().log_prob(z[:, 3 * i : 3 * i + 3])
                   for i, (g, _) in enumerate(posterior.chunks)], 1)  # fmt: skip
    stats = tree["sample_stats"]
    np.testing.assert_allclose(stats["log_prior"].values[0], prior, rtol=1e-5)
    np.testing.assert_allclose(stats["log_q"].values[0], q.detach(), rtol=1e-5)


def test_the_likelihood_is_that_of_whole_documents(posterior, tree):
    terms = posterior.elbo(DRAWS)
    assert torch.equal(terms.z, torch.from_numpy(tree["posterior"]["z"].values[0]))
    found = tree["log_likelihood"]["tokens"].values[0]
    np.testing.assert_allclose(found, terms.log_likelihood, rtol=1e-4)


def test_log_weights_of_an_exact_guide_are_the_log_marginal():
    model, rows, tree = exact_tree()
    stats, likelihood = tree["sample_stats"], tree["log_likelihood"]["tokens"]
    weights = likelihood + stats["log_prior"] - stats["log_q"]
    truth = model.log_marginal(rows).detach().numpy()
    np.testing.assert_allclose(weights.values[0], np.tile(truth, (DRAWS, 1)), atol=1e-3)


def test_weights_feed_pareto_smoothing_document_by_document():
    _, _, tree = exact_tree(draws=100, widen=1.5)
    stats, likelihood = tree["sample_stats"], tree["log_likelihood"]["tokens"]
    weights = (likelihood + stats["log_prior"] - stats["log_q"]).values[0]
    _, khat = array_stats.psislw(-weights, axis=0)
    assert khat.shape == (6,)
    assert (khat < 0.7).all()  # weights of a guide that is too wide are bounded


def test_texts_are_drawn_at_the_posteriors_thoughts():
    # With little noise, what is drawn shows the z it was drawn from.
    model, rows, tree = exact_tree(scale=0.01)
    z = torch.from_numpy(tree["posterior"]["z"].values[0])
    mean = z.flatten(-3) @ model.weight.T
    rest = torch.from_numpy(tree["posterior_predictive"]["tokens"].values[0]) - mean.detach()
    noise = rest[:, rows.mask]
    assert noise.std().item() == pytest.approx(0.01, rel=0.2)
    at_prior = torch.from_numpy(tree["prior"]["z"].values[0]).flatten(-3) @ model.weight.T
    assert (at_prior - mean)[:, rows.mask].std() > 0.5  # a prior z would have shown


def test_no_two_draws_share_their_noise():
    model, rows, tree = exact_tree(draws=16)
    posterior, prior = tree["posterior"]["z"], tree["prior"]["z"]
    centred = posterior - posterior.mean("draw")
    assert abs(np.corrcoef(centred.values.ravel(), prior.values.ravel())[0, 1]) < 0.2
    mean = torch.from_numpy(posterior.values[0]).flatten(-3) @ model.weight.detach().T
    texts = torch.from_numpy(tree["posterior_predictive"]["tokens"].values[0])
    first, second = (texts - mean)[:, rows.mask].split(8)  # scored apart
    assert abs(np.corrcoef(first.flatten(), second.flatten())[0, 1]) < 0.2


def test_padding_is_minus_one(posterior, tree):
    mask, rows = posterior.rows.mask, posterior.rows
    assert not mask.all()
    drawn = torch.from_numpy(tree["posterior_predictive"]["tokens"].values[0])
    observed = torch.from_numpy(tree["observed_data"]["tokens"].values)
    for tokens in (observed, *drawn):
        assert torch.equal(tokens >= 0, mask)
        assert (tokens < 5).all()
    assert torch.equal(observed[mask], rows.tokens[mask])
    assert tree["observed_data"]["lengths"].values.tolist() == rows.lengths.tolist()


def test_texts_can_be_left_out_and_change_nothing_else(posterior, tree):
    short = ltm.to_datatree(posterior, draws=DRAWS, posterior_predictive=False, log_likelihood=True)
    assert "posterior_predictive" not in short.children
    for name, group in short.children.items():
        assert group.to_dataset().identical(tree[name].to_dataset())


def test_one_seed_one_tree(posterior, tree):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = ltm.to_datatree(
        posterior, draws=DRAWS, seed=3, log_likelihood=True
    )  # the posterior's own
    assert torch.equal(torch.rand(3), expected)
    assert again.identical(tree)
    other = ltm.to_datatree(posterior, draws=2, seed=4)
    for group, name in (("posterior", "z"), ("prior", "z"), ("posterior_predictive", "tokens")):
        assert not np.array_equal(other[group][name], tree[group][name][:, :2])


def test_attributes_say_how_it_was_made(tree):
    assert tree.attrs["protocol"] == "MeanField, 2 fast steps, 9 fresh draws, seed 3"
    assert (tree.attrs["guide"], tree.attrs["fast_steps"], tree.attrs["seed"]) == (
        "MeanField",
        2,
        3,
    )
    assert tree.attrs["inference_library_version"] == ltm.__version__
    assert tree.attrs["torch_version"] == torch.__version__
    assert "created_at" not in {a for node in tree.subtree for a in node.attrs}
    assert "leave-one-out" in tree["log_likelihood"].attrs["note"]


def test_leave_one_out_is_stopped_where_people_look(posterior):
    """With its input there it runs, and says something of models that is not true."""
    import arviz_stats

    plain = ltm.to_datatree(posterior, draws=DRAWS, posterior_predictive=False)
    assert "log_likelihood" not in plain.children
    with pytest.raises(Exception, match=r"log.likelihood not found"):
        arviz_stats.loo(plain)
    with pytest.warns(Notice, match="no input for leave-one-out.*ltm_pyro.bounds.compare"):
        asked = ltm.to_datatree(posterior, draws=2, log_likelihood=True)
    assert list(asked["log_likelihood"].data_vars) == ["tokens"]


def test_netcdf_gives_the_same_tree(corpus, run_config, tmp_path):
    model = ltm.models.LatentThoughtModel(run_config)
    rows = corpus.train[:4]
    fitted = infer(model, rows, MeanField, Fast(steps=1))
    tree = ltm.to_datatree(fitted, draws=2, tokenizer=corpus.tokenizer)
    texts = tree["observed_data"]["text"]
    assert texts.dims == ("document",)
    assert texts.values[0].startswith(("sea", "wood"))
    tree.to_netcdf(tmp_path / "tree.nc")
    with xr.open_datatree(tmp_path / "tree.nc") as back:
        assert back.identical(tree)


def test_a_null_character_does_not_end_a_text(posterior, tmp_path):
    class Null(ltm.Tokenizer):
        def __init__(self):
            pass

        def decode(self, ids, special=False):
            return "a\0b"

    path = tmp_path / "tree.nc"
    ltm.to_datatree(posterior, draws=1, tokenizer=Null(), posterior_predictive=False).to_netcdf(
        path
    )
    with xr.open_datatree(path) as back:
        assert back["observed_data"]["text"].values.tolist() == ["a\ufffdb"] * 5


def test_arviz_summarises_it(tree):
    table = arviz_stats.summary(tree, coords={"row": [0], "layer": [0]}, round_to="none")
    assert len(table) == 2
    z = tree["posterior"]["z"].sel(row=0, layer=0)
    np.testing.assert_allclose(table["mean"], z.mean(("chain", "draw")).values.ravel(), rtol=1e-5)


@pytest.mark.parametrize("plot", [arviz_plots.plot_dist, arviz_plots.plot_forest])
def test_arviz_plots_it(tree, plot):
    mpl.use("Agg")
    shown = plot(
        tree, var_names="z", backend="matplotlib",
        coords={"row": [0, 1], "layer": 0, "slot": 0, "dim": 0},
    )  # fmt: skip
    figure = shown.get_viz("figure")
    figure.canvas.draw()
    assert figure.axes
    plt.close(figure)


def test_bad_input_is_named(config, rows, posterior):
    plain = infer(AutoregressiveModel(config), rows, NoGuide, Fast(steps=1))
    with pytest.raises(InputError, match="AutoregressiveModel has no thoughts"):
        ltm.to_datatree(plain)
    with pytest.raises(InputError, match="draws is 0: expected a whole number, 1 or more"):
        ltm.to_datatree(posterior, draws=0)


def test_a_missing_arviz_is_named(posterior, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    with pytest.raises(InputError, match="pip install 'arviz-base"):
        ltm.to_datatree(posterior)


def test_importing_the_package_does_not_import_arviz():
    heavy = "{'arviz', 'arviz_base', 'arviz_stats', 'arviz_plots', 'xarray'}"
    code = f"import sys, ltm_pyro; print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_every_site_has_its_place():
    """Other latent sites, discrete ones, and the likelihood of each observed site by itself."""
    model, rows = many_sites(4)
    posterior = infer(model, rows, MeanField, Fast(steps=2))
    tree = ltm.to_datatree(posterior, draws=5, posterior_predictive=False, log_likelihood=True)
    assert set(tree["posterior"].data_vars) == {"z", "pace", "topic"}
    assert tree["posterior"]["pace"].dims == ("chain", "draw", "document")
    assert float(tree["posterior"]["pace"].min()) > 0
    likelihood = tree["log_likelihood"]
    assert set(likelihood.data_vars) == {"tokens", "speed", "label"}
    assert (likelihood["label"].values[..., -1] == 0).all()  # its label is missing
    total = sum(likelihood[site].values for site in likelihood.data_vars)
    stats = tree["sample_stats"]
    weights = total + stats["log_prior"].values - stats["log_q"].values
    guide, _ = posterior.chunks[0]
    with torch.no_grad(), posterior.noise(rows, posterior.seed).draw():
        expected = log_weights(model, guide, rows, 5)
    np.testing.assert_allclose(weights[0], expected, rtol=1e-4, atol=1e-4)
    assert tree["posterior"].coords["speed"].dims == ("document",)  # a column of the rows
    observed = tree["observed_data"]
    assert observed["label"].isnull().values.tolist() == [False, False, False, True]
    np.testing.assert_array_equal(observed["speed"], rows.columns["speed"])
    assert set(tree["prior"].data_vars) == {"z", "pace", "topic"}


def test_discrete_sites_of_the_prior_know_nothing_of_the_text():
    model, rows = many_sites(4)
    posterior = infer(model, rows, MeanField, Fast(steps=2))
    tree = ltm.to_datatree(posterior, draws=1000, posterior_predictive=False)
    found = {g: np.bincount(tree[g]["topic"].values.ravel(), minlength=3) / 4000
             for g in ("prior", "posterior")}  # fmt: skip
    error = np.sqrt(SHARES * (1 - SHARES) / 4000)
    assert (abs(found["prior"] - SHARES.numpy()) / error.numpy()).max() < 4
    assert (abs(found["posterior"] - SHARES.numpy()) / error.numpy()).max() > 6


def test_sites_that_documents_share_have_dimensions_of_their_own():
    """Their draws have the mean and spread of their guide, whatever chunk of documents."""
    model, rows = grouped(sizes=(1, 2, 1))
    guide = Hierarchical.of(model, rows=rows)
    with torch.no_grad():
        guide.keywords["shared"].loc[0].fill_(3.0)
    posterior = infer(model, rows, guide, Fast(steps=0), chunk=2)
    tree = ltm.to_datatree(posterior, draws=400, posterior_predictive=False)
    mean, spread = guide.keywords["shared"].summary()["mu"]
    mu = tree["posterior"]["mu"]
    assert "document" not in mu.dims
    assert mu.shape == (1, 400, *mean.shape)
    error = spread.numpy() / 20
    assert (abs(mu.values[0].mean(0) - mean.numpy()) < 5 * error).all()
    low, high = guide.keywords["shared"].quantiles(0.025, 0.975)["mu"]
    inside = (low.numpy() < mu.values[0]) & (mu.values[0] < high.numpy())
    share = inside.mean()
    assert abs(share - 0.95) < 4 * (0.95 * 0.05 / inside.size) ** 0.5


def test_a_label_is_as_it_is_known_and_drawn_where_it_is_not(config, rows):
    code = torch.arange(len(rows)) % 3 - 1
    rows = dataclasses.replace(rows, columns={"topic": code})
    model = Labelled(config, {"topic": ("sea", "wood")})
    posterior = infer(model, rows, MeanField, Fast(steps=1))
    label = posterior.sites(30)["topic"]
    assert (label[:, code >= 0] == code[code >= 0]).all()
    assert len(label[:, code < 0].unique()) > 1
    tree = ltm.to_datatree(posterior, draws=30, posterior_predictive=False)
    drawn = tree["posterior"]["topic"].values[0]
    np.testing.assert_array_equal(drawn[:, code >= 0], label[:, code >= 0])
    seen = tree["observed_data"]["topic"]
    np.testing.assert_array_equal(seen, np.where(code < 0, np.nan, code))


def test_draws_of_a_discrete_site_are_all_fresh():
    """They are made a few at a time; those of one part say nothing of the next."""
    model, rows = many_sites(200)
    posterior = infer(model, rows, MeanField, Fast(steps=0))
    tree = ltm.to_datatree(posterior, draws=16, posterior_predictive=False)
    topic = tree["posterior"]["topic"].values[0]
    within = (topic[:4] == topic[4:8]).mean(0) + (topic[8:12] == topic[12:]).mean(0)
    more = (topic[:8] == topic[8:]).mean(0) - within / 2  # documents agree no oftener across parts
    assert abs(more.mean()) < 4 * more.std(ddof=1) / len(more) ** 0.5
