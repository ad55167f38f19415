"""Checks of texts: exact on small ones, even where nothing is wrong, far out where something is."""

import arviz_base
import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

import ltm_pyro as ltm
from ltm_pyro.diagnostics import plot_text_checks, text_checks
from ltm_pyro.diagnostics.texts import TextChecks, distinct, old_pairs, repeated
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.posterior import infer

from ..display.dressed import dressed


def tree_of(observed, written):
    """As `to_datatree` makes it: (documents, positions) and (draws, documents, positions)."""
    groups = {
        "observed_data": {"tokens": observed},
        "posterior_predictive": {"tokens": written[None]},
    }
    dims = {"tokens": ["document", "position"]}
    return arviz_base.from_dict(groups, dims=dims)


def test_statistics_of_small_texts():
    ids = np.array([1, 2, 1, 2, 3])
    assert distinct(ids) == 3 / 5
    assert repeated(ids) == 2 / 5
    assert old_pairs(ids) == pytest.approx(1 / 4)  # (1, 2) once more, of four pairs
    far = np.array([1, *range(10, 18), 1, 1])
    assert repeated(far) == 1 / 11  # the second 1 is nine away from the first
    assert repeated(far[:1].repeat(2)) == 1 / 2
    assert repeated(np.array([1, 2, 1])) == 1 / 3
    assert repeated(np.array([1, *range(10, 17), 1])) == 1 / 9  # and so is one eight away
    assert np.isnan(old_pairs(np.array([1])))
    assert (distinct(np.array([4])), repeated(np.array([4]))) == (1, 0)


@pytest.mark.parametrize("trials", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_shares_are_even_where_nothing_is_wrong(trials):
    source, tails = np.random.default_rng(0), []
    for _ in range(trials):
        texts = source.integers(0, 12, (20, 8, 15))
        tails.append(text_checks(tree_of(texts[0], texts[1:])).to_frame()["above"]["distinct"])
    # Twenty equal ranks; ties of means count as more, which lifts tails a little.
    assert stats.kstest(tails, "uniform").statistic < 1.63 / trials**0.5 + 1 / 20
    assert np.mean(tails) == pytest.approx(0.525, abs=4 * 0.29 / trials**0.5)


def test_texts_that_repeat_themselves_are_far_out():
    source = np.random.default_rng(0)
    observed = np.repeat(source.integers(0, 30, (10, 8)), 2, axis=1)
    frame = text_checks(tree_of(observed, source.integers(0, 30, (99, 10, 16)))).to_frame()
    assert frame.loc["repeated", "above"] == 1 / 100
    assert frame.loc["distinct", "above"] == 1
    assert (
        frame.loc["repeated", "observed"]
        > frame.loc["repeated", "written"] + 5 * (frame.loc["repeated", "spread"])
    )


def test_padding_counts_nothing():
    observed = np.array([[1, 2, -1, -1], [3, 3, 3, -1]])
    checks = text_checks(tree_of(observed, np.stack([observed, observed])))
    np.testing.assert_allclose(checks.observed["distinct"], [1, 1 / 3])
    assert (checks.to_frame().above == 1).all()


def test_a_statistic_that_no_document_has_says_nothing():
    ones = np.array([[1], [2]])
    checks = text_checks(tree_of(ones, np.stack([ones] * 9)))
    frame = checks.to_frame()
    assert frame.loc["old_pairs", "documents"] == 0
    assert np.isnan(frame.loc["old_pairs", "above"])
    with pytest.raises(InputError, match="nan for every document"):
        plot_text_checks(checks, "old_pairs")


def test_the_table_is_of_means_over_documents_that_have_the_statistic():
    """Of three documents one draw lacks it in the last; draws as close as 0.005 are not equal."""
    observed = {"it": np.array([1.0, 3.0, 9.0])}
    written = {"it": np.array([[1.0, 3.0, np.nan], [1.99, 2.0, 5.0], [4.0, 2.0, 5.0]])}
    frame = TextChecks(observed, written).to_frame()
    means = np.array([2.0, 1.995, 3.0])
    it = frame.loc["it"]
    assert (it["observed"], it["documents"]) == (2, 2)
    assert it["written"] == pytest.approx(means.mean())
    assert it["spread"] == pytest.approx(means.std(ddof=1))
    assert it["above"] == 3 / 4
    two = TextChecks(observed, {"it": written["it"][:2]}).to_frame()
    assert two.loc["it", "spread"] == pytest.approx(0.005 / 2**0.5)
    one = TextChecks(observed, {"it": written["it"][:1]}).to_frame()
    assert np.isnan(one.loc["it", "spread"])


def test_of_a_posterior_with_a_statistic_of_ones_own(corpus, run_config, tmp_path):
    model = ltm.models.LatentThoughtModel(run_config)
    posterior = infer(model, corpus.train[:6], MeanField, run_config.fast)
    tree = ltm.to_datatree(posterior, draws=9)
    own = {"words": lambda text: len(text.split())}
    checks = text_checks(tree, own, tokenizer=corpus.tokenizer)
    frame = checks.to_frame()
    assert list(frame.index) == ["distinct", "repeated", "old_pairs", "words"]
    texts = [corpus.tokenizer.decode(row[row >= 0].tolist())
             for row in tree["observed_data"]["tokens"].values]  # fmt: skip
    assert list(checks.observed["words"]) == [len(text.split()) for text in texts]
    assert checks.written["words"].shape == (9, 6)
    assert "above" in str(checks)
    ax = dressed(plot_text_checks(checks, "words"))
    assert ax.get_xlabel() == "words, mean over 6 documents"
    plt.close("all")
    ids = text_checks(tree, {"first": lambda ids: ids[0]})
    assert list(ids.observed["first"]) == tree["observed_data"]["tokens"].values[:, 0].tolist()


def test_what_cannot_be_checked_is_told(corpus, run_config):
    model = ltm.models.LatentThoughtModel(run_config)
    posterior = infer(model, corpus.train[:3], MeanField, run_config.fast)
    bare = ltm.to_datatree(posterior, draws=2, posterior_predictive=False)
    with pytest.raises(InputError, match="no posterior_predictive of tokens"):
        text_checks(bare)
    tree = ltm.to_datatree(posterior, draws=2)
    with pytest.raises(InputError, match="statistic 'words' gives 'many' of a text"):
        text_checks(tree, {"words": lambda ids: "many"})
    with pytest.raises(InputError, match="expected a number"):
        text_checks(tree, {"words": lambda ids: 10**400})
    with pytest.raises(InputError, match="the tree has no observed_data"):
        text_checks(3)
    with pytest.raises(InputError, match="'distinct' is one of the library's own"):
        text_checks(tree, {"distinct": len})
    with pytest.raises(InputError, match="unknown statistic 'word'"):
        plot_text_checks(text_checks(tree), "word")
